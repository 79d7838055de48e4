"""The pages in a real browser: nothing goes wrong, everything can be used by pointer and by keyboard, on any screen."""

from pathlib import Path

import pytest
from browser import DOWN, ENTER, LEFT, RIGHT, Browser

from gbw_panoptic.reporting import comparison_report, report, write_comparison, write_report

OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="session")
def one(runs, page, tmp_path_factory) -> Path:
    """A run's page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", lambda *_, destination, **__: str(destination / "report.md"))
        return Path(write_report(runs / "adapted", destination=tmp_path_factory.mktemp("one")))


@pytest.fixture(scope="session")
def several(runs, page, tmp_path_factory) -> Path:
    """A comparison's page."""
    with pytest.MonkeyPatch.context() as patch:
        for section in ("classes", "confusion", "curves", "weights", "predictions"):  # of report.md
            patch.setattr(comparison_report.ComparisonReport, section, lambda self: iter(()))
        return Path(write_comparison([runs / "source_only", runs / "adapted"], tmp_path_factory.mktemp("several")))


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_fit_and_the_console_is_silent(page: Browser, one, several, width, dark):
    for path in (one, several):
        page.open(path, width=width, dark=dark)
        assert page.run(OVERFLOW) == 0
        assert page.errors() == []
        assert page.run("return document.documentElement.classList.contains('dark')") is dark
        wide = "return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .tablist, .hidden') && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.className)"
        assert page.run(wide) == []


def test_slider_by_pointer_and_keyboard(page: Browser, one):
    page.open(one)
    place = "return parseFloat(getComputedStyle(document.querySelector('.stage')).getPropertyValue('--split'))"
    assert page.run(place) == 50
    page.drag(".stage .split", 0.5, 0.2)
    assert page.run(place) == pytest.approx(20, abs=3)
    clip = page.run("return getComputedStyle(document.querySelector('.side.right')).clipPath")
    left = float(clip.split()[-1].rstrip("%)"))
    assert left == pytest.approx(20, abs=3)
    before = page.run(place)
    page.press(".stage .split", RIGHT * 4)
    assert page.run(place) == pytest.approx(before + 2)
    assert "Before: source only" in page.run("return document.querySelector('.split').getAttribute('aria-valuetext')")


def test_pictures_are_chosen(page: Browser, one):
    page.open(one)
    assert page.text(".which") == ["1 of 2: frankfurt_0"]
    sources = "return [...document.querySelectorAll('.stage img')].map(e => e.getAttribute('src'))"
    first = page.run(sources)
    assert len(set(first)) == 3 and all(
        source.startswith("data:image/webp") for source in first
    )  # image, before, after
    page.press(".next", ENTER)
    assert page.text(".which") == ["2 of 2: lindau_1"] and page.run(sources) != first
    assert page.text(".views small") == [
        "Image", "Truth", "Before: source only", "Prediction", "Errors: Before: source only", "Errors: Prediction",
    ]  # fmt: skip
    page.click(".views button:nth-child(2)")
    assert page.text(".tag.right") == ["Truth"]
    page.press("select.left", "Image")
    assert page.text(".tag.left") == ["Image"]
    loaded = "return [...document.querySelectorAll('.stage img[src]')].every(e => e.complete && e.naturalWidth >= 1024)"
    page.run("return Promise.all([...document.querySelectorAll('.stage img[src]')].map(e => e.decode()))")
    assert page.run(loaded) and page.errors() == []


def column(page: Browser, number: int) -> list[str]:
    return page.text(f"#classes table tbody tr > :nth-child({number})")


def test_tables_sort_by_click_and_keyboard(page: Browser, one):
    page.open(one)
    original = column(page, 1)
    assert original[0] == "road" and len(original) == 16
    heading = "#classes thead th:nth-child({}) button"
    page.click(heading.format(2))
    values = [float(text) for text in column(page, 2)]
    assert values == sorted(values, reverse=True) and column(page, 1) != original
    sorted_by = "return [...document.querySelectorAll('#classes th[aria-sort]')].map(e => [e.cellIndex, e.getAttribute('aria-sort')])"
    assert page.run(sorted_by) == [[1, "descending"]]
    page.press(heading.format(2), ENTER)
    assert [float(text) for text in column(page, 2)] == sorted(values)
    assert page.run(sorted_by) == [[1, "ascending"]]
    page.press(heading.format(1), ENTER)
    assert column(page, 1) == sorted(original) and page.run(sorted_by) == [[0, "ascending"]]


def test_tabs_charts_and_maps_by_keyboard(page: Browser, one):
    page.open(one)
    shown = "return [...document.querySelectorAll('#classes [role=tabpanel]')].map(e => !e.hidden)"
    assert page.run(shown) == [True, False, False]
    page.press("#classes [role=tab][aria-selected=true]", RIGHT)
    assert page.run(shown) == [False, True, False]
    assert page.run("return document.activeElement.textContent") == "IoU"
    page.press("#classes [role=tab][aria-selected=true]", LEFT * 2)
    assert page.run(shown) == [False, False, True]
    page.press("#curves .chart", RIGHT * 2)
    tip = page.text("#tip")[0]
    assert tip.startswith("iteration 299") and "teacher:" in tip
    page.press("#weights .map", RIGHT + DOWN)
    assert page.text("#tip")[0].startswith("sidewalk, iteration 19\nweight ")
    page.click(".legend button")
    assert page.run("return document.querySelectorAll('#curves .series[hidden]').length") == 1


def test_the_reader_chooses_the_colours(page: Browser, one):
    page.open(one)
    background = "return getComputedStyle(document.body).backgroundColor"
    light = page.run(background)
    page.press("#theme", ENTER)
    assert page.text("#theme") == ["Dark"] and page.run(background) != light
    page.open(one)  # the choice is kept
    assert page.text("#theme") == ["Dark"] and page.run(background) != light
    page.run("localStorage.clear()")


def test_everything_that_can_be_used_has_a_name(page: Browser, several):
    page.open(several)
    nameless = """return [...document.querySelectorAll('button, select, input, a, [tabindex="0"]')].filter(e =>
        !(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length))).map(e => e.outerHTML)"""
    assert page.run(nameless) == []
    assert page.run("return [...document.querySelectorAll('img:not([alt])')].length") == 0
    page.press("body", "\ue004")  # tab
    assert page.run("return document.activeElement.className") == "skip"


def test_contrast_of_text(page: Browser, one):
    script = """
        const rgb = text => { const m = text.match(/[\\d.]+/g).map((v, i) => Number(v) * (text.startsWith('color(') && i < 3 ? 255 : 1)); return m.length > 3 && m[3] < 1 ? null : m.slice(0, 3) };
        const light = c => c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
        const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c && !/rgba\\(0, 0, 0, 0\\)/.test(getComputedStyle(e).backgroundColor)) return c } return [255, 255, 255] };
        return [...document.querySelectorAll('h1, h2, .lead, .note, .card dt, .number, .small, .gain, .up, .down, nav a, tbody td, tbody th, thead button, .names li')]
            .filter(e => e.offsetParent && e.textContent.trim() && !e.closest('.matrix'))
            .map(e => { const a = light(rgb(getComputedStyle(e).color)), b = light(behind(e)); return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.className + e.tagName + e.textContent.trim().slice(0, 20)] })
            .filter(([ratio]) => ratio < 4.5)"""
    for dark in (False, True):
        page.open(one, dark=dark)
        assert page.run(script) == []
