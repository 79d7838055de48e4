"""Class mix of images, labels and instances."""

import numpy as np
import pytest
import torch

from gbw_panoptic.adaptation.mean_teacher.mixing import class_mix_mask, mix_instances, mix_semantic, paste_instances
from gbw_panoptic.data.targets import panoptic_deeplab_targets
from gbw_panoptic.structures.instances import PseudoInstances, instance_targets

H, W = 24, 32
IGNORE = 255


def sample(seed):
    """A source sample with two instances of class 11, one of class 13, and stuff 0 and 1."""
    rng = np.random.default_rng(seed)
    panoptic = np.zeros((H, W), dtype=np.int64) + 1
    panoptic[: H // 2] = 2
    boxes = {11: (2, 3), 12: (12, 20), 13: (4, 18)}
    for number, (y, x) in boxes.items():
        panoptic[y : y + 5 + int(rng.integers(3)), x : x + 6] = number
    panoptic[-2:] = 0
    segments = [
        dict(id=1, category_id=0, iscrowd=0), dict(id=2, category_id=1, iscrowd=0),
        dict(id=11, category_id=11, iscrowd=0), dict(id=12, category_id=11, iscrowd=0),
        dict(id=13, category_id=13, iscrowd=0),
    ]  # fmt: skip
    targets = panoptic_deeplab_targets(panoptic, segments, thing_ids=(11, 13), ignore_label=IGNORE, sigma=2)
    return {"image": torch.full((3, H, W), float(seed)), **targets}


def test_mask_holds_half_of_the_classes_and_never_void():
    labels = sample(0)["sem_seg"]
    for seed in range(20):
        mask = class_mix_mask(labels, np.random.default_rng(seed), ignore_label=IGNORE)
        chosen = set(labels[mask].tolist())
        assert len(chosen) == 2 and IGNORE not in chosen  # 4 classes
        assert all(mask[labels == c].all() for c in chosen)


def test_one_class_is_pasted_whole_and_void_alone_is_nothing():
    rng = np.random.default_rng(0)
    labels = torch.full((4, 4), 7)
    assert class_mix_mask(labels, rng, ignore_label=IGNORE).all()
    assert not class_mix_mask(torch.full((4, 4), IGNORE), rng, ignore_label=IGNORE).any()


def test_semantic_mix_takes_each_pixel_from_its_side():
    source, target = sample(0), sample(1)
    mask = torch.rand(H, W) > 0.5
    mixed = mix_semantic(mask, source, target)
    for key in ("image", "sem_seg", "sem_seg_weights"):
        assert torch.equal(mixed[key][..., mask], source[key][..., mask])
        assert torch.equal(mixed[key][..., ~mask], target[key][..., ~mask])


def mix(mask, source, ids, classes, weight, factors=None):
    factors = torch.ones(len(classes)) if factors is None else factors
    return mix_instances(mask, source, PseudoInstances(ids, classes, factors, weight), sigma=2, ignore_label=IGNORE)


def test_whole_source_gives_the_source_targets():
    source = sample(0)
    mask = torch.ones(H, W, dtype=torch.bool)
    mixed = mix(
        mask, source, torch.zeros(H, W, dtype=torch.int64), torch.empty(0, dtype=torch.int64), torch.zeros(H, W)
    )
    for key in ("center", "offset", "center_classes", "center_weights", "offset_weights", "instance_ids"):
        assert torch.equal(mixed[key], source[key]), key


def test_nothing_pasted_gives_the_target_instances():
    target = sample(1)
    weight = torch.full((H, W), 0.5)
    mixed = mix(
        torch.zeros(H, W, dtype=torch.bool), sample(0), target["instance_ids"], target["instance_classes"], weight
    )
    for key in ("center", "offset", "center_classes"):
        assert torch.equal(mixed[key], target[key]), key
    assert mixed["center_weights"].unique().tolist() == [0.5]
    assert torch.equal(mixed["offset_weights"][0] > 0, target["instance_ids"] > 0)


def test_covered_target_instance_gets_the_centre_of_what_is_left():
    source, target = sample(0), sample(1)
    mask = torch.zeros(H, W, dtype=torch.bool)
    mask[:, :5] = True  # cuts the instance that starts at column 3
    mixed = mix(mask, source, target["instance_ids"], target["instance_classes"], torch.ones(H, W))
    number = len(source["instance_classes"]) + 1
    rows, columns = torch.nonzero(mixed["instance_ids"] == number, as_tuple=True)
    assert columns.min() == 5
    expected = rows.double().mean() - rows, columns.double().mean() - columns
    torch.testing.assert_close(mixed["offset"][0, rows, columns], expected[0].float())
    torch.testing.assert_close(mixed["offset"][1, rows, columns], expected[1].float())


def test_an_instances_weight_reaches_its_own_pixels_and_gaussian_only():
    source, target = sample(0), sample(1)
    mask = torch.zeros(H, W, dtype=torch.bool)
    mask[:, :5] = True
    factors = torch.tensor([0.5, 0.25, 0.125])
    pixels = torch.rand(H, W)
    mixed = mix(mask, source, target["instance_ids"], target["instance_classes"], pixels, factors)
    assert torch.equal(mixed["center_weights"][0][mask], source["center_weights"][0][mask])
    assert torch.equal(mixed["offset_weights"][0][mask], source["offset_weights"][0][mask])
    for number, factor in enumerate(factors, start=1):
        inside = ~mask & (target["instance_ids"] == number)
        assert inside.any()
        torch.testing.assert_close(mixed["offset_weights"][0][inside], pixels[inside] * factor)
    flat = ~mask & (mixed["center"] == 0)
    assert torch.equal(mixed["center_weights"][0][flat], pixels[flat])
    peak = ~mask & (mixed["center"] == 1) & (mixed["instance_ids"] == 3 + 2)  # a target instance that nothing covers
    torch.testing.assert_close(mixed["center_weights"][0][peak], pixels[peak] * factors[1])
    assert (mixed["offset_weights"][0][~mask & (mixed["instance_ids"] == 0)] == 0).all()


def test_no_instance_on_either_side():
    source = sample(0) | {
        "instance_ids": torch.zeros(H, W, dtype=torch.int64),
        "instance_classes": torch.empty(0, dtype=torch.int64),
    }
    mask = torch.ones(H, W, dtype=torch.bool)
    empty = torch.zeros(H, W, dtype=torch.int64)
    mixed = mix(mask, source, empty, torch.empty(0, dtype=torch.int64), torch.zeros(H, W))
    assert mixed["center"].abs().max() == 0 and mixed["offset"].abs().max() == 0
    assert (mixed["center_classes"] == IGNORE).all()


@pytest.mark.parametrize("seed", range(5))
def test_mixing_is_a_pure_function_of_its_generator(seed):
    labels = sample(0)["sem_seg"]
    masks = [class_mix_mask(labels, np.random.default_rng(seed), ignore_label=IGNORE) for _ in range(2)]
    assert torch.equal(*masks)


def test_sure_instances_are_pasted_on_the_source_for_the_instance_heads_alone():
    """The one of score 0.8 alone: what it covers of the source's instances is cut off, and the sample is void to
    classes."""
    source, target = sample(0), sample(1)
    found = PseudoInstances(target["instance_ids"], target["instance_classes"], torch.ones(3), torch.ones(H, W))
    believed = torch.ones(H, W, dtype=torch.bool)
    believed[:15] = False  # an ignored border
    pasted = found.sure(torch.tensor([0.2, 0.8, 0.7499]), 0.75, believed)
    mask = (target["instance_ids"] == 2) & believed
    assert torch.equal(pasted.ids > 0, mask) and mask.any()
    mixed = paste_instances(source, target["image"], pasted, sigma=2, ignore_label=IGNORE)
    for side, chosen in ((target, mask), (source, ~mask)):
        assert torch.equal(mixed["image"][:, chosen], side["image"][:, chosen])
    ids = torch.where(mask, 3 + 2, source["instance_ids"])
    expected = instance_targets(ids, 6, sigma=2)
    assert torch.equal(mixed["instance_ids"], ids) and torch.equal(mixed["center"], expected["center"])
    assert torch.equal(mixed["offset"], expected["offset"])
    for key in ("center_weights", "offset_weights"):
        assert (mixed[key][0][mask] == 1).all() and torch.equal(mixed[key][0][~mask], source[key][0][~mask])
    assert mixed["instance_classes"].tolist() == [
        *source["instance_classes"].tolist(),
        *target["instance_classes"].tolist(),
    ]
    assert (mixed["sem_seg"] == IGNORE).all() and not mixed["sem_seg_weights"].any()


def test_without_a_sure_instance_no_pixel_counts():
    source, target = sample(0), sample(1)
    found = PseudoInstances(target["instance_ids"], target["instance_classes"], torch.ones(3), torch.ones(H, W))
    mixed = paste_instances(
        source,
        target["image"],
        found.sure(torch.zeros(3), 0.75, torch.ones(H, W, dtype=torch.bool)),
        sigma=2,
        ignore_label=IGNORE,
    )
    assert torch.equal(mixed["image"], source["image"])
    assert not mixed["center_weights"].any() and not mixed["offset_weights"].any()
