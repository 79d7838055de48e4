"""Nearest centres by cells against every location compared with every centre, as Detectron2 does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbw_panoptic.modeling.nearest_centers import nearest_centers


def by_all_distances(centers: torch.Tensor, locations: torch.Tensor) -> torch.Tensor:
    return torch.norm(centers[:, None] - locations[None], dim=-1).argmin(dim=0)


def case(seed: int, size: tuple[int, int], number: int, noise: float, dtype=torch.float32):
    """Distinct centres in reading order; locations around pixels of the image, many of them exact ties if noise is
    0."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    places = torch.randperm(height * width, generator=generator)[:number].sort().values
    centers = torch.stack([places // width, places % width], dim=1)
    pixels = torch.cartesian_prod(torch.arange(height), torch.arange(width)).to(dtype)
    return centers, pixels + noise * torch.randn(pixels.shape, generator=generator, dtype=dtype)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31), height=st.integers(1, 60), width=st.integers(1, 90), number=st.integers(1, 300),
    noise=st.sampled_from([0.0, 0.5, 5.0, 60.0, 1000.0]), double=st.booleans(),
)  # fmt: skip
def test_equal_to_all_distances(seed, height, width, number, noise, double):
    dtype = torch.float64 if double else torch.float32
    centers, locations = case(seed, (height, width), min(number, height * width), noise, dtype)
    assert torch.equal(nearest_centers(centers, locations, (height, width)), by_all_distances(centers, locations))


@pytest.mark.parametrize("part", [(32, 48), (16, 16)], ids=["everywhere", "in a corner"])
def test_cells_with_more_candidates_than_are_kept(part):
    """A centre in every second pixel of a part of the image."""
    centers = torch.cartesian_prod(*(torch.arange(0, length, 2) for length in part))
    _, locations = case(0, (32, 48), 1, 3.0)
    assert torch.equal(nearest_centers(centers, locations, (32, 48)), by_all_distances(centers, locations))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30])
def test_locations_of_any_value(value):
    centers, locations = case(1, (30, 40), 25, 2.0)
    locations[::3, 0] = value
    locations[::5, 1] = value
    assert torch.equal(nearest_centers(centers, locations, (30, 40)), by_all_distances(centers, locations))


def test_near_ties_are_decided_by_the_norm_s_own_rounding():
    """Locations on the bisector of two distant centres, moved by single steps of float32."""
    centers = torch.tensor([[0, 0], [0, 1001], [700, 13]])
    x = torch.full((4001,), 500.5) + (torch.arange(4001) - 2000) * 2.0**-15
    locations = torch.stack([torch.linspace(0, 300, 4001), x], dim=1)
    assert torch.equal(nearest_centers(centers, locations, (701, 1002)), by_all_distances(centers, locations))
