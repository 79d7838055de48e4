"""The settings in a checkpoint, compared with those of a resume (`config/resuming.py` says what that may change) or of
a use.

A checkpoint holds the settings that it was made with, as a flat mapping of keys to plain values.
"""

import logging
from functools import cache
from types import MappingProxyType
from typing import Any, Mapping

from detectron2.config import CfgNode, get_cfg

from ..config import add_gbw_panoptic_config
from ..config.resuming import APPLIED, REFUSED, rule
from ..errors import UserError

#: Keys on which the meaning of weights depends though their shapes do not show it: evaluation, prediction and the start
#: of another run need the values of training.
MEANING = (
    "INPUT.FORMAT", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD", "MODEL.META_ARCHITECTURE", "MODEL.BACKBONE.NAME",
    "MODEL.TIMM.NAME",
    "MODEL.MIT.VARIANT", "MODEL.SWIN.VARIANT", "MODEL.SWIN.WINDOW_SIZE", "MODEL.VIT.VARIANT", "MODEL.VIT.POSITIONS",
    "MODEL.RESNETS.STRIDE_IN_1X1",
    "MODEL.RESNETS.RES5_DILATION", "MODEL.RESNETS.RES5_MULTI_GRID", "MODEL.SEM_SEG_HEAD.ASPP_DILATIONS",
    "MODEL.INS_EMBED_HEAD.ASPP_DILATIONS", "MODEL.MASK2FORMER.NUM_HEADS", "MODEL.EOMT.NUM_BLOCKS",
)  # fmt: skip
#: One process trains with BN what many train with SyncBN, and goes on with the other's checkpoint.
_SAME = {"SyncBN": "BN"}


class Settings:
    """The settings of a run, as a part of its checkpoints; compares itself with those of the checkpoint it resumes
    from."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = dict(values)

    def state_dict(self) -> dict[str, object]:
        return self.values

    def load_state_dict(self, state: object) -> None:
        """
        Raises:
            UserError: a setting differs that a resume must not change.
        """
        differing = differences(self.values, checked(state))
        refused = [key for key in differing if rule(key) == REFUSED]
        if refused:
            key, others = refused[0], f", and other values of {', '.join(refused[1:4])}" if refused[1:] else ""
            own, made = differing[key]
            raise UserError(
                f"--resume: expected {key} {_shown(made)}, with which the checkpoint was made, found "
                f"{_shown(own)}{others}; resume with that run's settings, or start anew with it as MODEL.WEIGHTS."
            )
        for key in (key for key in differing if rule(key) == APPLIED):
            own, made = differing[key]
            logging.getLogger("gbw_panoptic").info(
                "From here on %s is %s (before: %s).", key, _shown(own), _shown(made)
            )


def build_settings(cfg) -> Settings:
    """All keys of a configuration."""
    return Settings(flattened(cfg))


@cache
def build_defaults() -> Mapping[str, object]:
    """Detectron2's and ours: what a key that is younger than a checkpoint had been."""
    cfg = get_cfg()
    add_gbw_panoptic_config(cfg)
    return MappingProxyType(flattened(cfg))


def flattened(node: CfgNode, prefix: str = "") -> dict[str, object]:
    """Dotted key -> plain value; lists are tuples."""
    flat = {}
    for key, value in node.items():
        if isinstance(value, dict):
            flat.update(flattened(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = frozen(value)
    return flat


def differences(own: Mapping[str, object], made: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """Key -> (its value here, that of the checkpoint), where they differ; keys that are no more do not count."""
    former = {**build_defaults(), **made}
    return {
        key: (value, former[key])
        for key, value in own.items()
        if key in former and _comparable(value) != _comparable(former[key])
    }


def check_meaning(own: Mapping[str, object], contents: Mapping[str, object], origin: str) -> None:
    """
    Args:
        own: settings with which the weights will be used.
        contents: of the checkpoint; without settings, as other projects' files are, nothing is compared.

    Raises:
        UserError: the weights were trained with another value of one of :data:`MEANING`.
    """
    if "settings" not in contents:
        return
    made = checked(contents["settings"])
    for key in MEANING:
        if key in made and key in own and _read_by(key, own) and _comparable(own[key]) != _comparable(made[key]):
            raise UserError(
                f"{key}: expected {_shown(made[key])}, with which the weights in {origin} were trained, found "
                f"{_shown(own[key])}; set it, or give that run's configuration."
            )


def checked(state: object) -> dict[str, object]:
    """
    Raises:
        UserError: settings are something else, in a damaged checkpoint.
    """
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise UserError(
            f"expected settings by key in the checkpoint, found {type(state).__name__}; take another checkpoint."
        )
    return {key: frozen(value) for key, value in state.items()}


def _read_by(key: str, own: Mapping[str, object]) -> bool:
    """Keys of a backbone count where it is the configured one."""
    names = ("mit", "swin", "timm", "vit")
    owner = {name.upper(): f"build_{name}_backbone" for name in names}.get(key.split(".")[1])
    backbone = str(own.get("MODEL.BACKBONE.NAME"))
    if key.startswith("MODEL.RESNETS"):
        return "resnet" in backbone
    return owner in (None, backbone)


def frozen(value: Any) -> Any:
    """Lists, however deep, as tuples."""
    return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value


def _comparable(value: object) -> object:
    return (
        tuple(map(_comparable, value))
        if isinstance(value, tuple)
        else _SAME.get(value, value)
        if isinstance(value, str)
        else value
    )


def _shown(value: object) -> str:
    return repr(value)[:80]
