"""A folder for inference alone: weights as safetensors, what the network is built from as JSON, and a model card; on
the Hugging Face Hub, too, through huggingface_hub's mix-in. A local folder needs neither it nor a network."""

import os
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import __version__, files
from ..config import KEYS
from ..engine.description import Description
from ..engine.settings import build_settings
from ..errors import UserError
from ..modeling.published.fitting import TRAINING_ONLY
from ..optional import import_optional
from .card import model_card, training_facts
from .model import PanopticModel, load
from .weights import CONFIG, WEIGHTS, ModelFile

CARD = "README.md"
#: Settings that belong to the machine of the training, or to its beginning.
_LEFT_OUT = ("MODEL.DEVICE", "MODEL.WEIGHTS", "MODEL.WEIGHTS_SHA256", "MODEL.COMPILE")


def save_pretrained(model: PanopticModel, folder: Path, licence: str) -> Path:
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


def _weights(model: PanopticModel) -> dict[str, Tensor]:
    """Every tensor that a prediction needs, each with memory of its own."""
    state = model.predictor.model.state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(TRAINING_ONLY)}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in kept.items()}


def _config(model: PanopticModel, sha256: str) -> dict[str, Any]:
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


def description_of(model: PanopticModel) -> Description:
    """Classes and protocols of a model; of a checkpoint of an older version, the classes alone."""
    return model.file.description or Description(model.taxonomy, ())


def about(model: PanopticModel) -> dict[str, Any]:
    """What the model card says of the training: carried along, or found in the run."""
    file = ModelFile(model.file.path, model.file.config_file)
    return dict(file.contents["about"]) if "about" in file.contents else training_facts(file, model.name)


#: Of huggingface_hub's ``from_pretrained``; all others are :func:`load`'s.
_OF_THE_HUB = ("revision", "cache_dir", "force_download", "local_files_only", "token")


def from_pretrained(name_or_folder: str | Path, **options: Any) -> PanopticModel:
    """A model from a folder of tools/export.py, or from a repository of the Hugging Face Hub, which is then downloaded.

    Args:
        name_or_folder: a folder that exists, or owner/name on the Hub.
        options: of :func:`gbw_panoptic.load`; and, for the Hub, ``revision``, ``cache_dir``, ``force_download``,
            ``local_files_only``, ``token``.

    Raises:
        UserError: there is no such model, it lacks a tensor, or huggingface_hub is not installed.
    """
    hub = {name: options.pop(name) for name in _OF_THE_HUB if name in options}
    if os.path.isdir(name_or_folder):
        return load(name_or_folder, **options)
    return _asked(
        lambda: _published().from_pretrained(str(name_or_folder), **hub, **options), name_or_folder
    ).panoptic_model


def push_to_hub(model: PanopticModel, repo_id: str, *, private: bool, **options: Any) -> str:
    """Upload what :meth:`PanopticModel.save_pretrained` writes; the address of the commit."""
    return str(_asked(lambda: _published()(model).push_to_hub(repo_id, private=private, **options), repo_id))


def _asked(request: Any, name: str | Path) -> Any:
    """What the Hub answers; one sentence where it does not."""
    hub = _package()
    failures = (
        hub.errors.HfHubHTTPError,
        hub.errors.HFValidationError,
        hub.errors.OfflineModeIsEnabled,
        ConnectionError,
    )
    try:
        return request()
    except (*failures, FileNotFoundError) as error:  # the last is of a file that was never downloaded
        found = " ".join(str(error).split())[:200].rstrip(".")
        raise UserError(
            f"expected a folder, or a repository on the Hugging Face Hub, at {name}, found: {found}; correct the name, "
            "log in, or mend the connection"
        ) from error


def _package() -> Any:
    return import_optional(
        "huggingface_hub",
        wanted_by="the Hugging Face Hub",
        otherwise="give a local folder",
        install="'gbw-panoptic[export]'",
    )


@cache
def _published() -> type:
    """The class that the mix-in makes a repository of; made on first use, since its package is an extra."""

    class PublishedModel(_package().ModelHubMixin, library_name="gbw-panoptic", pipeline_tag="image-segmentation"):
        """A :class:`PanopticModel` for the Hub."""

        def __init__(self, panoptic_model: PanopticModel) -> None:
            self.panoptic_model = panoptic_model

        def _save_pretrained(self, save_directory: Path) -> None:
            self.panoptic_model.save_pretrained(save_directory)

        @classmethod
        def _from_pretrained(cls, *, model_id: str, **options: Any) -> "PublishedModel":
            hub = {name: options.pop(name) for name in _OF_THE_HUB if name in options}
            paths = [_package().hf_hub_download(repo_id=model_id, filename=name, **hub) for name in (CONFIG, WEIGHTS)]
            return cls(load(Path(paths[-1]).parent, **options))

    return PublishedModel
