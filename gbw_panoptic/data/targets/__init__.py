"""What models are trained on, made of the labels of a crop: dense maps or segments; an architecture says which."""

from .dense import DenseTargets, look_up, panoptic_deeplab_targets, segment_rows
from .maker import TargetMaker, build_dense_targets, build_segment_labels
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
