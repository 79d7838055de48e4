"""The annotator in a real browser: a batch is clicked through, and what it gives back is imported."""

import json

import numpy as np
import pytest
from browser import ENTER, LEFT, SPACE
from town import acquisition, ask, progress, records, truth

from gbw_panoptic.active.acquisition import Settings
from gbw_panoptic.labelling import browser
from gbw_panoptic.labelling.asking import ask as write_questions
from gbw_panoptic.labelling.batch import read_batch
from gbw_panoptic.labelling.importing import keep_answers, merge_answers

OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
READY = "return document.documentElement.dataset.ready === 'yes'"
KEY = "return 'gbw-labels-' + window.gbwLabels.answers().batch"
KEPT = "const kept = localStorage.getItem('gbw-labels-' + window.gbwLabels.answers().batch)"
STATUS = "return document.getElementById('status').textContent"


def suggested(pixels):
    """The truth as a panoptic map, but for one car, which is taken for a foot."""
    labels, instances = truth("a" if pixels.shape[1] == 41 else "b")
    panoptic = np.where(labels < 4, labels.astype(int) * 1000 + instances.numbers, -1)
    panoptic[instances.numbers == 2] = 3002
    return panoptic


def batch_of(folder, **settings):
    options = {"settings": Settings(**settings), "panoptic": True, "oracle": False}
    humans = acquisition(folder / "store", records(folder / "images"), budget="24 regions", **options)
    ask(humans, 1)
    batch, store = read_batch(folder / "store")
    write_questions(batch, store, ["browser"], suggested, num_overlays=1, progress=progress)
    return batch, store, batch.folder / "browser" / "label.html"


def answers(page):
    return page.run("return window.gbwLabels.answers()")


def press(page, *keys):
    for key in keys:
        page.press("body", key)


@pytest.mark.parametrize("width, dark", [(1280, False), (390, True)])
def test_a_batch_is_clicked_through(page, tmp_path, width, dark):
    batch, store, path = batch_of(tmp_path, unit="superpixel", side=6)
    fresh(page, path, width=width, dark=dark)
    assert page.errors() == [] and page.run(OVERFLOW) == 0
    assert page.run("return performance.getEntriesByType('resource').filter(e => !/^(blob|data):/.test(e.name))") == []
    count = sum(image.count for image in batch.images.values())
    assert page.text("#count") == [f"0 of {count}"]
    for _ in range(count):  # all as suggested
        press(page, SPACE)
        if page.run("return window.gbwLabels.questions.some(q => q.open && q.open < q.pixels.length)"):
            press(page, "0", ENTER)  # what has no suggestion: the border
    for _ in range(count):
        if page.text("#count") == [f"{count} of {count}"]:
            break
        press(page, SPACE, "0", ENTER)
    assert page.text("#count") == [f"{count} of {count}"] and "All parts are answered" in page.run(STATUS)
    page.press("#name", "Änne")
    value = answers(page)
    assert value["annotator"] == "Änne" and value["clicks"] >= count and page.errors() == []
    reopen(page, path, f"{count} of {count}", width=width, dark=dark)  # the tab was closed: everything is there
    assert answers(page)["images"] == value["images"]
    file = tmp_path / "answers.json"
    file.write_text(json.dumps(answers(page)))
    keep_answers(store, batch, browser.read(file, batch))
    report = merge_answers(store, batch)
    assert report.entry["pixels"] == sum(int((image.parts > 0).sum()) for image in batch.images.values())


def test_keys_and_pointers_do_what_the_page_says(page, tmp_path):
    batch, _, path = batch_of(tmp_path, unit="superpixel", side=10)
    fresh(page, path)
    find = (
        "return window.gbwLabels.questions.findIndex(q => q.image.file === 'a.png' && q.pixels.includes(15 * 41 + 18))"
    )
    at = page.run(find)
    assert at >= 0
    click_part(page, at, 18, 15)
    here = "const q = window.gbwLabels.questions[arguments[0]], i = arguments[1]; return [q.image.labels[i], q.image.numbers[i], q.open]"
    pixel = 15 * 41 + 18
    assert page.run(here, at, pixel)[0] == -1
    press(page, SPACE)
    assert page.run(here, at, pixel)[:2] == [3, 1] or page.run(here, at, pixel)[0] == 3
    press(page, "z")
    assert page.run(here, at, pixel)[0] == -1 and page.run(STATUS) == "Undone."
    click_at(page, 18, 15)  # the segment that is wrong
    assert page.run(STATUS).startswith("Chosen: Füße <1>")
    press(page, "3")
    label, number, left = page.run(here, at, pixel)
    assert label == 2 and number > 0
    press(page, "n")
    assert page.run(here, at, pixel)[1] != number
    press(page, "m")
    press(page, "c")
    click_at(page, 17, 14)
    assert [2, page.run(here, at, pixel)[1], 14, 17] in answers(page)["images"][0]["centers"]
    press(page, "p", "0")
    press(page, LEFT)
    press(page, "g")
    before = page.run("return window.gbwLabels.view.scale")
    press(page, "+")
    assert page.run("return window.gbwLabels.view.scale") == pytest.approx(1.5 * before)
    press(page, "9")
    assert page.run(STATUS) == "There is no class 9."
    assert page.errors() == []


