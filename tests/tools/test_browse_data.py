"""tools/browse_data.py end to end."""

import sys
from pathlib import Path

import browse_data
import numpy as np
import pytest
import torch
from PIL import Image

from gbw_panoptic.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs" / "quick"
SMALL = ("DATASETS.TEST", "()", "INPUT.CROP.SIZE", "(64, 64)", "TEST.NUM_PANELS", 0)


@pytest.fixture
def browse(streets, tmp_path, monkeypatch):
    def run(*arguments, opts=()):
        words = ["browse_data.py", "--output", tmp_path / "out", *arguments, "--opts", *SMALL, *opts]
        monkeypatch.setattr(sys, "argv", list(map(str, words)))
        browse_data.main()
        return {path.name: np.asarray(Image.open(path)) for path in (tmp_path / "out").iterdir()}

    return run


def test_a_page_for_each_step_and_the_sampling(browse):
    pages = browse("--config-file", CONFIGS / "self_training_gbw.yaml", "--num", 2, opts=("INPUT.FORMAT", "BGR"))
    assert pages.keys() == {"0000000.png", "0000001.png", "sampling.png"}
    assert pages["0000000.png"].shape == pages["0000001.png"].shape
    assert not np.array_equal(pages["0000000.png"], pages["0000001.png"])
    aligned = browse("--config-file", CONFIGS / "adversarial_gbw.yaml", "--num", 1)  # its target has no labels
    assert aligned["0000000.png"].shape[0] < 0.8 * pages["0000000.png"].shape[0]
    supervised = browse("--config-file", CONFIGS / "source_only.yaml", "--num", 1)
    assert supervised["0000000.png"].shape[0] < 0.6 * pages["0000000.png"].shape[0]  # one row instead of three


def test_semantic_sources_without_rare_class_sampling(browse):
    options = ("MODEL.TASK", "semantic", "DATASETS.TRAIN", "('gta5_sem_train',)", "WEIGHTING.CENTER", "none",
               "WEIGHTING.OFFSET", "none", "DATALOADER.RARE_CLASS_SAMPLING.ENABLED", False)  # fmt: skip
    pages = browse("--config-file", CONFIGS / "self_training_gbw.yaml", "--num", 1, opts=options)
    assert pages.keys() == {"0000000.png"}
    assert pages["0000000.png"].shape[1] < 3.5 * 336  # image, labels, weights


def test_channels_of_the_model_are_not_those_of_the_picture():
    blue = torch.zeros(3, 2, 2)
    blue[0] = 300.0  # Fourier style may leave the range
    pages = browse_data.Pages(Path(), None, bgr=True, origin="")
    assert pages._arrays({"image": blue, "file_name": "x"})["image"][0, 0].tolist() == [0, 0, 255]


def test_a_checkpoint_of_another_kind_is_refused(browse, tmp_path):
    for contents in ({"model": {}}, {"model": {}, "teacher": {"stem": torch.zeros(1)}, "trainer": {}}):
        torch.save(contents, tmp_path / "w.pth")
        with pytest.raises(UserError, match="--weights: expected a checkpoint of a run with this configuration.*found"):
            browse("--config-file", CONFIGS / "self_training_gbw.yaml", "--weights", tmp_path / "w.pth")
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize("words", [(), ("--config-file", "a.yaml", "--run", "b"), ("--run", "b", "--num", "0")])
def test_contradicting_flags(browse, words, capsys):
    with pytest.raises(SystemExit) as stop:
        browse(*words)
    assert stop.value.code == 2 and "give" in capsys.readouterr().err


def test_pages_of_a_mask_model_show_segments_of_the_teacher_and_of_the_mix(browse):
    config = CONFIGS.parent / "streets" / "mask2former_self_training.yaml"
    small = ("MODEL.MASK2FORMER.ENCODER_LAYERS", 1, "MODEL.MASK2FORMER.DECODER_LAYERS", 1, "SOLVER.IMS_PER_BATCH", 1,
             "MODEL.MASK2FORMER.OBJECT_THRESHOLD", 0.0, "MODEL.MASK2FORMER.OVERLAP_THRESHOLD", 0.0)  # fmt: skip
    page = browse("--config-file", config, "--num", 1, opts=small)["0000000.png"]
    other = browse("--config-file", config, "--num", 1, opts=(*small, "SELF_TRAINING.CLASS_MIX", False))["0000000.png"]
    assert page.shape == other.shape and not np.array_equal(page, other)
