"""The likeliest class is torch's arg max, whatever the logits are."""

import pytest
import torch

from gbw_panoptic.structures import predictions
from gbw_panoptic.structures.predictions import likeliest_classes


@pytest.mark.parametrize("classes", [1, 2, 19, 256, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_the_arg_max(classes, dtype, monkeypatch):
    monkeypatch.setattr(predictions, "_PIXELS", 16)  # several parts
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randint(-3, 3, (classes, 5, 11), generator=generator).to(dtype)  # many ties
    logits[:, 0, 1] = float("-inf")
    logits[-1, 0, 2], logits[0, 0, 3], logits[classes // 2, 3, 3:6] = float("inf"), float("nan"), float("nan")
    found = likeliest_classes(logits.requires_grad_())
    assert found.dtype == torch.int64 and torch.equal(found, logits.argmax(dim=0))


def test_no_pixels():
    assert likeliest_classes(torch.zeros(3, 0, 4)).shape == (0, 4)
