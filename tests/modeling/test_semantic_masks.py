"""The semantic output of a mask model against the formula."""

import pytest
import torch

from gbw_panoptic.modeling.masks.merging import semantic_logits
from gbw_panoptic.structures.predictions import SegmentPrediction


def semantic(prediction: SegmentPrediction) -> torch.Tensor:
    sizes = {"stride": prediction.stride, "image_size": prediction.image_size}
    return semantic_logits(prediction.class_logits, prediction.mask_logits, **sizes)


@pytest.mark.parametrize("queries", [1, 8, 11])
def test_semantic_output_is_the_log_of_normalized_sums_over_queries(queries):
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(2, queries, 5, generator=generator)
    masks = torch.randn(2, queries, 3, 4, generator=generator)
    prediction = SegmentPrediction(classes, masks, stride=4, image_size=(10, 15))
    full = torch.nn.functional.interpolate(masks, size=(12, 16), mode="bilinear")[..., :10, :15].sigmoid()
    scores = sum(classes[:, q].softmax(-1)[:, :4, None, None] * full[:, q, None] for q in range(queries))
    torch.testing.assert_close(semantic(prediction), (scores / scores.sum(1, keepdim=True)).log(), atol=1e-5, rtol=1e-5)


def test_semantic_output_is_the_same_under_autocast():
    prediction = SegmentPrediction(torch.randn(1, 9, 4), torch.randn(1, 9, 3, 4), stride=4, image_size=(12, 16))
    expected = semantic(prediction)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(semantic(prediction), expected)


def test_semantic_output_is_finite_where_no_query_claims_a_pixel():
    prediction = SegmentPrediction(torch.zeros(1, 2, 4), torch.full((1, 2, 2, 2), -1e4), stride=4, image_size=(8, 8))
    torch.testing.assert_close(semantic(prediction).exp(), torch.full((1, 3, 8, 8), 1 / 3))
