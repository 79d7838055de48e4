"""From data sets as they are downloaded to what training reads; ``datasets/prepare.py`` is the command for it.

Reading order: ``converters`` (one image), ``preparing`` (one data set), ``checking``, ``inventory``.
"""

from .checking import check
from .inventory import DatasetStatus, status
from .preparing import prepare

__all__ = ["DatasetStatus", "check", "prepare", "status"]
