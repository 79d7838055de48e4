"""The page of tools/app.py: what it predicts and how its sliders count; the page itself where gradio is installed."""

import runpy
import sys
from pathlib import Path

import app
import numpy as np
import pytest
import torch
from test_exported import MODELS, random_model

from gbw_panoptic.errors import UserError

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


@pytest.fixture
def model(configured, tmp_path):
    config, *opts = MODELS["resnet"]
    return random_model(configured, tmp_path, config, *opts)


def objects(rows):
    return [row for row in rows if row[1]]


def test_the_rows_are_the_segments_and_the_sliders_count(model):
    expected = model.predict(IMAGE)
    picture, rows = app.predicted(model, IMAGE, 0.0, 0.0)
    assert np.array_equal(np.asarray(picture), np.asarray(expected.plot()))
    assert sorted((name, area) for name, _, area, *_ in rows) == sorted((s.name, s.area) for s in expected.segments)
    assert [row[2] for row in rows] == sorted((row[2] for row in rows), reverse=True) and all(
        len(row) == len(app.HEADERS) for row in rows
    )
    assert objects(rows) and not objects(app.predicted(model, IMAGE, 1.0, 0.0)[1])  # no heat is above 1
    assert app.predicted(model, None, 0.0, 0.0) == (None, [])
    network = model.predictor.model
    assert not app.has_tau(network) and network.tau == 0
    network.log_prior = torch.linspace(-3, 3, model.taxonomy.num_classes)
    corrected = app.predicted(model, IMAGE, 0.0, 1.0)[1]
    assert network.tau == 1.0 and corrected != app.predicted(model, IMAGE, 0.0, 0.0)[1] == rows


def test_without_gradio_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(sys, "argv", ["app.py", "nowhere"])
    with pytest.raises(UserError, match=r"tools/app.py: expected the package gradio, found none.*gbw-panoptic\[app\]"):
        runpy.run_path(str(Path(app.__file__)))["main"]()


def test_the_page_has_an_image_two_sliders_and_the_segments(model):
    pytest.importorskip("gradio")
    model.predictor.model.log_prior = torch.zeros(model.taxonomy.num_classes)
    page = app.build_page(model, [])
    labels = {block.label: block for block in page.blocks.values() if getattr(block, "label", None)}
    assert labels["Image"].sources == ["upload", "webcam", "clipboard"] and labels["tau"].visible
    assert "share" not in {*labels["Image"].buttons, *labels["Overlay"].buttons}
    assert not labels["Image"].webcam_options.mirror
    assert labels[app.THRESHOLDS["threshold"]].value == 0.0 and {"Segments", "tau"} <= set(labels)
    assert [function.api_name for function in page.fns.values()] == ["predict"] and app.looks()["theme"]
