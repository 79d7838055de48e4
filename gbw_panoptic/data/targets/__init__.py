"""What models are trained on, made of the labels of a crop: dense maps or segments; an architecture says which."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from detectron2.data import MetadataCatalog
from torch import Tensor

from .dense import DenseTargets, look_up, panoptic_deeplab_targets, segment_rows
from .segments import SegmentLabels

__all__ = [
    "DenseTargets",
    "SegmentLabels",
    "TargetMaker",
    "build_dense_targets",
    "build_segment_labels",
    "look_up",
    "panoptic_deeplab_targets",
    "segment_rows",
]


class TargetMaker(Protocol):
    """From the labels of a crop to the training targets in a sample.

    Attributes:
        ignore_crowd: whether the pixels of crowds have no label.
    """

    @property
    def ignore_crowd(self) -> bool: ...

    def __call__(
        self, rows: np.ndarray, categories: np.ndarray, segments: Sequence[Mapping] | None
    ) -> dict[str, Tensor]:
        """
        Args:
            rows: [H, W] integers, of a table of R rows.
            categories: [R] unsigned, contiguous id of each row, or the ignore label.
            segments: ``id`` (a row), ``category_id`` and ``iscrowd`` of each; None for labels without instances.

        Returns:
            Keys of a :class:`~gbw_panoptic.structures.samples.SourceSample`.
        """


def build_dense_targets(cfg) -> DenseTargets:
    """Dense maps; without instances for the semantic task."""
    taxonomy, options = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy, cfg.INPUT
    if cfg.MODEL.TASK != "panoptic":
        return DenseTargets(None)
    return DenseTargets({
        "thing_ids": frozenset(taxonomy.thing_labels),
        "ignore_label": taxonomy.ignore_label,
        "sigma": options.GAUSSIAN_SIGMA,
        "ignore_stuff_in_offset": options.IGNORE_STUFF_IN_OFFSET,
        "small_instance_area": options.SMALL_INSTANCE_AREA,
        "small_instance_weight": options.SMALL_INSTANCE_WEIGHT,
        "ignore_crowd_in_semantic": options.IGNORE_CROWD_IN_SEMANTIC,
    })  # fmt: skip


def build_segment_labels(cfg) -> SegmentLabels:
    """Segments; one for each class in the semantic task."""
    taxonomy, panoptic = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy, cfg.MODEL.TASK == "panoptic"
    return SegmentLabels(
        thing_ids=taxonomy.thing_labels if panoptic else (),
        ignore_label=taxonomy.ignore_label,
        ignore_crowd=panoptic and cfg.INPUT.IGNORE_CROWD_IN_SEMANTIC,
    )
