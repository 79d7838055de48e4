"""The pages as files: their numbers are those of the results, and nothing is loaded from elsewhere."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fabricated_run import fabricate_run, scores_of

from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting import comparison_pictures, comparison_report, report, write_comparison, write_report
from gbw_panoptic.reporting.blocks import Bar, Bars
from gbw_panoptic.reporting.charts import HEIGHT, WIDTH, chart
from gbw_panoptic.reporting.pictures import weight_map
from gbw_panoptic.visualization import plots

EMPTY = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    """The pictures of report.md cost seconds and are tested elsewhere."""
    for name in ("class_bars", "confusion_matrix", "class_heat_maps"):
        monkeypatch.setattr(plots, name, lambda *_, **__: b"PNG")
    for module in (report, comparison_pictures):
        monkeypatch.setattr(module, "curves", lambda *_, **__: b"PNG")
    monkeypatch.setattr(comparison_report, "side_by_side", lambda *_, **__: {})


class Checker(HTMLParser):
    """Elements are closed in order, and ids are unique; keeps every address that a browser would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.addresses, self.ids = [], [], []
        self.feed(text)
        assert not self.open

    def handle_startendtag(self, tag, attrs):
        """Elements of an SVG that close themselves."""

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.addresses += [attributes[name] for name in ("src", "href", "data", "srcset") if attributes.get(name)]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.getpos())


def text_of(path: str) -> str:
    return Path(path).read_text()


def checked(path: str) -> str:
    """The page's text, once it is found to be whole and by itself."""
    text = text_of(path)
    found = Checker(text)
    assert all(address.startswith(("data:", "#")) for address in found.addresses)
    assert len(set(found.ids)) == len(found.ids)
    assert not re.search(r"https?://", text) and "@import" not in text and "url(" not in text
    return text


def cards(text: str) -> dict[str, str]:
    """Label -> words of a card."""
    found = re.findall(r'<div class="card">\s*<dt>(.*?)</dt>(.*?)</div>', text, re.S)
    return {label: " ".join(html.unescape(re.sub(r"<[^>]+>", " ", rest)).split()) for label, rest in found}


def test_headline_before_and_after(runs, tmp_path):
    text = checked(write_report(runs / "adapted", destination=tmp_path))
    assert (tmp_path / "report.md").is_file()
    ours, theirs = scores_of(5, ("16",)), scores_of(3, ("16",))
    found = cards(text)
    assert list(found) == ["PQ", "PQ of things", "PQ of stuff", "mIoU", "Rare recall"]
    for label, task, metric in (
        ("PQ", "panoptic", "PQ"),
        ("PQ of things", "panoptic", "PQ_things"),
        ("Rare recall", "semantic", "rare_recall"),
    ):
        after, before = ours[task]["16"][metric], theirs[task]["16"][metric]
        sign = "\N{MINUS SIGN}" if after < before else "+"
        assert found[label].startswith(f"{after:.1f} ") and f"{sign}{abs(after - before):.1f}" in found[label]
        assert f"before {before:.1f}" in found[label]
    assert "N = 6" in found["PQ of things"] and "N = 10" in found["PQ of stuff"] and "N = 3" in found["Rare recall"]
    assert "Before: source only." in text


def test_a_run_by_itself(runs, tmp_path):
    text = checked(write_report(runs / "source_only", destination=tmp_path))
    assert "before" not in " ".join(cards(text).values()) and "Before:" not in text
    viewer = re.search(r'<div class="viewer">.*?class="data">(.*?)</script>', text, re.S).group(1)
    data = json.loads(viewer)
    assert [key for key, _ in data["choices"]] == ["image", "truth", "prediction0", "errors0"]
    assert [scene["name"] for scene in data["scenes"]] == ["frankfurt_0", "lindau_1"]
    for scene in data["scenes"]:
        assert scene["image"].startswith("data:image/webp;base64,UklGR")  # RIFF
        assert set(scene["layers"]) == {"truth", "prediction0", "errors0"}


def test_a_named_baseline_has_to_fit(runs, tmp_path):
    run = fabricate_run(tmp_path / "other", scores={"teacher": 1}, protocols=("19",))
    with pytest.raises(UserError, match="by protocol 19, found none in"):
        write_report(run, baseline=runs / "source_only")
    (tmp_path / "source_only").mkdir()  # one that happens to lie there need not
    assert "Before:" not in text_of(write_report(run))


