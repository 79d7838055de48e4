"""A folder for inference alone: weights as safetensors, what the network is built from as JSON, and a model card."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .. import __version__, files
from ..config import KEYS
from ..engine.description import Description
from ..engine.settings import build_settings
from ..errors import UserError
from ..modeling.published.fitting import TRAINING_ONLY
from ..optional import import_optional
from .card import model_card, training_facts
from .weights import CONFIG, WEIGHTS, ModelFile

if TYPE_CHECKING:
    from .model import PanopticModel

CARD = "README.md"
#: Settings that belong to the machine of the training, or to its beginning.
_LEFT_OUT = ("MODEL.DEVICE", "MODEL.WEIGHTS", "MODEL.WEIGHTS_SHA256", "MODEL.COMPILE")


def save_pretrained(model: "PanopticModel", folder: Path, licence: str) -> Path:
    """Write ``config.json``, ``model.safetensors`` and ``README.md``; whatever else is in the folder stays.

    Raises:
        UserError: safetensors is not installed.
    """
    safetensors = import_optional(
        "safetensors.torch", wanted_by="a file for inference", otherwise="write a .pth with tools/merge_checkpoints.py",
        install="'gbw-panoptic[export]'",
    )  # fmt: skip
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output: expected a folder, found a file at {folder}; choose another one")
    folder.mkdir(parents=True, exist_ok=True)
    weights = _weights(model)
    files.atomic_write(folder / WEIGHTS, safetensors.save(weights, metadata={"format": "pt"}))
    config = _config(model, files.sha256(folder / WEIGHTS))
    files.write_json(folder / CONFIG, config)
    sizes = {
        "parameters": sum(tensor.numel() for tensor in weights.values()),
        "bytes": (folder / WEIGHTS).stat().st_size,
    }
    files.atomic_write(folder / CARD, model_card(config, licence=licence, **sizes).encode())
    return folder


def _weights(model: "PanopticModel") -> dict[str, Tensor]:
    """Every tensor that a prediction needs, each with memory of its own."""
    state = model.predictor.model.state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(TRAINING_ONLY)}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in kept.items()}


def _config(model: "PanopticModel", sha256: str) -> dict[str, Any]:
    settings = build_settings(model.config).values
    kept = {
        key: value
        for key, value in settings.items()
        if key in KEYS and key.startswith(("MODEL.", "INPUT.", "TEST.TAU"))
    }
    weights = ModelFile(model.file.path, model.file.config_file).class_weights(model.name)
    return {
        "library": f"gbw-panoptic {__version__}",
        "sha256": sha256,
        "model": model.name,
        "settings": {**{key: value for key, value in kept.items() if key not in _LEFT_OUT}, "TEST.MODEL": model.name},
        "description": description_of(model).state_dict(),
        "about": about(model),
        **({} if weights is None else {"class_weights": weights.tolist()}),
    }


def description_of(model: "PanopticModel") -> Description:
    """Classes and protocols of a model; of a checkpoint of an older version, the classes alone."""
    return model.file.description or Description(model.taxonomy, ())


def about(model: "PanopticModel") -> dict[str, Any]:
    """What the model card says of the training: carried along, or found in the run."""
    file = ModelFile(model.file.path, model.file.config_file)
    return dict(file.contents["about"]) if "about" in file.contents else training_facts(file, model.name)
