"""Models on the Hugging Face Hub, through huggingface_hub's mix-in; a local folder needs neither it nor a network."""

import os
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..optional import import_optional
from .model import PanopticModel, load
from .weights import CONFIG, WEIGHTS

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
