"""Every key is turned somewhere: by a shipped configuration, a test or a tool; those that only stand there, here."""

import functools
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from detectron2.config import CfgNode
from detectron2.modeling import build_backbone

from gbw_panoptic.config import KEYS
from gbw_panoptic.config.trainers import unread_keys
from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.setup import load_config, seed_run
from gbw_panoptic.weighting.build import build_loss_shaping

ROOT = Path(__file__).parents[2]
TINY = ("MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", 1, "INPUT.CROP.SIZE", "(64, 128)", "DATASETS.TEST", "()")
FEATURES = '["res2", "res3", "res4", "res5"]'
#: Configuration -> (what makes its keys count, the keys with values that stand nowhere else).
TURNED: dict[str, tuple[tuple, dict[str, Any]]] = {
    "quick/active_cbda.yaml": (
        ("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "blda"),
        {"MODEL.SEM_SEG_HEAD.BLDA_STRENGTH": 0.137,
         "ACTIVE.GAMMA": 1.37, "ACTIVE.SOFT": False, "ACTIVE.VOID_COSTS": False, "ACTIVE.TARGET_LOSS_WEIGHT": 1.13,
         "ACTIVE.CONSISTENCY_LOSS_WEIGHT": 0.17, "ACTIVE.RADIUS": 23, "ACTIVE.MODE": "pixel"},
    ),
    "quick/self_training.yaml": (
        ("SELF_TRAINING.SELECTION", "class_percentile", "SELF_TRAINING.MASKED.ENABLED", True,
         "SELF_TRAINING.FEATURE_DISTANCE.ENABLED", True, "MODEL.SEM_SEG_HEAD.LOSS_TYPE", "focal",
         "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR"),
        {"SELF_TRAINING.CLASS_PERCENTILE.MAX_THRESHOLD": 0.871, "SELF_TRAINING.TARGET_LOSS_WEIGHT": 0.731,
         "SELF_TRAINING.MASKED.WEIGHT": 0.771, "SELF_TRAINING.FEATURE_DISTANCE.WEIGHT": 0.0037,
         "INPUT.IGNORE_STUFF_IN_OFFSET": False, "INPUT.IGNORE_CROWD_IN_SEMANTIC": True,
         "MODEL.SEM_SEG_HEAD.FOCAL_GAMMA": 2.31, "MODEL.PANOPTIC_DEEPLAB.SIZE_DIVISIBILITY": 96,
         "MODEL.PANOPTIC_DEEPLAB.INSTANCE_AREA": 37, "SOLVER.GAMMA": 0.331,
         "SOLVER.STEPS": (3, 7)},
    ),
    "quick/adversarial_gbw.yaml": (
        ("MODEL.AUXILIARY_HEAD.ENABLED", True, "MODEL.RESNETS.OUT_FEATURES", FEATURES,
         "MODEL.SEM_SEG_HEAD.LOSS_TYPE", "logit_adjustment"),
        {"MODEL.AUXILIARY_HEAD.DILATIONS": [13, 29], "MODEL.AUXILIARY_HEAD.LOSS_WEIGHT": 0.137,
         "ADVERSARIAL.LOSS_WEIGHT": 0.0013, "ADVERSARIAL.AUXILIARY_LOSS_WEIGHT": 0.00027,
         "ADVERSARIAL.BETAS": (0.81, 0.93), "ADVERSARIAL.POLY_LR_POWER": 0.831,
         "SOLVER.POLY_LR_CONSTANT_ENDING": 0.0317},
    ),
    "quick/entropy_gbw.yaml": (
        ("ENTROPY.LOSS", "maximum_squares", "ENTROPY.IMAGE_WISE", True, "MODEL.SEM_SEG_HEAD.LOSS_TYPE", "seesaw",
         "MODEL.AUXILIARY_HEAD.ENABLED", True, "MODEL.RESNETS.OUT_FEATURES", FEATURES),
        {"ENTROPY.IMAGE_WISE_RATIO": 0.231, "ENTROPY.AUXILIARY_LOSS_WEIGHT": 0.00029,
         "MODEL.SEM_SEG_HEAD.SEESAW_P": 0.791},
    ),
}  # fmt: skip
#: Key -> why no value can be looked for in what is built here.
ELSEWHERE = {
    "CUDNN_BENCHMARK": "a setting of torch: test_the_search_for_convolutions",
    "MODEL.COMPACT.BLOCKS": "a number of modules: test_blocks_of_the_compact_backbone",
    "MODEL.SEM_SEG_HEAD.LOGIT_ADJUSTMENT_TAU": "folded into an addend: test_the_shift_of_logit_adjustment",
    "MODEL.SEM_SEG_HEAD.IGNORE_VALUE": "one value is allowed",
    "MODEL.RESNETS.DEFORM_MODULATED": "Detectron2's, of compiled operations",
    "MODEL.RESNETS.DEFORM_NUM_GROUPS": "Detectron2's, of compiled operations",
    "TEST.RARE_CLASSES": "of evaluation: test_evaluators.py",
}


def keys(node: dict, prefix: str = "") -> set[str]:
    found = set()
    for name, value in node.items():
        found |= keys(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"}
    return found


def values_in(root: Any) -> Iterator[tuple[str, Any]]:
    """(Name, number, text or tuple of numbers) of all that is reachable but the configuration itself."""
    stack, seen = [("", root)], set()
    while stack:
        name, value = stack.pop()
        if isinstance(value, (int, float, str)):
            yield name, value
            continue
        if isinstance(value, (CfgNode, torch.Tensor, types.ModuleType, type)) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            if not KEYS.keys() & value.keys():  # settings that a checkpoint notes
                stack += [(str(key), item) for key, item in value.items()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            if all(isinstance(item, (int, float)) for item in value):
                yield name, tuple(value)
            stack += [(name, item) for item in value]
        else:
            stack += list(parts(value))


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object or a function of these packages holds."""
    if isinstance(value, functools.partial):
        yield from [("", value.func), ("", value.args), ("", value.keywords)]
    elif isinstance(value, types.MethodType):
        yield "", value.__self__
    elif isinstance(value, types.FunctionType):
        yield from zip(value.__code__.co_freevars, (cell.cell_contents for cell in value.__closure__ or ()))
    elif type(value).__module__.split(".")[0] in ("gbw_panoptic", "detectron2", "torch", "fvcore"):
        yield from vars(value).items() if hasattr(value, "__dict__") else ()
        slots = getattr(type(value), "__slots__", ())
        yield from ((name, getattr(value, name)) for name in slots if hasattr(value, name))


def test_every_key_is_turned_somewhere():
    shipped = set().union(*(keys(yaml.safe_load(path.read_text())) for path in (ROOT / "configs").rglob("*.yaml")))
    sources = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("tools/**/*.py")]
    text = "\n".join(path.read_text() for path in sources)
    still = {key for key in KEYS if key not in shipped and not re.search(rf"{re.escape(key)}(?![A-Z_.])", text)}
    assert not still, "set them in a test that shows what they do, or remove them"


@pytest.mark.parametrize("config", TURNED)
def test_a_turned_key_reaches_what_is_built(make_cfg, config):
    needed, turned = TURNED[config]
    target = ("DATASETS.TARGET", "('cityscapes_uda_images_train',)")
    words = [word for key, value in turned.items() for word in (key, value)]
    found = list(values_in(build_trainer(make_cfg(config, *TINY, *target, *needed, *words))))
    for key, value in turned.items():
        last = key.split(".")[-1].lower()
        seen = [(type(item), item) for name, item in found if name == last or type(value) not in (bool, str)]
        for item in value if isinstance(value, list) else [value]:
            assert (type(item), item) in seen, f"{key} does not arrive"


def test_the_search_for_convolutions(make_cfg, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    for value in (True, False):
        seed_run(make_cfg("quick/source_only.yaml", "CUDNN_BENCHMARK", value), eval_only=False)
        assert torch.backends.cudnn.benchmark is value


def test_blocks_of_the_compact_backbone(make_cfg):
    words = ("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_compact_backbone", "MODEL.COMPACT.BLOCKS")
    one, three = (len(list(build_backbone(make_cfg("quick/source_only.yaml", *words, n)).modules())) for n in (1, 3))
    assert three > one


def test_the_shift_of_logit_adjustment(make_cfg):
    words = ("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "logit_adjustment", "MODEL.SEM_SEG_HEAD.LOGIT_ADJUSTMENT_TAU")
    one, two = (build_loss_shaping(make_cfg("quick/source_only.yaml", *words, tau)).values for tau in (0.7, 1.4))
    assert one.any() and torch.allclose(2 * one, two)


@pytest.mark.parametrize(
    "config, unread",
    [
        ("quick/source_only.yaml", ["SELF_TRAINING.EMA_DECAY", "ADVERSARIAL.GAN", "ENTROPY.LOSS", "ACTIVE.BUDGET"]),
        ("quick/self_training.yaml", ["ADVERSARIAL.GAN", "ENTROPY.LOSS", "ACTIVE.BUDGET"]),
        ("quick/adversarial_gbw.yaml", ["SELF_TRAINING.EMA_DECAY", "ENTROPY.LOSS", "ACTIVE.BUDGET"]),
        ("quick/active_cbda.yaml", ["SELF_TRAINING.EMA_DECAY", "ADVERSARIAL.GAN", "ENTROPY.LOSS"]),
    ],
)
def test_keys_of_other_trainers_are_unread(config, unread):
    names = ["SEED", "SELF_TRAINING.EMA_DECAY", "ADVERSARIAL.GAN", "GBW.LAMBDA", "ENTROPY.LOSS", "ACTIVE.BUDGET"]
    assert unread_keys(load_config(str(ROOT / "configs" / config), []), names) == unread


def test_bought_labels_with_a_teacher_read_its_keys():
    cfg = load_config(str(ROOT / "configs/quick/active_cbda.yaml"), ["ACTIVE.SELF_TRAINING", "True"])
    assert unread_keys(cfg, ["SELF_TRAINING.EMA_DECAY", "ENTROPY.LOSS"]) == ["ENTROPY.LOSS"]
