"""Targets against Detectron2's generator, an independent slow reference, and by hand at the edges."""

import numpy as np
import pytest
import torch
from detectron2.projects.panoptic_deeplab.target_generator import PanopticDeepLabTargetGenerator

from gbw_panoptic.data.targets import panoptic_deeplab_targets
from gbw_panoptic.structures.instances import instance_targets
from gbw_panoptic.taxonomy import CITYSCAPES, IGNORE_LABEL

THINGS = CITYSCAPES.thing_ids
STUFF = CITYSCAPES.stuff_ids


def random_scene(rng: np.random.Generator) -> tuple[np.ndarray, list[dict]]:
    """Overlapping rectangles, odd sizes, sparse ids; unlisted, absent, crowd and (rarely) duplicated segments."""
    height, width = rng.integers(1, 60, 2)
    panoptic = np.zeros((height, width), dtype=np.int64)
    segments = []
    for segment_id in rng.choice(2**24, rng.integers(0, 14), replace=False).tolist():
        y, x = rng.integers(0, height), rng.integers(0, width)
        panoptic[y : y + rng.integers(1, 30), x : x + rng.integers(1, 30)] = segment_id
        if rng.random() < 0.9:
            category = int(rng.choice(THINGS if rng.random() < 0.7 else STUFF))
            segments.append({"id": segment_id, "category_id": category, "iscrowd": int(rng.random() < 0.2)})
    if segments and rng.random() < 0.2:
        segments.append({**segments[0], "category_id": int(rng.integers(CITYSCAPES.num_classes)), "iscrowd": 0})
    return panoptic, segments


def assert_equal_to_detectron2(panoptic: np.ndarray, segments: list[dict], sigma: int = 3, **options) -> dict:
    expected = PanopticDeepLabTargetGenerator(IGNORE_LABEL, THINGS, sigma=sigma, **options)(panoptic, segments)
    found = panoptic_deeplab_targets(
        panoptic, segments, thing_ids=THINGS, ignore_label=IGNORE_LABEL, sigma=sigma, **options
    )
    assert set(expected) <= set(found)
    assert [tuple(p) for p in found["center_points"]] == [tuple(map(float, p)) for p in expected.pop("center_points")]
    for key, value in expected.items():
        assert found[key].dtype == value.dtype and found[key].shape == value.shape, key
        assert torch.equal(found[key], value), key
    return found


@pytest.mark.parametrize("seed", range(240))
def test_random_scenes_equal_detectron2(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert_equal_to_detectron2(
        *random_scene(rng),
        sigma=int(rng.integers(1, 9)),
        ignore_stuff_in_offset=bool(rng.integers(2)),
        small_instance_area=int(rng.choice([0, 40, 4096])),
        small_instance_weight=int(rng.integers(1, 4)),
        ignore_crowd_in_semantic=bool(rng.integers(2)),
    )


def thing(segment_id: int, iscrowd: int = 0) -> dict:
    return {"id": segment_id, "category_id": THINGS[0], "iscrowd": iscrowd}


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (7, 13)])
def test_no_segment(size: tuple[int, int]) -> None:
    found = assert_equal_to_detectron2(np.zeros(size, np.int64), [], ignore_stuff_in_offset=True)
    assert (found["sem_seg"] == IGNORE_LABEL).all() and (found["center_classes"] == IGNORE_LABEL).all()
    assert found["instance_classes"].shape == (0,) and not found["instance_ids"].any()


def test_all_void_although_segments_are_listed() -> None:
    found = assert_equal_to_detectron2(np.zeros((5, 6), np.int64), [thing(7), thing(2**24 - 1)])
    assert found["center"].max() == 0 and found["center_points"] == []


def test_whole_image_is_one_instance_of_one_pixel() -> None:
    found = assert_equal_to_detectron2(np.full((1, 1), 5), [thing(5)])
    assert found["center"].item() == 1 and found["offset"].tolist() == [[[0.0]], [[0.0]]]


@pytest.mark.parametrize("corner", [(0, 0), (0, 19), (29, 0), (29, 19)])
def test_instance_in_a_corner(corner: tuple[int, int]) -> None:
    panoptic = np.zeros((30, 20), np.int64)
    panoptic[corner] = 1
    found = assert_equal_to_detectron2(panoptic, [thing(1)])
    assert found["center"][corner] == 1 and found["center_points"] == [[float(corner[0]), float(corner[1])]]


