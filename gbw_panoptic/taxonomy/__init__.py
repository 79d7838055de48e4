"""Classes, ids, palettes and evaluation protocols: the only place with literal class ids."""

from .model import COMMON, IGNORE_LABEL, LabelUnion, Protocol, Taxonomy, lookup_table
from .published import (
    CITYSCAPES,
    GTA5_IDS,
    PROTOCOLS,
    SYNTHIA_ABSENT,
    SYNTHIA_TO_CONTIGUOUS,
    SYNTHIA_VOID_IDS,
    VISTAS_CLASSES,
)
from .reading import read_taxonomy

__all__ = [
    "CITYSCAPES", "COMMON", "GTA5_IDS", "IGNORE_LABEL", "LabelUnion", "PROTOCOLS", "Protocol", "SYNTHIA_ABSENT",
    "SYNTHIA_TO_CONTIGUOUS", "SYNTHIA_VOID_IDS", "Taxonomy", "VISTAS_CLASSES", "lookup_table", "read_taxonomy",
]  # fmt: skip
