"""The project's keys and defaults in Detectron2's configuration."""

import copy
from typing import Any

from detectron2.config import CfgNode as CN
from detectron2.projects.panoptic_deeplab import add_panoptic_deeplab_config

from .key import HOSTS
from .table import KEYS


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
