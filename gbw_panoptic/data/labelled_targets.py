"""The few target images whose labels training may read: DATASETS.TARGET_LABELLED."""

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from detectron2.data import DatasetCatalog

from ..errors import UserError
from ..structures.samples import Record

KEY = "DATASETS.TARGET_LABELLED"


def labelled_records(options) -> list[Record]:
    """Records of the labelled target images, empty where none are wanted. Labels of other images are not opened.

    Args:
        options: the node DATASETS.TARGET_LABELLED of the configuration.
    """
    if not (options.FILES or options.SHARE):
        return []
    records = DatasetCatalog.get(options.NAME)
    if options.FILES:
        return named(records, options.FILES, options.NAME)
    return drawn(records, options.SHARE, options.SEED)


def named(records: Sequence[Record], names: Sequence[str], data_set: str) -> list[Record]:
    """Those of ``names``, each an image id, the name of a file or a path that ends a file's.

    Raises:
        UserError: a name is no image's, or that of several.
    """
    found = []
    for name in names:
        fits = [record for record in records if _is_named(record, name)]
        if len(fits) != 1:
            raise UserError(
                f"{KEY}.FILES: expected names of images of {data_set}, found '{name}', which is that of {len(fits)}; "
                "give the file's name, with folders where several have it."
            )
        found += fits
    return found


def drawn(records: Sequence[Record], share: float, seed: int) -> list[Record]:
    """A share of the records, at least one. Of one seed a smaller share is part of a larger one."""
    ordered = sorted(records, key=lambda record: record["image_id"])
    number = max(round(share * len(ordered)), 1)
    return [ordered[index] for index in np.random.default_rng(seed).permutation(len(ordered))[:number]]


def _is_named(record: Record, name: str) -> bool:
    parts, wanted = PurePath(record["file_name"]).parts, PurePath(name).parts
    return name == record["image_id"] or (wanted != () and parts[-len(wanted) :] == wanted)