def test_painting_stays_in_the_part(page, tmp_path):
    batch, _, path = batch_of(tmp_path, unit="superpixel", side=12)
    fresh(page, path)
    press(page, "p")
    press(page, "2")  # answers the first part, and is the colour of the brush
    page.run("window.gbwLabels.at = window.gbwLabels.questions.findIndex(q => q.open)")
    first = page.run(
        "const q = window.gbwLabels.questions[window.gbwLabels.at], i = q.pixels[q.pixels.length >> 1]; return [i % "
        "q.image.width, Math.floor(i / q.image.width)]"
    )
    drag_from(page, *first, 200)
    painted = page.run(
        "const q = window.gbwLabels.questions[window.gbwLabels.at]; return [q.pixels.length - q.open, "
        "q.pixels.filter(i => q.image.labels[i] === 1).length]"
    )
    assert painted[0] == painted[1] > 0
    value = answers(page)
    for entry in value["images"]:
        image = batch.find(entry["file"])
        labels = browser.decode_map(entry["labels"], image.size)
        assert (labels[image.parts == 0] == -1).all()
    press(page, "z")
    assert page.run("const q = window.gbwLabels.questions[window.gbwLabels.at]; return q.open === q.pixels.length")


def fresh(page, path, **screen):
    """Opens the page of a browser that has kept nothing."""
    empty = path.with_name("empty.html")
    empty.write_text("<title>empty</title>")
    page.open(empty)
    page.run("localStorage.clear()")
    page.open(path, **screen)
    page.wait(READY, 20)


def reopen(page, path, count, **screen):
    """Closes and opens the page. Chromium sometimes gives a new process an empty storage, which is put right here; what
    the page itself had lost or overwritten would stay so."""
    page.wait(
        f"{KEPT}; return kept !== null && JSON.stringify(JSON.parse(kept).images) === "
        "JSON.stringify(window.gbwLabels.answers().images)",
        5,
    )
    kept = page.run(f"{KEPT}; return kept")
    for _ in range(5):
        page.open(path, **screen)
        page.wait(READY, 20)
        if page.run(f"{KEPT}; return kept") is not None:
            break
        page.run("localStorage.setItem(arguments[0], arguments[1])", page.run(KEY), kept)
    assert page.text("#count") == [count]


def place_of(page, x, y):
    box = page.run(
        "const b = document.getElementById('view').getBoundingClientRect(), v = window.gbwLabels.view; return [b.x + "
        "v.x + (arguments[0] + 0.5) * v.scale, b.y + v.y + (arguments[1] + 0.5) * v.scale]",
        x,
        y,
    )
    return [round(value) for value in box]


def click_at(page, x, y):
    pointer(page, [place_of(page, x, y)])


def drag_from(page, x, y, by):
    start = place_of(page, x, y)
    pointer(page, [start, [start[0] + by, start[1] + by // 4]])


def pointer(page, places):
    actions = [{"type": "pointerMove", "x": places[0][0], "y": places[0][1]}, {"type": "pointerDown", "button": 0}]
    actions += [{"type": "pointerMove", "x": x, "y": y, "duration": 60} for x, y in places[1:]] + [
        {"type": "pointerUp", "button": 0}
    ]
    page.act([{"type": "pointer", "id": "mouse", "actions": actions}])


def click_part(page, index, x, y):
    """Makes a part the current one, whatever was."""
    for _ in range(60):
        if page.text("#which")[0].startswith(f"Part {index + 1} "):
            return
        page.run("document.getElementById('next').click()")
    raise AssertionError("the part was not reached")