def test_running_and_empty_folders_have_a_page(tmp_path):
    assert "No evaluation and no metrics.json yet." in checked(write_report(tmp_path))
    run = fabricate_run(tmp_path / "run", scores={"teacher": 1})
    for path in (run / "inference").glob("*.json"):
        path.unlink()
    text = checked(write_report(run))
    assert "No evaluation yet." in text and "Losses" in text and 'class="card"' not in text


def test_runs_without_layers_show_their_panels(tmp_path):
    text = checked(write_report(fabricate_run(tmp_path / "run", scores={"teacher": 1})))
    assert text.count('src="data:image/png;base64,iVBOR') >= 1 and "frankfurt 0" in text


def test_names_are_text_and_never_markup(tmp_path):
    run = fabricate_run(tmp_path / "<b>run & co", scores={"teacher": 1}, dataset="</script><img src=x>")
    text = checked(write_report(run))
    assert "<b>run" not in text and "&lt;b&gt;run &amp; co" in text and "<img src=x>" not in text


def test_comparison(runs, tmp_path):
    paths = [runs / "source_only", runs / "adapted"]
    text = checked(write_comparison(paths, tmp_path / "out"))
    assert (tmp_path / "out/report.md").is_file()
    ours, theirs = scores_of(5, ("16",)), scores_of(3, ("16",))
    difference = ours["panoptic"]["16"]["PQ"] - theirs["panoptic"]["16"]["PQ"]
    assert f"before {theirs['panoptic']['16']['PQ']:.1f}" in cards(text)["PQ"]
    rows = re.findall(r"<tr>\s*<th scope=row data-order=\"adapted\">.*?</tr>", text, re.S)
    assert any(f"{difference:+.1f}".replace("-", "\N{MINUS SIGN}") in row for row in rows)
    data = json.loads(re.search(r'<div class="viewer">.*?class="data">(.*?)</script>', text, re.S).group(1))
    assert dict(data["choices"])["prediction1"] == "adapted" and data["left"] == "prediction0"
    assert "SourceOnlyTrainer" in text and "TRAINER.NAME" in text


def test_chart_by_hand():
    found = chart("PQ", {"a": [([0, 10], [0.0, 4.0]), ([0, 10], [2.0, 8.0])]}, {"a": 3}, levels={"before": 5.0})
    (line,) = found["lines"]
    assert [point[2:] for point in line["points"]] == [[0, 1.0], [10, 6.0]] and line["number"] == 3
    assert len(line["faint"]) == 2 and found["y_ticks"][0][1] == "0" and found["y_ticks"][-1][1] == "8"
    (x0, y0), (x1, y1) = (point[:2] for point in line["points"])
    assert (x0, x1) == (found["left"], found["right"]) and y0 > y1
    share = (found["bottom"] - y1) / (found["bottom"] - found["top"])
    assert share == pytest.approx(6 / 8, abs=0.01) and found["levels"][0]["y"] == pytest.approx(
        (y1 * 4 + y0) / 5, abs=0.5
    )


@pytest.mark.parametrize(
    "values", [[], [0.0], [float("nan")], [3.0], [1e-9, 1e6], [-2.0, 5.0], [0.1] * 5000, [12_345.0, 99_999.0]]
)
@pytest.mark.parametrize("logarithmic", [False, True])
def test_charts_of_any_values_stay_inside(values, logarithmic):
    found = chart("loss", {"a": [(list(range(len(values))), values)]}, {"a": 0}, logarithmic=logarithmic)
    for x, y, *_ in found["lines"][0]["points"]:
        assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    assert 2 <= len(found["y_ticks"]) < 30 and len(found["lines"][0]["points"]) <= 400
    places = [place for place, _ in found["y_ticks"]]
    assert places == sorted(places, reverse=True)


def test_weight_maps_are_thinned_and_keep_gaps():
    weights = np.ones((1000, 2))
    weights[:, 1], weights[:500, 0] = 4.0, np.nan
    found = weight_map("source/sem_seg", range(1000), ["road", "car"], weights)
    assert len(found.iterations) == 120 == len(found.values[0]) and found.iterations[-1] == 999
    assert found.values[0][0] is None and found.values[0][-1] == 1.0 and set(found.values[1]) == {4.0}
    assert dict(map(reversed, found.ticks))["1"] == 0.5


def test_axis_of_bars_ends_near_the_data():
    bars = Bars("PQ", [Bar("road", (0, 0, 0), 20.0, 30.0), Bar("car", (0, 0, 0), 4.0, 5.0, 1.0)])
    assert 30 < bars.end < 32 and [bar.gain for bar in bars.bars] == [-10.0, -1.0]
    assert Bars("PQ", []).end > 0
