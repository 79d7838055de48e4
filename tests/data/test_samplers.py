"""Samplers by property: pure in (seed, position), the right frequencies, ranks that share the work."""

import numpy as np
import pytest

from gbw_panoptic.data.samplers import (
    Domain,
    Draw,
    EpochSampler,
    RareClassSampler,
    Stream,
    class_probabilities,
    random_generator,
    rank_positions,
)
from gbw_panoptic.errors import UserError

COUNTS = [{0: 900, 1: 100}, {0: 1000}, {0: 950, 2: 50}, {0: 400, 1: 300, 2: 300}]


def rare(**options) -> RareClassSampler:
    return RareClassSampler(**{"image_counts": COUNTS, "temperature": 0.5, "min_pixels": 99, "seed": 3, **options})


@pytest.mark.parametrize("sampler", [EpochSampler(size=7, seed=3, domain=Domain.TARGET), rare()])
def test_a_draw_depends_on_its_position_alone(sampler) -> None:
    forwards = [sampler.draw(p) for p in range(50)]
    assert [sampler.draw(p) for p in reversed(range(50))] == forwards[::-1]
    np.random.seed(0)
    assert [sampler.draw(p) for p in range(50)] == forwards


def test_global_random_state_is_left_alone() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].tolist()
    rare().draw(11), EpochSampler(size=7, seed=3, domain=Domain.TARGET).draw(11)
    assert np.random.get_state()[1].tolist() == before


def test_every_epoch_holds_every_image_once_in_another_order() -> None:
    sampler = EpochSampler(size=23, seed=0, domain=Domain.SOURCE)
    epochs = [[sampler.draw(e * 23 + i).index for i in range(23)] for e in range(4)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert sampler.draw(5) == Draw(5, epochs[0][5], None)


def test_seeds_domains_and_streams_differ() -> None:
    keys = [(seed, d, s, n) for seed in (0, 1) for d in Domain for s in Stream for n in (0, 1, 2)]
    values = [random_generator(*key).integers(2**62) for key in keys]
    assert len(set(values)) == len(keys)
    assert [random_generator(*key).integers(2**62) for key in keys] == values


def test_class_probabilities_by_hand() -> None:
    """f = (0.75, 0.25), T = 0.5: odds e^0.5 : e^1.5."""
    expected = np.exp([0.5, 1.5]) / np.exp([0.5, 1.5]).sum()
    np.testing.assert_allclose(class_probabilities(np.array([300, 100]), 0.5), expected, rtol=1e-12)
    assert class_probabilities(np.array([10**9, 1]), 1e-4).tolist() == [0, 1]  # no overflow


def test_rare_classes_and_their_images_come_as_often_as_the_formula_says() -> None:
    sampler, draws = rare(), 20000
    found = [sampler.draw(p) for p in range(draws)]
    totals = np.array([3250, 400, 350])
    expected = np.exp((1 - totals / 4000) / 0.5)
    share = np.bincount([d.class_id for d in found], minlength=3) / draws
    np.testing.assert_allclose(share, expected / expected.sum(), atol=4 * 0.5 / draws**0.5)  # 4 standard errors
    by_class = {c: np.bincount([d.index for d in found if d.class_id == c], minlength=4) for c in range(3)}
    assert by_class[1][[1, 2]].sum() == 0 and by_class[2].nonzero()[0].tolist() == [3]  # 50 pixels are too few
    np.testing.assert_allclose(by_class[0] / by_class[0].sum(), 0.25, atol=0.03)
    np.testing.assert_allclose(by_class[1] / by_class[1].sum(), [0.5, 0, 0, 0.5], atol=0.03)


def test_absent_classes_are_never_drawn() -> None:
    sampler = rare(image_counts=[{4: 10, 7: 0}, {9: 5}], min_pixels=0)
    assert sampler.class_ids == [4, 9] and sampler.probabilities.sum() == pytest.approx(1)


def test_min_pixels_is_exclusive() -> None:
    for min_pixels, expected in ((99, {0, 3}), (100, {3})):
        draws = [rare(min_pixels=min_pixels).draw(p) for p in range(200)]
        assert {d.index for d in draws if d.class_id == 1} == expected


def test_images_with_most_pixels_stand_in_where_none_has_enough() -> None:
    drawn = [rare(min_pixels=10**6).draw(p) for p in range(200)]
    assert {d.index for d in drawn if d.class_id == 0} == {1}
    assert {d.index for d in drawn if d.class_id == 2} == {3}


def test_nothing_labelled_and_a_temperature_of_zero_are_refused() -> None:
    with pytest.raises(UserError, match="labelled pixels"):
        rare(image_counts=[{}, {1: 0}])
    with pytest.raises(UserError, match="positive .*TEMPERATURE, found 0"):
        rare(temperature=0)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_the_positions_of_one(ranks: int) -> None:
    batch_size, steps = 2, 4
    found = [
        position
        for step in range(steps)
        for rank in range(ranks)
        for position in rank_positions(step * ranks * batch_size, rank=rank, batch_size=batch_size)
    ]
    assert found == list(range(steps * ranks * batch_size))
