"""The project's data sets in Detectron2's catalogs: records are :class:`~gbw_panoptic.structures.samples.Record`
values."""

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog

from ..errors import UserError
from ..places import unknown_data_set
from ..searching import Skipped
from ..structures.samples import Record
from ..taxonomy import CITYSCAPES, Taxonomy, read_taxonomy
from .coco_panoptic import load_panoptic_json
from .custom import load_custom
from .image_names import ImageName, file_path, list_images, name_of_file
from .layout import (
    Split,
    default_prepared,
    default_root,
    expected_images,
    label_command,
    located,
    missing_download,
    prepare_command,
    split_images,
)
from .published import CATALOG
from .statistics import ClassStatistics

_LABEL_KEYS = ("pan_seg_file_name", "sem_seg_file_name")
logger = logging.getLogger(__name__)


def register_all(root: str | None = None, custom: str | None = None, taxonomy: str | None = None) -> None:
    """Register all data sets below ``root`` (default: ``$DETECTRON2_DATASETS`` or ./datasets, as they are now).

    Registering again replaces all that was registered, so that another root takes effect. The only file that is read
    is the description of the user's own data sets. Prepared files are those in ``$GBW_PREPARED``, if that is set.

    Args:
        custom: that file; by default, ``custom.yaml`` below ``root``, if it is there.
        taxonomy: name or file of the classes that it names; by default, Cityscapes'. Published data sets have this one
            if its classes are theirs, else Cityscapes'.

    Raises:
        UserError: the file is missing or wrong.
    """
    folder = default_root() if root is None else Path(root)
    space = read_taxonomy(taxonomy or CITYSCAPES.name)
    own = load_custom(folder, custom, taxonomy)
    for name in [name for name in DatasetCatalog if MetadataCatalog.get(name).get("prepare_command") is not None]:
        DatasetCatalog.pop(name)  # Metadata refuses a second value for a key, so both entries go first
        MetadataCatalog.pop(name)
    of_published = space if space.same_classes(CITYSCAPES) else CITYSCAPES
    for name, (kind, split) in CATALOG.items():
        _register(name, kind, folder, replace(split, taxonomy=of_published))
    for split in (split for splits in own.values() for split in splits):
        _register(f"{split.dataset}_images_{split.name}", "images", folder, split)
        if split.format != "images":
            kind = "sem" if split.panoptic_json is None else "panoptic"
            _register(f"{split.dataset}_{kind}_{split.name}", kind, folder, split, split.meaning.labels)


def _labelled_classes(split: Split) -> tuple[int, ...]:
    if split.meaning is not None:
        return split.meaning.labelled_classes
    return tuple(c for c in range(split.taxonomy.num_classes) if c not in split.absent)


def load_panoptic_records(root: Path, split: Split) -> list[Record]:
    """Records of a prepared panoptic split, in the order of its JSON.

    Raises:
        UserError: the images, the JSON or the PNG folder are missing, or the JSON is not what it should be.
    """
    # Where a JSON names the images, the folder may hold any number of others.
    names = {} if split.raw_json else {name.stem: name for name in _list_or_raise(root, split)}
    path = root / split.panoptic_json
    _require_prepared(path, root, split)
    _require_prepared(root / split.panoptic_root, root, split)
    records = []
    for annotation in load_panoptic_json(path, split.taxonomy, info=split.panoptic_info):
        name = name_of_file(annotation.image_file) if split.raw_json else names.get(annotation.image_id)
        if name is None:
            raise UserError(
                f"expected an image {annotation.image_id} in {root / split.image_root} as {path} says, found none; "
                f"unpack the images again or run `{prepare_command(root, split)}`"
            )
        segments = [
            {**segment, "category_id": split.taxonomy.contiguous_id[segment["category_id"]]}
            for segment in annotation.segments_info
        ]
        label = root / split.panoptic_root / annotation.label_file
        records.append({**_record(root, split, name), "pan_seg_file_name": str(label), "segments_info": segments})
    return records


def load_semantic_records(root: Path, split: Split) -> list[Record]:
    """Records of the images that have a prepared semantic label, sorted by name."""
    names = _list_or_raise(root, split)
    template = split.prepared_labels[-1]
    labelled = {name.stem: name for name in list_images(root, template)}
    if labelled.keys().isdisjoint(name.stem for name in names):
        raise _not_prepared(root / split.panoptic_root, root, split)
    if split.id_table is not None:
        _require_prepared(root / split.statistics, root, split)
        ClassStatistics.load(root / split.statistics, split.taxonomy.names, info=split.panoptic_info)
    unlabelled = sum(name.stem not in labelled for name in names)
    if unlabelled:
        logger.warning("%s: %d of %d images have no usable label and are left out", split.title, unlabelled, len(names))
    return [
        {**_record(root, split, name), "sem_seg_file_name": str(file_path(root, template, labelled[name.stem]))}
        for name in names
        if name.stem in labelled
    ]


