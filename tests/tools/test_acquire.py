"""tools/acquire.py: two rounds on Streets, what it prints and leaves, and its one-sentence errors."""

import json
import sys

import acquire
import numpy as np
import pytest
import torch

from gbw_panoptic import files
from gbw_panoptic.config.checks.strategies import active_problems
from gbw_panoptic.engine.acquisition import build_label_store
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


def test_humans_label_images_that_have_no_labels(run, run_tool, make_cfg, capsys, tmp_path, monkeypatch):
    """Out for two tools and back: the loop closes without a label file, and the bought labels are those of the
    oracle."""
    options = ("--round", 1, "--rounds", 1, "--budget", "6 clicks", "--for", "browser", "--for", "coco")
    keys = ("ACTIVE.UNIT", "click", "ACTIVE.SUPERPIXEL", 16, "ACTIVE.PANOPTIC", True)
    monkeypatch.setattr("gbw_panoptic.data.register.load_panoptic_records", lambda *_: pytest.fail("read labels"))
    folder = run(*options, *keys, "ACTIVE.ANNOTATOR", "", "DATASETS.TARGET", "('cityscapes_uda_images_train',)")
    printed, batch = capsys.readouterr().out, folder / "batches" / "1"
    assert "Round 1 asks for 6 parts (click) in" in printed and "6 clicks, 14 seconds" in printed
    assert not (folder / "manifest.json").exists() and "There are 6 parts" in (batch / "instructions.md").read_text()
    assert {p.name for p in batch.iterdir()} == {
        "batch.json",
        "browser",
        "coco",
        "images",
        "instructions.md",
        "overlays",
    }
    assert files.read_image(next(batch.glob("overlays/*.png"))).shape[1] >= 512
    page = (batch / "browser" / "label.html").read_text()
    assert "Labels, round 1" in page and "http:" not in page and "https:" not in page
    done = run_tool(
        "tools/import_labels.py", folder, batch / "coco" / "panoptic.json", "--annotator", "anna", "--close"
    )
    assert done.returncode == 0 and "The round is closed" in done.stdout, (
        done
    )  # a random model suggests nothing for some
    entry = json.loads((folder / "manifest.json").read_text())["rounds"][0]
    assert 0 < entry["cost"] == entry["clicks"] <= 6 and entry["measure"] == "clicks" and entry["unit"] == "click"
    assert (folder / "classes.png").is_file() and list(folder.glob("overlays/1/*.png"))
    cfg = make_cfg(
        "quick/active_ripu.yaml", *keys, "ACTIVE.ANNOTATOR", "", "ACTIVE.ITERATIONS", "()", "ACTIVE.LABELS", folder
    )
    assert list(active_problems(cfg)) == [] and len(build_label_store(cfg).rounds) == 1  # ready to be trained on
    again = run_tool("tools/import_labels.py", folder, batch / "coco" / "panoptic.json")
    assert again.returncode == 2 and "round 1 is closed" in again.stderr
    assert run_tool("tools/import_labels.py", folder, "--undo", 1).returncode == 0
    for arguments, sentence in (
        (("--close",), "expected answers for round 1"), ((tmp_path / "none.json",), "expected answers at"),
        (("--undo", 3), "--undo: expected"),
        ((batch / "coco" / "panoptic.json", "--from", "cvatt"), "did you mean cvat?"),
        ((batch / "batch.json",), "expected answers of browser"),
    ):  # fmt: skip
        refused = run_tool("tools/import_labels.py", folder, *arguments)
        assert refused.returncode == 2 and sentence in refused.stderr and refused.stderr.count("\n") == 1, (
            refused.stderr
        )


def test_errors_are_one_sentence(run, tmp_path):
    with pytest.raises(UserError, match="expected the checkpoint of a model in MODEL.WEIGHTS, found .*nothing.pth"):
        run("--round", 1, weights=tmp_path / "nothing.pth")
    with pytest.raises(UserError, match="expected a budget of 1 to 327680 pixels, or a share such as 5%, found 'much'"):
        run("--round", 1, "--budget", "much")
    with pytest.raises(UserError, match="ACTIVE.ANNOTATOR: expected a labelled data set .*or have humans label"):
        run("--round", 1, "ACTIVE.ANNOTATOR", "")
    with pytest.raises(UserError, match="ACTIVE.BUDGET: expected images with ACTIVE.UNIT image alone, found region"):
        run("--round", 1, "--budget", "2 images")
    with pytest.raises(UserError, match=r"expected a round in 1\.\.5, found 9"):
        run("--round", 9)


def test_overlay_shows_bought_pixels_in_class_colours():
    image = np.full((4, 4, 3), 200, np.uint8)
    labels = np.full((4, 4), 255, np.uint8)
    labels[0, 0], labels[1, 1] = 13, 254
    picture = draw_bought(image, labels, CITYSCAPES, not_bought=255)
    assert tuple(picture[0, 0]) == CITYSCAPES.colors[13] and tuple(picture[1, 1]) == (0, 0, 0)
    assert tuple(picture[3, 3]) == (164, 164, 164)
