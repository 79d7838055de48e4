"""The page that runs a model, in a real browser and without a network: its maps are onnxruntime's."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from browser import TAB, Browser
from PIL import Image

from gbw_panoptic.errors import UserError
from gbw_panoptic.export import web_page

OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
READY = "return [...document.querySelectorAll('#segments button')].length > 0 && !document.querySelector('.busy')"


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """npm's package; tests that need it are skipped where npm gives none."""
    folder, npm = tmp_path_factory.mktemp("npm"), shutil.which("npm")
    if npm is None:
        pytest.skip("expected npm, found none")
    done = subprocess.run([npm, "pack", f"{web_page.PACKAGE}@{web_page.VERSION}", "--silent"], cwd=folder, check=False)
    if done.returncode:
        pytest.skip("expected onnxruntime-web from npm, found none")
    return next(folder.glob("*.tgz"))


@pytest.fixture(scope="module")
def exported(page: Browser, archive, configured, tmp_path_factory):
    """The page of a model with random weights, the same graph as a file, and its example."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("model page")
    model = random_center_model(configured, folder)
    example = folder / "a street.png"
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(small).resize((256, 128), Image.Resampling.BICUBIC).save(example)
    with pytest.MonkeyPatch.context() as patch:
        made = {}
        patch.setattr(web_page, "write_onnx", lambda *a, **k: made.setdefault("path", _write(folder, *a, **k)))
        path = web_page.write_page(model, folder, archive=archive, example=example)
    session = runtime.InferenceSession(str(made["path"]), providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    maps = dict(zip(outputs, session.run(None, {"image": np.asarray(Image.open(example))})))
    return path, example, maps


def _write(folder, model, _, **options):
    from gbw_panoptic.export.onnx_file import write_onnx

    return write_onnx(model, folder, **options)


def random_center_model(configured, folder: Path):
    from test_exported import MODELS, random_model

    config, *opts = MODELS["efficientnet"]
    model = random_model(configured, folder, config, *opts)
    model.predictor.short_edge, model.predictor.max_size = 128, 256
    return model


def wait_for_segments(page: Browser) -> None:
    page.wait(READY, 120)


@pytest.mark.slow
@pytest.mark.parametrize("width, dark", [(1280, False), (390, True)])
def test_the_maps_in_the_browser_are_onnxruntimes(page: Browser, exported, width, dark):
    path, _, maps = exported
    page.open(path, width=width, dark=dark)
    wait_for_segments(page)
    assert page.errors() == [] and page.run(OVERFLOW) == 0
    assert page.run("return performance.getEntriesByType('resource').filter(e => !/^(blob|data):/.test(e.name))") == []
    ids, areas = np.unique(maps["panoptic"][maps["panoptic"] >= 0], return_counts=True)
    script = "return [...document.querySelectorAll('#segments button')].map(e => [+e.dataset.id, e.textContent])"
    shown = page.run(script)
    shares = dict(zip(ids.tolist(), 100 * areas / maps["panoptic"].size))
    assert abs(len(shown) - len(ids)) <= 1 and {number for number, _ in shown} >= {i for i in shares if shares[i] > 0.5}
    for number, text in shown:
        assert float(text.split()[-2]) == pytest.approx(shares.get(number, 0), abs=0.2)
        expected = maps["confidence"][maps["panoptic"] == number].mean() / 100
        assert float(text.split("·")[0].split()[-1][-4:]) == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_a_segment_is_named_under_the_pointer_and_by_the_keyboard(page: Browser, exported, tmp_path):
    path, example, maps = exported
    page.open(path)
    wait_for_segments(page)
    hover = """
      const box = document.getElementById('photo').getBoundingClientRect();
      const at = {clientX: box.left + box.width * arguments[0], clientY: box.top + box.height * arguments[1]};
      document.getElementById('stage').dispatchEvent(new PointerEvent('pointermove', at));
      return [document.getElementById('tip').textContent, document.querySelectorAll('.segments .on').length];
    """
    y, x = np.argwhere(maps["panoptic"] >= 0)[500]
    text, marked = page.run(hover, (x + 0.5) / 256, (y + 0.5) / 128)
    names = json.loads(page.run("return document.getElementById('about').textContent"))["classes"]
    assert text.startswith(names[maps["panoptic"][y, x] // 1000]) and "score 0." in text and marked == 1
    page.press("#opacity", TAB)  # to the link that saves, then the list
    page.press("#save", TAB)
    assert page.run("return document.activeElement.parentElement.parentElement.id") == "segments"
    assert page.run("return document.querySelectorAll('.segments .on').length") == 1
    other = tmp_path / "other.jpg"
    Image.open(example).resize((400, 300)).save(other)
    page.press("#file", str(other))
    page.wait("return document.getElementById('status').textContent.startsWith('other.jpg:')", 120)
    (tmp_path / "no image.png").write_text("none")
    page.press("#file", str(tmp_path / "no image.png"))
    page.wait("return document.getElementById('status').textContent.includes('no image that this browser')", 20)
    page.errors()


def test_another_package_is_refused(tmp_path, monkeypatch):
    (tmp_path / "other.tgz").write_bytes(b"other")
    with pytest.raises(UserError, match=r"expected a file, found none at .*missing\.tgz; `npm pack onnxruntime-web@"):
        web_page.runtime_parts(tmp_path / "missing.tgz")
    with pytest.raises(UserError, match="Expected onnxruntime-web .* found another file"):
        web_page.runtime_parts(tmp_path / "other.tgz")
    monkeypatch.setattr(web_page.shutil, "which", lambda _: None)
    with pytest.raises(UserError, match="expected npm, found none"):
        web_page.runtime_parts()
