"""Panoptic domain adaptation with gradient-based class weighting, on Detectron2.

A trained model in three lines:

    from gbw_panoptic import load
    model = load("output/demo/adapted")  # a run, a folder of tools/export.py, or a checkpoint
    result = model.predict("image.jpg")  # result.panoptic, .segments, .semantic, .plot(), .save("out")
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import add_gbw_panoptic_config
    from .inference.model import PanopticModel, load
    from .inference.publishing import from_pretrained
    from .inference.result import Result, Segment

__version__ = "0.1.0"
__all__ = ["PanopticModel", "Result", "Segment", "add_gbw_panoptic_config", "from_pretrained", "load"]

#: Name -> module that has it. Imported on first use: `import gbw_panoptic` loads neither torch nor Detectron2.
_HOMES = {
    "add_gbw_panoptic_config": "config",
    "from_pretrained": "inference.publishing",
    "load": "inference.model",
    "PanopticModel": "inference.model",
    "Result": "inference.result",
    "Segment": "inference.result",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with warnings.catch_warnings():
        # fvcore and Detectron2 script functions at import; a user can do nothing about it
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
