"""Packages that only some configurations need."""

import importlib
from types import ModuleType

from .errors import UserError


def import_optional(
    package: str,
    *,
    wanted_by: str,
    otherwise: str = "choose a Detectron2 backbone",
    install: str = "'gbw-panoptic[transformers]'",
) -> ModuleType:
    """Import ``package`` where it is needed, so that everything else runs without it.

    Args:
        wanted_by: the configuration key and value that need it, for the message.
        otherwise: what to do without the package.
        install: what pip takes to install it.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"{wanted_by}: expected the package {package}, found none ({error}); "
            f"`pip install {install}`, or {otherwise}."
        ) from error
