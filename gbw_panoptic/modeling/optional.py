"""Packages that only some configurations need."""

import importlib
from types import ModuleType

from ..errors import UserError


def import_optional(package: str, *, wanted_by: str) -> ModuleType:
    """Import ``package`` where it is needed, so that everything else runs without it.

    Args:
        wanted_by: the configuration key and value that need it, for the message.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"{wanted_by}: expected the package {package}, found none ({error}); "
            "`pip install 'gbw-panoptic[transformers]'`, or choose a Detectron2 backbone."
        ) from error
