"""Dictionaries that travel from a data set to a model. Each key says its shape, type, range and meaning.

Shape legend: H x W pixels of the crop, K thing instances, C classes. docs/architecture.md shows these types as tables.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple, NotRequired, TypedDict

from torch import Tensor

from ..coco_format import SegmentInfo
from ..taxonomy import Taxonomy
from .instances import PseudoInstances
from .segments import SegmentMap, SegmentTargets


class Record(TypedDict):
    """A record of a data set in Detectron2's catalog."""

    file_name: Annotated[str, "path of the image"]
    image_id: Annotated[
        str, "path below the image folder, without suffix and with `_` for `/`: unique, and a file name"
    ]
    pan_seg_file_name: NotRequired[Annotated[str, "panoptic labels: a PNG whose colours are segment ids"]]
    segments_info: NotRequired[
        Annotated[list[SegmentInfo], "segments of that PNG: `id`, `category_id` (contiguous), `iscrowd`"]
    ]
    sem_seg_file_name: NotRequired[
        Annotated[
            str, "semantic labels (GTA5): a PNG of contiguous ids, 255 (of more than 254 classes 65535) = ignored"
        ]
    ]


class Metadata(TypedDict, total=False):
    """What Detectron2's catalog holds of a data set beside its records."""

    taxonomy: Annotated[Taxonomy, "classes, ids and protocols"]
    labelled_classes: Annotated[tuple, "contiguous ids of the classes that its labels may mean"]
    labels: Annotated[tuple, "of a data set of one's own: contiguous ids that its labels may hold, unions among them"]
    image_root: Annotated[str, "folder of the images"]
    panoptic_root: Annotated[str, "folder of panoptic labels"]
    panoptic_json: Annotated[str, "their list of segments"]
    class_statistics: Annotated[str, "of a labelled source: the JSON of `ClassStatistics`"]
    thing_classes: Annotated[
        list, "names, and so on: `stuff_classes`, `thing_colors`, `stuff_colors`, `label_divisor`, as in Detectron2"
    ]
    prepare_command: Annotated[str, "for messages, as `label_command` and `expected_images` are"]


class FileFacts(TypedDict):
    """The image file that a sample was cut from."""

    file_name: Annotated[str, "path of the image"]
    image_id: Annotated[str, "that of the record"]
    height: Annotated[int, "pixels of the file"]
    width: Annotated[int, "pixels of the file"]


class InstanceLabels(TypedDict, total=False):
    """What the losses of instance heads are made of; present with panoptic labels and the panoptic task."""

    center: Annotated[Tensor, "[H, W] float32 in 0..1: heatmap, a Gaussian at each instance's centre"]
    center_weights: Annotated[Tensor, "[1, H, W] float32 >= 0: factor of the heatmap's loss; 0 = does not count"]
    center_classes: Annotated[
        Tensor, "[H, W] int64: class whose Gaussian is largest; `ignore_label` where `center` is 0"
    ]
    offset: Annotated[Tensor, "[2, H, W] float32: (dy, dx) to the instance's centre, pixels of the crop"]
    offset_weights: Annotated[Tensor, "[1, H, W] float32 >= 0: factor of the offset's loss; 0 = does not count"]
    instance_ids: Annotated[Tensor, "[H, W] int64: 0 = no thing instance, else 1..K"]
    instance_classes: Annotated[Tensor, "[K] int64: contiguous id of instance k at index k - 1"]


class SegmentLabels(TypedDict, total=False):
    """What a mask model is trained on: the segments of the labels; `segments` stands in place of the other two."""

    segment_ids: Annotated[Tensor, "[H, W] int32: 0 = no segment (void, a crowd), else 1..N"]
    segment_classes: Annotated[Tensor, "[N] int64: contiguous id of segment n at index n - 1"]
    segments: Annotated[SegmentTargets, "of a mixed image, with the weights and confidences of a teacher's segments"]


