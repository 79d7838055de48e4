"""What the tests of reports share: runs with pictures, a browser, and reports without pictures."""

import json
from pathlib import Path

import browser as chromium
import numpy as np
import pytest
from fabricated_run import CONFIG, fabricate_run

from gbw_panoptic.evaluation.panel import write_layers
from gbw_panoptic.reporting import comparison_pictures, report
from gbw_panoptic.taxonomy import CITYSCAPES
from gbw_panoptic.visualization import plots
from gbw_panoptic.visualization.panels import make_layers, pixel_errors

BASE = CONFIG.replace("SelfTrainingTrainer", "SourceOnlyTrainer").replace("teacher", "student")
IMAGES = ("frankfurt_0_leftImg8bit", "lindau_1_leftImg8bit")


def with_pictures(run: Path, models: tuple[str, ...], seed: int) -> Path:
    """Adds layers of two images, and scores over the iterations."""
    rng = np.random.default_rng(seed)
    for name in IMAGES:
        image = np.random.default_rng(len(name)).integers(0, 255, (48, 96, 3), np.uint8)
        truth = np.zeros((48, 96), np.int64)
        truth[:20], truth[25:40, 50:80] = 10_000, 13_001
        for model in models:
            prediction = np.roll(truth, rng.integers(3, 20), axis=1)
            layers = make_layers(image, truth, prediction, pixel_errors(truth, prediction, CITYSCAPES), CITYSCAPES)
            write_layers(run / "inference", model, name, layers)
    with open(run / "metrics.json", "a") as file:
        for iteration in (199, 299, 399):
            scores = {f"{model}/panoptic/16/PQ": float(rng.uniform(20, 60)) for model in models}
            file.write(json.dumps({"iteration": iteration, **scores}) + "\n")
    return run


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """``source_only`` and ``adapted``, OUTPUT_DIRs of finished runs with pictures."""
    root = tmp_path_factory.mktemp("runs")
    end = "SEED: 0\nSOLVER: {MAX_ITER: 399}\n"
    with_pictures(fabricate_run(root / "source_only", config=BASE + end, scores={"student": 3}), ("student",), 1)
    models = {"student": 4, "teacher": 5}
    with_pictures(fabricate_run(root / "adapted", config=CONFIG + end, scores=models), tuple(models), 2)
    return root


@pytest.fixture(scope="session")
def page(tmp_path_factory) -> chromium.Browser:
    """A browser that shows pages; tests that need one are skipped where there is none."""
    if not (chromium.CHROMIUM and chromium.DRIVER):
        pytest.skip(chromium.MISSING)
    with chromium.browser(tmp_path_factory.mktemp("browser")) as session:
        yield session


@pytest.fixture
def no_drawing(monkeypatch):
    """Pictures cost seconds; a test that reads the text can do without."""
    for name in ("class_bars", "confusion_matrix", "class_heat_maps"):
        monkeypatch.setattr(plots, name, lambda *_, **__: b"PNG")
    for module in (report, comparison_pictures):
        monkeypatch.setattr(module, "curves", lambda *_, **__: b"PNG")
