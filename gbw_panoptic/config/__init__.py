"""Every configuration key that is read, declared once: default, type, range, and what it does.

The rest of the package never sees a ``cfg``: only ``from_config`` and ``build_*`` functions read these keys.
"""

from .merging import key_problems, merge_file, merge_list, merge_settings, unread_keys
from .table import KEYS, add_gbw_panoptic_config

__all__ = [
    "KEYS",
    "add_gbw_panoptic_config",
    "key_problems",
    "merge_file",
    "merge_list",
    "merge_settings",
    "unread_keys",
]
