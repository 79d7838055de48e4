"""Which images of a data set training sees: all but those that a list excludes, and those of the source that are held
out for validation; and the few target images whose labels it may read."""

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from detectron2.data import DatasetCatalog

from .. import files
from ..errors import UserError
from ..structures.samples import Record


def records_of(name: str) -> list[Record]:
    """All of a data set; UserError if there are none."""
    records = DatasetCatalog.get(name)
    if not records:
        raise UserError(f"expected images in the data set {name}, found none; prepare it")
    return records


def build_training_records(cfg, names: Sequence[str], *, source: bool) -> list[list[Record]]:
    """Records of each data set, without those of DATASETS.EXCLUDE and, of a ``source``, without those held out.

    Raises:
        UserError: a data set without images, or a list of others' images.
    """
    excluded = read_excluded(cfg.DATASETS.EXCLUDE)
    every = [records_of(name) for name in names]
    if source:
        _check_known(excluded, (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TARGET), cfg.DATASETS.EXCLUDE)
        held_out = {record["file_name"] for record in build_source_validation(cfg)}
        every = [[record for record in records if record["file_name"] not in held_out] for records in every]
    kept = [[record for record in records if record["image_id"] not in excluded] for records in every]
    if empty := next((name for name, records in zip(names, kept) if not records), None):
        raise UserError(
            f"DATASETS.EXCLUDE: expected images of {empty} that are left to train on, found none; shorten the list, or "
            "drop the data set"
        )
    return kept


def build_source_validation(cfg) -> list[Record]:
    """The DATASETS.SOURCE_VALIDATION images of each source, evenly spaced, that training does not see.

    Raises:
        UserError: a source has no more images than that.
    """
    count, excluded, chosen = cfg.DATASETS.SOURCE_VALIDATION, read_excluded(cfg.DATASETS.EXCLUDE), []
    for name in cfg.DATASETS.TRAIN if count else ():
        records = [record for record in records_of(name) if record["image_id"] not in excluded]
        if count >= len(records):
            raise UserError(
                f"DATASETS.SOURCE_VALIDATION: expected fewer than the {len(records)} images of {name}, found {count}; "
                "lower it"
            )
        chosen += [records[(2 * i + 1) * len(records) // (2 * count)] for i in range(count)]
    return chosen


def read_excluded(path: str) -> frozenset[str]:
    """Ids of images in a list: one in each line; what follows a # is a remark. None of no list.

    Raises:
        UserError: the file cannot be read, or is no text.
    """
    if not path:
        return frozenset()
    try:
        lines = files.read_bytes(path).decode().splitlines()
    except (UserError, UnicodeDecodeError) as error:
        raise UserError(
            f"DATASETS.EXCLUDE: expected a text file with an image's id in each line, found: {error}; correct the path"
        ) from None
    return frozenset(filter(None, (line.partition("#")[0].strip() for line in lines)))


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
                f"DATASETS.TARGET_LABELLED.FILES: expected names of images of {data_set}, found '{name}', which is "
                f"that of {len(fits)}; give the file's name, with folders where several have it."
            )
        found += fits
    return found


def drawn(records: Sequence[Record], share: float, seed: int) -> list[Record]:
    """A share of the records, at least one. Of one seed a smaller share is part of a larger one."""
    ordered = sorted(records, key=lambda record: record["image_id"])
    number = max(round(share * len(ordered)), 1)
    return [ordered[index] for index in np.random.default_rng(seed).permutation(len(ordered))[:number]]


def _check_known(excluded: frozenset[str], names: Sequence[str], path: str) -> None:
    """
    Raises:
        UserError: an id that no data set of the training has: the list is another one's, or misspelt.
    """
    known = {record["image_id"] for name in names for record in records_of(name)} if excluded else set()
    if unknown := sorted(excluded - known):
        raise UserError(
            f"DATASETS.EXCLUDE: expected ids of images of {', '.join(names)}, found {len(unknown)} others, first "
            f"{unknown[0]!r}, in {path}; take the list that tools/audit.py has written for them"
        )


def _is_named(record: Record, name: str) -> bool:
    parts, wanted = PurePath(record["file_name"]).parts, PurePath(name).parts
    return name == record["image_id"] or (wanted != () and parts[-len(wanted) :] == wanted)
