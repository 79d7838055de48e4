"""Which images of a data set training sees: all but those that a list excludes, and those of the source that are held
out for validation."""

from collections.abc import Sequence

from detectron2.data import DatasetCatalog

from .. import files
from ..errors import UserError
from ..structures.samples import Record


def build_training_records(cfg, names: Sequence[str], *, source: bool) -> list[list[Record]]:
    """Records of each data set, without those of DATASETS.EXCLUDE and, of a ``source``, without those held out.

    Raises:
        UserError: a data set without images, or a list of others' images.
    """
    excluded = read_excluded(cfg.DATASETS.EXCLUDE)
    every = [_records(name) for name in names]
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
        records = [record for record in _records(name) if record["image_id"] not in excluded]
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


def _check_known(excluded: frozenset[str], names: Sequence[str], path: str) -> None:
    """
    Raises:
        UserError: an id that no data set of the training has: the list is another one's, or misspelt.
    """
    known = {record["image_id"] for name in names for record in _records(name)} if excluded else set()
    if unknown := sorted(excluded - known):
        raise UserError(
            f"DATASETS.EXCLUDE: expected ids of images of {', '.join(names)}, found {len(unknown)} others, first "
            f"{unknown[0]!r}, in {path}; take the list that tools/audit.py has written for them"
        )


def _records(name: str) -> list[Record]:
    records = DatasetCatalog.get(name)
    if not records:
        raise UserError(f"expected images in the data set {name}, found none; prepare it")
    return records
