"""tools/acquire.py: two rounds on Streets, what it prints and leaves, and its one-sentence errors."""

import json
import sys

import acquire
import numpy as np
import pytest
import torch

from gbw_panoptic import files
from gbw_panoptic.engine.build import build_models
from gbw_panoptic.errors import UserError
from gbw_panoptic.taxonomy import CITYSCAPES
from gbw_panoptic.visualization.bought import draw_bought


@pytest.fixture
def run(make_cfg, tmp_path, monkeypatch, request):
    cfg = make_cfg("quick/active_ripu.yaml")
    torch.save({"model": build_models(cfg)["student"].state_dict()}, tmp_path / "weights.pth")
    config = request.config.rootpath / "configs" / "quick" / "active_ripu.yaml"

    def call(*options, weights=tmp_path / "weights.pth"):
        small = ("INPUT.MIN_SIZE_TEST", 32, "INPUT.MAX_SIZE_TEST", 64, "ACTIVE.NUM_OVERLAYS", 3,
                 "OUTPUT_DIR", tmp_path / "out")  # fmt: skip
        arguments = ("--config-file", config, *options, *small, "MODEL.WEIGHTS", weights)
        monkeypatch.setattr(sys, "argv", ["acquire.py", *map(str, arguments)])
        acquire.main()
        return tmp_path / "out" / "active"

    return call


def test_rounds_leave_labels_overlays_and_accounts(run, capsys):
    options = ("--method", "cbda", "--budget", "2%", "--rounds", 2)
    folder = run(*options, "--round", 1)
    first = json.loads((folder / "manifest.json").read_text())["rounds"]
    run(*options, "--round", 2)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["rounds"][:1] == first and len(manifest["rounds"]) == 2
    budget = int(0.02 * 10 * 128 * 256)
    spent = sum(entry["cost"] for entry in manifest["rounds"])
    labels = [files.read_label(path) for path in folder.glob("labels/*.png")]
    assert sum(int((label != 255).sum()) for label in labels) == spent
    assert budget - 9 < spent <= budget
    assert manifest["rounds"][0]["class_balance"] and manifest["rounds"][0]["dynamic_budget"]
    assert len(list(folder.glob("overlays/2/*.png"))) == 3
    assert files.read_image(folder / "classes.png").std() > 0
    printed = capsys.readouterr().out
    assert f"Spent {spent} of {budget} pixels" in printed and "class imbalance" in printed and "motorcycle" in printed
    with pytest.raises(UserError, match="expected round 3 after the 2"):
        run(*options, "--round", 2)
    (folder / "classes.png").unlink()  # as if it had been killed while it drew
    run(*options, "--round", 2)
    assert "they are drawn now" in capsys.readouterr().out and (folder / "classes.png").is_file()
    assert json.loads((folder / "manifest.json").read_text()) == manifest


def test_errors_are_one_sentence(run, tmp_path):
    with pytest.raises(UserError, match="expected the checkpoint of a model in MODEL.WEIGHTS, found .*nothing.pth"):
        run("--round", 1, weights=tmp_path / "nothing.pth")
    with pytest.raises(UserError, match="expected a budget of 1 to 327680 pixels, or a share such as 5%, found 'much'"):
        run("--round", 1, "--budget", "much")
    with pytest.raises(UserError, match=r"expected a round in 1\.\.5, found 9"):
        run("--round", 9)


def test_overlay_shows_bought_pixels_in_class_colours():
    image = np.full((4, 4, 3), 200, np.uint8)
    labels = np.full((4, 4), 255, np.uint8)
    labels[0, 0], labels[1, 1] = 13, 254
    picture = draw_bought(image, labels, CITYSCAPES, not_bought=255)
    assert tuple(picture[0, 0]) == CITYSCAPES.colors[13] and tuple(picture[1, 1]) == (0, 0, 0)
    assert tuple(picture[3, 3]) == (164, 164, 164)
