"""Post-processing against Detectron2's, step by step and as a whole, and by hand where Detectron2 cannot go."""

import pytest
import torch
from detectron2.projects.panoptic_deeplab.post_processing import find_instance_center, get_panoptic_segmentation
from detectron2.projects.panoptic_deeplab.post_processing import group_pixels as detectron2_group_pixels
from torch.utils._python_dispatch import TorchDispatchMode

from gbw_panoptic.modeling.post_processing import (
    find_centers,
    group_pixels,
    merge_semantic_and_instance,
    panoptic_segmentation,
)
from gbw_panoptic.structures.instances import instance_targets
from gbw_panoptic.taxonomy import CITYSCAPES

THINGS = CITYSCAPES.thing_ids
NUM_CLASSES = CITYSCAPES.num_classes
OPTIONS = dict(thing_ids=THINGS, label_divisor=1000, void_label=-1)


def blocks(generator: torch.Generator, height: int, width: int, side: int) -> torch.Tensor:
    """Labels that are constant on squares, of stuff and things alike."""
    rows, columns = -(-height // side), -(-width // side)
    labels = torch.randint(0, NUM_CLASSES, (rows, columns), generator=generator)
    return labels.repeat_interleave(side, 0).repeat_interleave(side, 1)[:height, :width].contiguous()


def assert_equal_to_detectron2(sem_seg, center, offset, **options) -> torch.Tensor:
    expected, _ = get_panoptic_segmentation(sem_seg[None], center[None].clone(), offset, **OPTIONS, **options)
    found = panoptic_segmentation(sem_seg[None], center[None], offset, **OPTIONS, **options)
    assert found.dtype == torch.int64 and torch.equal(found, expected[0])
    return found


@pytest.mark.parametrize("seed", range(60))
def test_random_maps_equal_detectron2(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    height, width = torch.randint(8, 70, (2,), generator=generator).tolist()
    sem_seg = blocks(generator, height, width, side=1 + seed % 12)
    center = torch.rand(height, width, generator=generator) * (0.3 if seed % 3 else 2.0) - 0.1
    offset = torch.randn(2, height, width, generator=generator) * 8
    assert_equal_to_detectron2(
        sem_seg, center, offset, stuff_area=seed % 40, threshold=0.1, nms_kernel=1 + 2 * (seed % 5), top_k=1 + seed % 50
    )


@pytest.mark.parametrize("seed", range(6))
def test_real_shaped_predictions_equal_detectron2(seed: int) -> None:
    """What a good network predicts: Gaussians at centroids, offsets to them with noise, labels with errors."""
    generator = torch.Generator().manual_seed(100 + seed)
    height, width, num_instances = 96, 192, 30
    ids = torch.zeros(height, width, dtype=torch.int64)
    sem_seg = blocks(generator, height, width, side=24)
    sem_seg[torch.isin(sem_seg, torch.tensor(THINGS))] = CITYSCAPES.ids("road")[0]
    for k in range(1, num_instances + 1):
        y, x = (int(torch.randint(0, n - 4, (1,), generator=generator)) for n in (height, width))
        h, w = torch.randint(4, 30, (2,), generator=generator).tolist()
        ids[y : y + h, x : x + w] = k
        sem_seg[y : y + h, x : x + w] = THINGS[k % len(THINGS)]
    wrong = torch.rand(height, width, generator=generator) < 0.05
    sem_seg[wrong] = torch.randint(0, NUM_CLASSES, (int(wrong.sum()),), generator=generator)
    targets = instance_targets(ids, num_instances, sigma=3)
    center = targets["center"] + 0.02 * torch.randn(height, width, generator=generator)
    offset = targets["offset"] + torch.randn(2, height, width, generator=generator)
    found = assert_equal_to_detectron2(sem_seg, center, offset, stuff_area=64, top_k=200)
    assert len(found.unique()) > 20


@pytest.mark.parametrize("seed", range(8))
def test_a_least_area_leaves_detectron2s_map_without_its_small_things(seed: int) -> None:
    """Numbers within a class may move up; stuff and larger things stay as Detectron2 has them."""
    generator = torch.Generator().manual_seed(seed)
    sem_seg = blocks(generator, 60, 90, side=4)
    center, offset = torch.rand(60, 90, generator=generator) * 0.3, torch.randn(2, 60, 90, generator=generator) * 4
    options = dict(stuff_area=9, nms_kernel=5, top_k=60)
    expected, _ = get_panoptic_segmentation(sem_seg[None], center[None].clone(), offset, **OPTIONS, **options)
    values, inverse, area = expected[0].unique(return_inverse=True, return_counts=True)
    small = torch.isin(values // 1000, torch.tensor(THINGS)) & (values >= 0) & (area < 40)
    assert small.any() and not small.all()
    found = panoptic_segmentation(sem_seg[None], center[None], offset, **OPTIONS, **options, instance_area=40)
    assert torch.equal(found == -1, (expected[0] == -1) | small[inverse])
    kept = found >= 0
    assert torch.equal(found[kept] // 1000, expected[0][kept] // 1000)
    pairs = torch.stack((found[kept], expected[0][kept])).unique(dim=1)
    assert len(pairs[0].unique()) == len(pairs[1].unique()) == pairs.shape[1]  # the same segments
    for thing in THINGS:  # numbers are 1, 2, ... of every class
        numbers = found[kept & (found // 1000 == thing)].unique() % 1000
        assert numbers.tolist() == list(range(1, len(numbers) + 1))


def test_zero_offsets_have_many_exact_ties() -> None:
    sem_seg = torch.full((24, 24), THINGS[2])
    center = torch.zeros(24, 24)
    center[::6, ::6] = 1.0
    assert_equal_to_detectron2(sem_seg, center, torch.zeros(2, 24, 24), stuff_area=1, nms_kernel=3, top_k=200)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_offsets_that_are_not_finite(value: float) -> None:
    offset = torch.randn(2, 12, 12, generator=torch.Generator().manual_seed(0))
    offset[0, ::2] = value
    center = torch.zeros(12, 12)
    center[2, 3] = center[8, 9] = 0.7
    found = group_pixels(find_centers(center), offset, mask=torch.ones(12, 12, dtype=torch.bool))
    assert torch.equal(found, detectron2_group_pixels(find_centers(center), offset)[0])


@pytest.mark.parametrize("top_k", [None, 1, 2, 5, 20, 200])
@pytest.mark.parametrize("distinct", [2, 5, 1000])
def test_centers_equal_detectron2(top_k: int | None, distinct: int) -> None:
    """Few distinct scores make plateaus, and ties at the top_k-th score, where fewer than top_k centres survive."""
    generator = torch.Generator().manual_seed(distinct)
    center = torch.randint(0, distinct, (40, 50), generator=generator) / distinct
    expected = find_instance_center(center[None].clone(), threshold=0.1, nms_kernel=5, top_k=top_k)
    assert torch.equal(find_centers(center, threshold=0.1, nms_kernel=5, top_k=top_k), expected)


def test_more_centers_wanted_than_pixels() -> None:
    """Detectron2's topk raises here."""
    center = torch.zeros(3, 4)
    center[1, 2] = 0.5
    assert find_centers(center, top_k=200).tolist() == [[1, 2]]


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1)])
def test_images_of_one_row(size: tuple[int, int]) -> None:
    """Detectron2 cannot squeeze them."""
    sem_seg, center = torch.full(size, THINGS[0]), torch.zeros(size)
    center[-1, -1] = 0.9
    found = panoptic_segmentation(sem_seg, center, torch.zeros(2, *size), stuff_area=0, **OPTIONS)
    assert (found == THINGS[0] * 1000 + 1).all()


def test_no_center_leaves_things_void() -> None:
    sem_seg = torch.tensor([[THINGS[0], 0], [0, 0]]).repeat(8, 16)
    found = assert_equal_to_detectron2(sem_seg, torch.zeros(16, 32), torch.zeros(2, 16, 32), stuff_area=1)
    assert ((found == -1) == (sem_seg == THINGS[0])).all()


def test_no_thing_pixel() -> None:
    center = torch.zeros(16, 32)
    center[4, 5] = 1
    found = assert_equal_to_detectron2(torch.full((16, 32), 3), center, torch.zeros(2, 16, 32), stuff_area=512)
    assert (found == 3000).all()


def test_everything_becomes_void() -> None:
    sem_seg = blocks(torch.Generator().manual_seed(0), 16, 32, side=2)
    found = assert_equal_to_detectron2(sem_seg, torch.zeros(16, 32), torch.zeros(2, 16, 32), stuff_area=1000)
    assert (found == -1).all()


def test_float64_and_float16_offsets() -> None:
    generator = torch.Generator().manual_seed(1)
    sem_seg, center = blocks(generator, 40, 60, side=10), torch.rand(40, 60, generator=generator)
    offset = torch.randn(2, 40, 60, generator=generator, dtype=torch.float64)
    assert_equal_to_detectron2(sem_seg, center, offset, stuff_area=1)
    half = panoptic_segmentation(sem_seg, center, offset.half(), stuff_area=1, **OPTIONS)
    single = panoptic_segmentation(sem_seg, center, offset.half().float(), stuff_area=1, **OPTIONS)
    assert torch.equal(half, single)


def test_votes_and_numbers_by_hand() -> None:
    car, person = CITYSCAPES.ids("car", "person")
    sem_seg = torch.tensor([[car, person, car, car], [car, 0, 0, person]])
    instance_ids = torch.tensor([[1, 1, 3, 3], [4, 0, 3, 4]])
    found = merge_semantic_and_instance(sem_seg, instance_ids, num_instances=4, stuff_area=1, **OPTIONS)
    # 1 and 4 are ties, for the lower id; 2 is empty; the stuff pixel inside instance 3 stays void
    assert person < car
    expected = [
        [person * 1000 + 1, person * 1000 + 1, car * 1000 + 1, car * 1000 + 1],
        [person * 1000 + 2, 0, -1, person * 1000 + 2],
    ]
    assert found.tolist() == expected


class _Operations(TorchDispatchMode):
    """Counts the operations that make the host wait for a GPU, and finds the largest tensor that one of them makes."""

    WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_to_copy", "item"}

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.largest = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        self.waits += name in self.WAITS and (name != "_to_copy" or "device" in (kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            self.largest = max(self.largest, value.numel() if isinstance(value, torch.Tensor) else 0)
        return result


def _operations(num_centers: int, detectron2: bool = False) -> _Operations:
    sem_seg = torch.full((128, 256), THINGS[2])
    center = torch.zeros(128, 256)
    rows, columns = torch.arange(num_centers) // 32 * 8, torch.arange(num_centers) % 32 * 8
    center[rows, columns] = 0.5
    offset = torch.randn(2, 128, 256, generator=torch.Generator().manual_seed(0)) * 3
    assert len(find_centers(center, top_k=None)) == num_centers
    function = get_panoptic_segmentation if detectron2 else panoptic_segmentation
    with _Operations() as operations:
        function(sem_seg[None], center[None], offset, stuff_area=1, top_k=None, **OPTIONS)
    return operations


def test_no_tensor_of_centers_times_pixels() -> None:
    """512 centres and 32768 thing pixels would be 16.8 million distances."""
    assert _operations(512).largest <= 1 << 18 < _operations(16, detectron2=True).largest


def test_the_host_waits_a_fixed_number_of_times() -> None:
    """However many instances there are."""
    few, many = _operations(3).waits, _operations(200).waits
    assert 0 < few == many < 20
    assert _operations(23, detectron2=True).waits >= _operations(3, detectron2=True).waits + 20


def test_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        find_centers(torch.zeros(4, 4), nms_kernel=4)


def test_a_class_never_changes_because_its_numbers_run_out():
    """1,200 cars of one pixel, a centre on each: from the 1000th on, they were trucks."""
    height, width, car = 30, 40, CITYSCAPES.names.index("car")
    heat = torch.rand(height, width, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.4
    sem_seg, offset = torch.full((height, width), car), torch.zeros(2, height, width)
    for top_k in (5000, None):
        panoptic = panoptic_segmentation(sem_seg, heat, offset, **OPTIONS, stuff_area=0, nms_kernel=1, top_k=top_k)
        assert (panoptic // 1000 == car).all()
        numbers, group = (panoptic % 1000).flatten(), panoptic == car * 1000
        assert group.sum() == 201 and numbers.unique().tolist() == list(range(1000))
        assert heat[~group].min() > heat[group].max()  # the strongest have numbers
    ids = torch.arange(1, 1201).view(height, width)
    panoptic = merge_semantic_and_instance(sem_seg, ids, num_instances=1200, **OPTIONS, stuff_area=0)
    assert panoptic.flatten().tolist() == [*range(car * 1000 + 1, car * 1000 + 1000), *[car * 1000] * 201]


def test_numbers_run_out_class_by_class():
    """900 cars and 900 persons have numbers each; of 1,200 cars, persons keep all of theirs, and the strongest cars."""
    height, width = 40, 60
    car, person = (CITYSCAPES.names.index(name) for name in ("car", "person"))
    heat = torch.rand(height, width, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.4
    offset = torch.zeros(2, height, width)
    for cars, persons in ((900, 900), (1200, 1200), (1500, 300)):
        sem_seg = torch.zeros(height * width, dtype=torch.int64)
        sem_seg[:cars], sem_seg[cars : cars + persons] = car, person
        sem_seg = sem_seg.view(height, width)
        found = panoptic_segmentation(sem_seg, heat, offset, **OPTIONS, stuff_area=0, nms_kernel=1, top_k=5000)
        assert torch.equal(found // 1000, sem_seg)
        for thing, count in ((car, cars), (person, persons)):
            numbers, most = found[sem_seg == thing] % 1000, min(count, 999)
            assert (numbers > 0).sum() == most == len(numbers.unique()) - (count > 999)
            assert (numbers[heat[sem_seg == thing].topk(most).indices] > 0).all()