class SourceSample(FileFacts, InstanceLabels, SegmentLabels):
    """What the source mapper emits: dense labels, or segments and `sem_seg`."""

    image: Annotated[Tensor, "[3, H, W] uint8: channels in the order of `INPUT.FORMAT`"]
    sem_seg: Annotated[Tensor, "[H, W] int64: contiguous id of a class or a union, or the taxonomy's `ignore_label`"]
    sem_seg_weights: NotRequired[Annotated[Tensor, "[H, W] float32 >= 0: factor of the pixel's loss (small instances)"]]


class TargetSample(FileFacts, InstanceLabels):
    """What the target mapper emits. It holds a label only where `ActiveTrainer` has bought one."""

    image: Annotated[Tensor, "[3, H, W] uint8: channels in the order of `INPUT.FORMAT`"]
    student_image: NotRequired[Annotated[Tensor, "[3, H, W] uint8: the same with other colours, for a student alone"]]
    valid_mask: Annotated[Tensor, "[H, W] bool: False in ignored borders and in padding"]
    place: Annotated[
        Tensor, "[4] float32: top, bottom, left, right edge as shares of the image; left > right if it is mirrored"
    ]
    sem_seg: NotRequired[Annotated[Tensor, "[H, W] int64: class of a bought pixel, else `ignore_label`"]]
    sem_seg_weights: NotRequired[Annotated[Tensor, "[H, W] float32: 1"]]
    segments: NotRequired[Annotated[SegmentTargets, "what a mask model is trained on, in place of the other labels"]]


class LabelledTarget(TypedDict, total=False):
    """A target image as a teacher has labelled it: with `sem_seg` (dense predictions) or `segment_map` (mask
    models)."""

    image: Annotated[Tensor, "[3, H, W] uint8: what the student sees of it, on the teacher's device"]
    sem_seg: Annotated[Tensor, "[H, W] int64: class that is learnt from, or `ignore_label`"]
    sem_seg_weights: Annotated[Tensor, "[H, W] float32 >= 0: the image's quality where a pixel is learnt from, else 0"]
    instances: Annotated[PseudoInstances, "the teacher's instances; with the panoptic task alone"]
    pasted: Annotated[PseudoInstances, "those that are sure enough to be pasted on a source image; with instance mix"]
    segment_map: Annotated[SegmentMap, "the teacher's segments"]


class MixedSample(InstanceLabels, total=False):
    """What the student of self-training sees: a labelled target image, perhaps with half of a source image pasted on
    it."""

    image: Annotated[Tensor, "[3, H, W] float32 in 0..255: after strong augmentation"]
    sem_seg: Annotated[Tensor, "[H, W] int64: contiguous id, or `ignore_label`"]
    sem_seg_weights: Annotated[Tensor, "[H, W] float32 >= 0: 1 on the source's pixels"]
    segments: Annotated[SegmentTargets, "in place of all other labels, for a mask model"]


#: What a model takes.
Sample = SourceSample | TargetSample | MixedSample


class ModelOutput(TypedDict, total=False):
    """What a model gives for an image in evaluation mode, at the record's `height` x `width`; Detectron2's format."""

    sem_seg: Annotated[Tensor, "[C, H, W] float: logits"]
    labels: Annotated[Tensor, "their arg max, where the model has taken it anyway: [H, W] int64"]
    panoptic_seg: Annotated[
        tuple[Tensor, None],
        "([H, W] int64: contiguous id * `label_divisor` + instance number, stuff 0, -1 = void; None)",
    ]
    instance_scores: Annotated[
        tuple[Tensor, Tensor], "with `TEST.INSTANCE_AP`: values [K] of the things in the map, confidence [K] in 0..1"
    ]


class DomainBatch(NamedTuple):
    """One rank's samples of a micro-batch; a domain that is not loaded is empty.

    Attributes:
        first_place: that of the first sample among those of the update, over all ranks and micro-batches.
        labelled: target images with the labels of DATASETS.TARGET_LABELLED.
    """

    source: list[SourceSample]
    target: list[TargetSample]
    first_place: int = 0
    labelled: Sequence[SourceSample] = ()
