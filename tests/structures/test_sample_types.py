"""What mappers emit is what the types say: keys, shapes, dtypes and ranges."""

import re
from typing import NotRequired, get_args, get_origin, get_type_hints

import torch

from gbw_panoptic.data.loader import build_train_loader
from gbw_panoptic.structures.samples import InstanceLabels, SourceSample, TargetSample

#: Keys that only bought labels or another architecture bring.
EXTRA = {"segments", "sem_seg", "sem_seg_weights"}
SEGMENTS = {"segments", "segment_ids", "segment_classes"}


def check(sample: dict, kind: type, *, without: set[str] = frozenset()) -> None:
    hints = get_type_hints(kind, include_extras=True)
    assert kind.__required_keys__ <= sample.keys() <= hints.keys() - without
    height, width = sample["image"].shape[-2:]
    sizes = {
        "H": height,
        "W": width,
        "K": len(sample.get("instance_classes", ())),
        "N": len(sample.get("segment_classes", ())),
        **{str(n): n for n in range(5)},
    }
    for key, value in sample.items():
        hint = get_args(hints[key])[0] if get_origin(hints[key]) is NotRequired else hints[key]
        (_, meaning, *_) = get_args(hint)
        if not isinstance(value, torch.Tensor):
            continue
        shape, dtype = re.match(r"\[([^\]]*)\] (\w+)", meaning).groups()
        assert value.shape == tuple(sizes[name] for name in shape.split(", ")), key
        assert value.dtype == getattr(torch, dtype), key
        if ">= 0" in meaning:
            assert value.min() >= 0, key
        if "in 0..1" in meaning:
            assert 0 <= value.min() and value.max() <= 1, key


def test_samples_are_what_their_types_say(make_cfg):
    batch = next(iter(build_train_loader(make_cfg("quick/self_training.yaml"))))
    for sample in batch.source:
        check(sample, SourceSample, without=SEGMENTS)
        assert sample.keys() >= {"center", "offset_weights", "instance_ids"}
    for sample in batch.target:
        check(sample, TargetSample, without=EXTRA)


def test_samples_of_a_mask_model_hold_segments_in_place_of_dense_maps(make_cfg):
    for sample in next(iter(build_train_loader(make_cfg("quick/mask2former_source_only.yaml")))).source:
        check(sample, SourceSample, without={"segments", "sem_seg_weights", *InstanceLabels.__optional_keys__})
        assert sample.keys() >= {"segment_ids", "segment_classes"}
