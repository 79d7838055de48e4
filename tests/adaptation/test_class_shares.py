"""Distribution alignment of pixels: the correction by hand, its average over updates, micro-batches and its bounds."""

import math

import pytest
import torch

from gbw_panoptic.adaptation.mean_teacher.class_shares import ClassShares

SOURCE = torch.tensor([60, 40, 0])


def logits(*shares):
    """[1, C, 1, 2] whose probabilities are ``shares`` in both pixels."""
    return torch.tensor(shares).clamp(min=1e-30).log()[None, :, None, None].expand(1, -1, 1, 2)


def seen(shares, *batches, valid=((True, True),)):
    shares.begin()
    for batch in batches:
        shares.see(batch, torch.tensor([valid]).view(1, 1, 2))
    return shares.bias().flatten()


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_by_hand(strength):
    shares = ClassShares(SOURCE, strength=strength, decay=0.9)
    bias = seen(shares, logits(0.2, 0.8, 0.0))
    expected = [strength * math.log(0.6 / 0.2), strength * math.log(0.4 / 0.8), 0]
    assert bias.tolist() == pytest.approx(expected, abs=1e-6)
    corrected = (logits(0.2, 0.8, 0.0) + bias[:, None, None]).softmax(dim=1)[0, :, 0, 0]
    if strength == 1:  # the same everywhere: the shares are the source's
        assert corrected.tolist() == pytest.approx([0.6 * 1.0, 0.4 * 1.0, 0], abs=1e-6)


def test_average_over_updates_counts_pixels_and_all_micro_batches():
    shares = ClassShares(SOURCE, strength=1.0, decay=0.75)
    seen(shares, logits(0.5, 0.5, 0.0))
    shares.commit()
    bias = seen(shares, logits(0.3, 0.7, 0.0), logits(0.1, 0.9, 0.0))
    pixels = 0.75 * 0.25 * 2 + 0.25 * 4
    share = (0.75 * 0.25 * 2 * 0.5 + 0.25 * (2 * 0.3 + 2 * 0.1)) / pixels
    assert bias.tolist()[:2] == pytest.approx([math.log(0.6 / share), math.log(0.4 / (1 - share))], abs=1e-6)
    again = shares.bias()
    shares.commit()
    assert torch.equal(shares.bias(), again)  # nothing seen: as the last update left it


def test_what_is_hidden_does_not_count_and_bounds_hold():
    shares = ClassShares(torch.tensor([1, 10**6]), strength=1.0, decay=0.5)
    image = torch.tensor([[[[9.0, -9.0]], [[-9.0, 9.0]]]])
    bias = seen(shares, image, valid=(True, False))
    assert bias.tolist() == pytest.approx([-math.log(10), math.log(10)])
    assert seen(ClassShares(SOURCE, strength=1.0, decay=0.5), logits(1.0, 0.0, 0.0), valid=(False, False)).tolist() == [0, 0, 0]


def test_state_is_all_that_a_checkpoint_needs():
    one, other = (ClassShares(SOURCE, strength=0.5, decay=0.9) for _ in range(2))
    seen(one, logits(0.2, 0.8, 0.0))
    one.commit()
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.bias(), other.bias()) and set(one.state_dict()) == {"source", "sums"}