def test_id_zero_and_negative_void_are_ordinary_ids() -> None:
    panoptic = np.array([[-1, -1, 0], [0, 3, 3]])
    found = assert_equal_to_detectron2(panoptic, [thing(0), thing(3)])
    assert found["instance_ids"].tolist() == [[0, 0, 1], [1, 2, 2]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32])
def test_integer_types(dtype: type) -> None:
    panoptic = np.zeros((8, 9), dtype)
    panoptic[2:5, 3:7] = 200
    assert_equal_to_detectron2(panoptic, [thing(200)])


def test_crowd_has_a_centre_without_weight() -> None:
    panoptic = np.zeros((9, 9), np.int64)
    panoptic[3:6, 3:6] = 1
    found = assert_equal_to_detectron2(panoptic, [thing(1, iscrowd=1)])
    assert found["center"].max() == 1 and found["center_weights"].max() == 0 and found["offset_weights"].max() == 0


def test_accepts_a_tensor() -> None:
    panoptic, segments = random_scene(np.random.default_rng(5))
    options = dict(thing_ids=set(THINGS), ignore_label=IGNORE_LABEL, sigma=2)
    expected = panoptic_deeplab_targets(panoptic, segments, **options)
    found = panoptic_deeplab_targets(torch.from_numpy(panoptic), segments, **options)
    assert found["center_points"] == expected.pop("center_points")
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_classes_and_ids_of_our_own_keys() -> None:
    panoptic = np.zeros((4, 40), np.int64)
    panoptic[:, :10], panoptic[:, 30:] = 900, 20
    car, person = CITYSCAPES.ids("car", "person")
    segments = [
        {"id": 20, "category_id": car, "iscrowd": 0},
        {"id": 33, "category_id": car, "iscrowd": 0},  # cropped away: gets no number
        {"id": 900, "category_id": person, "iscrowd": 0},
    ]
    found = assert_equal_to_detectron2(panoptic, segments, sigma=1)
    assert found["instance_classes"].tolist() == [car, person]
    assert found["instance_ids"][0, [0, 9, 10, 29, 30]].tolist() == [2, 2, 0, 0, 1]
    has_center = found["center"] > 0
    assert ((found["center_classes"] == IGNORE_LABEL) == ~has_center).all()
    assert set(found["center_classes"][:, :20][has_center[:, :20]].tolist()) == {person}
    assert set(found["center_classes"][:, 20:][has_center[:, 20:]].tolist()) == {car}


@pytest.mark.parametrize("seed", range(20))
def test_instance_targets_equal_one_instance_at_a_time(seed: int) -> None:
    """Including ids that do not occur, and the tie rule of overlapping Gaussians."""
    generator = torch.Generator().manual_seed(seed)
    height, width, num_instances, sigma = 17, 23, 6, 2
    ids = torch.randint(0, num_instances, (height, width), generator=generator)  # the last id never occurs
    found = instance_targets(ids, num_instances, sigma=sigma)
    heat = torch.zeros(num_instances + 1, height, width, dtype=torch.float64)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for k in ids.unique()[ids.unique() > 0].tolist():
        pixels = (ids == k).nonzero().double()
        centroid = pixels.mean(0)
        torch.testing.assert_close(found["centroids"][k - 1], centroid, rtol=0, atol=1e-12)
        assert found["areas"][k - 1] == len(pixels)
        dy, dx = rows - centroid[0].round(), columns - centroid[1].round()
        patch = torch.maximum(dy.abs(), dx.abs()) <= 3 * sigma + 1
        heat[k] = torch.where(patch, torch.exp(-(dy**2 + dx**2) / (2 * sigma**2)), 0)
        inside = ids == k
        expected = torch.stack([centroid[0] - rows, centroid[1] - columns])[:, inside]
        torch.testing.assert_close(found["offset"][:, inside].double(), expected, rtol=1e-6, atol=1e-5)
    assert torch.equal(found["center"], heat.max(0).values.float())
    assert torch.equal(found["center_instances"], heat.argmax(0))
    assert found["areas"][num_instances - 1] == 0 and found["centroids"][num_instances - 1].tolist() == [0, 0]
    assert not found["offset"][:, ids == 0].any()