def load_image_records(root: Path, split: Split) -> list[Record]:
    """Records of the image files alone, sorted by name: nothing of the labels is looked at."""
    return [_record(root, split, name) for name in _list_or_raise(root, split, labelled=False)]


def check_datasets(names: Sequence[str]) -> None:
    """Check, before a model is built, that what the loaders will open is there.

    The first and the last record of each data set must have their files, and sources their class statistics; a count
    unlike the expected one is a warning.

    Raises:
        UserError: a name that is not registered, or a file that is missing.
    """
    for name in names:
        if name not in DatasetCatalog:
            raise UserError(f"DATASETS.*: {unknown_data_set(name)}")
        records, metadata = DatasetCatalog.get(name), MetadataCatalog.get(name)
        command = metadata.get("prepare_command", "python datasets/prepare.py")
        label_command = metadata.get("label_command", command)
        if not records:
            raise UserError(f"expected images in the data set {name}, found none; run `{command} --check`")
        for record in (records[0], records[-1]):
            for key, run in (("file_name", command), *((key, label_command) for key in _LABEL_KEYS if key in record)):
                if not Path(record[key]).is_file():
                    raise UserError(f"expected a file of {name} at {record[key]}, found nothing; run `{run} --check`")
        statistics = metadata.get("class_statistics")
        if statistics is not None and not Path(statistics).is_file():
            found = f"found nothing; run `{label_command}`"
            raise UserError(f"expected class statistics of {name} at {statistics}, {found}")
        expected = metadata.get("expected_images", lambda: None)()
        if expected not in (None, len(records)):
            logger.warning("%s: expected %d images, found %d; run `%s --check`", name, expected, len(records), command)


#: Kind of labels -> what loads the records.
_LOADERS = {"images": load_image_records, "sem": load_semantic_records, "panoptic": load_panoptic_records}


def _register(name: str, kind: str, root: Path, split: Split, labels: tuple[int, ...] = ()) -> None:
    if name in DatasetCatalog:
        taken = f"found {name!r} taken; rename {split.dataset} or its split in {split.described_in}"
        raise UserError(f"expected names that no other data set has, {taken}")
    split = located(split, default_prepared())
    labelled_classes = () if kind == "images" else _labelled_classes(split)
    DatasetCatalog.register(name, partial(_LOADERS[kind], root, split))
    MetadataCatalog.get(name).set(
        image_root=str(root / split.image_root),
        labelled_classes=labelled_classes,
        labels=labels,
        expected_images=partial(expected_images, root, split),
        prepare_command=prepare_command(root, split),
        label_command=label_command(root, split),
        **_taxonomy_metadata(split.taxonomy),
        **(_label_metadata(root, split) if labelled_classes else {}),
    )


def _taxonomy_metadata(taxonomy: Taxonomy) -> dict[str, Any]:
    # Both kinds carry all names and colors: Detectron2's panoptic visualizer looks up contiguous ids in either.
    names, colors = list(taxonomy.names), [list(color) for color in taxonomy.colors]
    return {
        "taxonomy": taxonomy,
        "label_divisor": taxonomy.label_divisor,
        "ignore_label": taxonomy.ignore_label,
        "thing_dataset_id_to_contiguous_id": {taxonomy.dataset_ids[c]: c for c in taxonomy.thing_ids},
        "stuff_dataset_id_to_contiguous_id": {taxonomy.dataset_ids[c]: c for c in taxonomy.stuff_ids},
        "thing_classes": names,
        "stuff_classes": names,
        "thing_colors": colors,
        "stuff_colors": colors,
    }


def _label_metadata(root: Path, split: Split) -> dict[str, str]:
    metadata = {}
    if split.panoptic_json is not None:
        metadata["panoptic_root"] = str(root / split.panoptic_root)
        metadata["panoptic_json"] = str(root / split.panoptic_json)
    if split.statistics is not None:
        metadata["class_statistics"] = str(root / split.statistics)
    return metadata


def _record(root: Path, split: Split, name: ImageName) -> dict[str, str]:
    return {"file_name": str(file_path(root, split.image, name)), "image_id": name.stem}


def _list_or_raise(root: Path, split: Split, *, labelled: bool = True) -> list[ImageName]:
    skipped = Skipped()
    names = split_images(root, split, skipped)
    if not names:
        found = "no images" if (root / split.image_root).is_dir() else "nothing"
        raise missing_download(root, split, split.image_root, found + skipped.remark(), then_prepare=labelled)
    if skipped:
        logger.warning("%s: %s", split.title, skipped.sentence())
    return names


def _require_prepared(path: Path, root: Path, split: Split) -> None:
    if not path.exists():
        raise _not_prepared(path, root, split)


def _not_prepared(path: Path, root: Path, split: Split) -> UserError:
    command = label_command(root, split)
    return UserError(f"expected prepared labels of {split.title} at {path}, found nothing; run `{command}`")
