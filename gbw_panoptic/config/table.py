"""The table: every configuration key that is read, in the order of docs/configuration.md, and the defaults."""

import copy
from types import MappingProxyType
from typing import Any

from detectron2.config import CfgNode as CN
from detectron2.projects.panoptic_deeplab import add_panoptic_deeplab_config

from . import adaptation_keys, data_keys, model_keys, solver_keys, weighting_keys
from .kinds import HOSTS, Key

#: Title of a part -> its rows.
PARTS: dict[str, tuple[Key, ...]] = {
    "Run": solver_keys.RUN,
    "Network": model_keys.MODEL,
    "Backbones": model_keys.BACKBONES,
    "Panoptic-DeepLab": model_keys.PANOPTIC_DEEPLAB,
    "Semantic head": model_keys.SEMANTIC_HEAD,
    "Instance head": model_keys.INSTANCE_HEAD,
    "Auxiliary head": model_keys.AUXILIARY_HEAD,
    "Mask2Former": model_keys.MASK2FORMER,
    "EoMT": model_keys.EOMT,
    "Data sets": data_keys.DATASETS,
    "Images": data_keys.INPUT,
    "Loader": data_keys.DATALOADER,
    "Optimisation": solver_keys.SOLVER,
    "Class weights": weighting_keys.WEIGHTING,
    "Gradient-based class weighting": weighting_keys.GBW,
    "Trainer": adaptation_keys.TRAINER,
    "Self-training": adaptation_keys.SELF_TRAINING,
    "Self-training of segments": adaptation_keys.SEGMENTS,
    "Alignment": adaptation_keys.ADVERSARIAL,
    "Entropy minimisation": adaptation_keys.ENTROPY,
    "Active learning": adaptation_keys.ACTIVE,
    "Evaluation": data_keys.TEST,
}
#: Name -> row.
KEYS = MappingProxyType({key.name: key for rows in PARTS.values() for key in rows})


def add_gbw_panoptic_config(cfg: CN) -> None:
    """Add this project's keys (and those of Detectron2's Panoptic-DeepLab, on which it builds) to ``cfg``, in place."""
    add_panoptic_deeplab_config(cfg)
    for key in KEYS.values():
        if key.default is not HOSTS:
            _declare(cfg, key.name.split("."), copy.deepcopy(key.default))


def _declare(node: CN, names: list[str], default: Any) -> None:
    for name in names[:-1]:
        if name not in node:
            node[name] = CN()
        node = node[name]
    node[names[-1]] = default
