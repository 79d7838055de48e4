"""Merging as a graph gives the very maps of the merging that predictions and evaluations use, whatever the predictions
are."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbw_panoptic.export.merging import panoptic_of_centers, panoptic_of_masks, semantic_of_masks
from gbw_panoptic.modeling.masks.merging import SegmentPostProcessing
from gbw_panoptic.modeling.masks.merging import semantic_logits
from gbw_panoptic.modeling.post_processing import PostProcessing
from gbw_panoptic.structures.predictions import SegmentPrediction

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 50))


@st.composite
def dense_predictions(draw):
    height, width = draw(SIZES)
    num_classes = draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    levels = draw(st.sampled_from([2, 5, 1000]))  # few: many equal values
    labels = torch.randint(0, num_classes, (height, width), generator=generator)
    center = torch.randint(0, levels, (height, width), generator=generator) / levels - draw(
        st.sampled_from([0.0, 0.4, 2.0])
    )
    offset = draw(st.sampled_from([0.0, 1.0, 30.0])) * torch.randn(2, height, width, generator=generator)
    offset = offset.round() if draw(st.booleans()) else offset  # ties of distances
    process = PostProcessing(
        thing_ids=tuple(draw(st.sets(st.integers(0, num_classes - 1)))),
        label_divisor=1000,
        stuff_area=draw(st.sampled_from([0, 1, 30, 10**6])),
        threshold=draw(st.sampled_from([0.0, 0.1, 0.6])),
        nms_kernel=draw(st.sampled_from([1, 3, 7])),
        top_k=draw(st.sampled_from([1, 4, 200])),
        instance_area=draw(st.sampled_from([0, 3, 20])),
    )
    return labels, center, offset, process, num_classes


@settings(max_examples=60, deadline=None)
@given(dense_predictions())
def test_centres_give_the_same_map(prediction):
    labels, center, offset, process, num_classes = prediction
    expected = process(labels, center[None], offset)
    assert torch.equal(panoptic_of_centers(labels, center, offset, process, num_classes), expected)


@st.composite
def mask_predictions(draw):
    queries, num_classes = draw(st.integers(1, 20)), draw(st.integers(1, 5))
    height, width = draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    sharp = draw(st.sampled_from([0.0, 2.0, 8.0]))
    classes = sharp * torch.randn(queries, num_classes + 1, generator=generator)
    masks = draw(st.sampled_from([0.0, 1.0, 8.0, 300.0])) * torch.randn(
        queries, -(-height // 4), -(-width // 4), generator=generator
    )
    process = SegmentPostProcessing(
        thing_ids=tuple(draw(st.sets(st.integers(0, num_classes - 1)))),
        label_divisor=1000,
        object_threshold=draw(st.sampled_from([0.0, 0.5, 0.8])),
        overlap_threshold=draw(st.sampled_from([0.0, 0.5, 0.8])),
    )
    return classes, masks, (height, width), process


@settings(max_examples=60, deadline=None)
@given(mask_predictions())
def test_masks_give_the_same_maps(prediction):
    classes, masks, size, process = prediction
    whole = SegmentPrediction(classes[None], masks[None], stride=4, image_size=size)
    options = {"thing_ids": process.thing_ids, "label_divisor": process.label_divisor}
    assert torch.equal(panoptic_of_masks(classes, masks, size, 4, process), process(whole, 0).panoptic(**options))
    logits = semantic_logits(classes[None], masks[None], stride=4, image_size=size)[0]
    found, probability = semantic_of_masks(classes, masks, size, 4)
    assert torch.equal(found, logits.max(dim=0).indices)
    torch.testing.assert_close(probability, logits.softmax(dim=0).amax(dim=0))
