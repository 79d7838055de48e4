"""Static class weights against their formulas in plain Python, and where their counts come from."""

import shutil
from decimal import Decimal, getcontext
from math import log, sqrt
from statistics import mean, median

import pytest
import torch
from detectron2.data import MetadataCatalog

from gbw_panoptic.data.statistics import ClassStatistics
from gbw_panoptic.weighting import STATIC_WEIGHTS, StaticWeighting, static_weights
from gbw_panoptic.weighting.build import build_class_weighting

#: Pixels of each class in each of three images, at the scale of a real source; class 3 never occurs.
IMAGES = [[900_000_000, 70_000_000, 0, 0, 12_345], [0, 3_000_000, 0, 0, 0], [800_000_000, 0, 40_000, 0, 0]]
TOTALS = [sum(column) for column in zip(*IMAGES)]
TOTAL = sum(TOTALS)
OCCURRING = [c for c, n in enumerate(TOTALS) if n]


def effective_number_by_definition(n, share):
    getcontext().prec = 60
    beta = 1 - 1 / (Decimal(share) * TOTAL)
    return float((1 - beta) / (1 - beta**n))


def class_frequency(c):
    return TOTALS[c] / sum(sum(image) for image in IMAGES if image[c])


DEFINITIONS = {
    "inverse_frequency": lambda c: TOTAL / TOTALS[c],
    "sqrt_inverse_frequency": lambda c: sqrt(TOTAL / TOTALS[c]),
    "median_frequency": lambda c: median(class_frequency(k) for k in OCCURRING) / class_frequency(c),
    "effective_number": lambda c: effective_number_by_definition(TOTALS[c], "0.01"),
    "log_inverse": lambda c: 1 / log(1.02 + TOTALS[c] / TOTAL),
}


def statistics():
    images = {str(i): {c: n for c, n in enumerate(image) if n} for i, image in enumerate(IMAGES)}
    return ClassStatistics(tuple("abcde"), images)


def weights_of(name, **options):
    source = statistics()
    return static_weights(name, torch.as_tensor(source.pixels), torch.as_tensor(source.image_pixels()), **options)


def test_every_static_weighting_has_a_definition_here():
    assert DEFINITIONS.keys() == STATIC_WEIGHTS.keys()


@pytest.mark.parametrize("name", STATIC_WEIGHTS)
def test_weights_equal_the_definition(name):
    raw = {c: DEFINITIONS[name](c) for c in OCCURRING}
    expected = [raw[c] / mean(raw.values()) if c in raw else 1.0 for c in range(len(TOTALS))]
    torch.testing.assert_close(weights_of(name), torch.tensor(expected), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", STATIC_WEIGHTS)
def test_mean_is_one_and_rarer_classes_weigh_more(name):
    weights = weights_of(name)
    assert weights[OCCURRING].mean().item() == pytest.approx(1) and weights[3] == 1
    if name != "median_frequency":  # which looks at the images that contain the class
        assert weights[4] > weights[2] > weights[1] > weights[0]


@pytest.mark.parametrize("name", STATIC_WEIGHTS)
def test_a_source_without_labels_gives_ones(name):
    zeros = torch.zeros(3, dtype=torch.int64)
    assert static_weights(name, zeros, zeros).tolist() == [1, 1, 1]


def test_effective_number_lies_between_uniform_and_inverse_frequency():
    pixels = torch.tensor([8, 2, 0])
    torch.testing.assert_close(static_weights("inverse_frequency", pixels, pixels), torch.tensor([0.4, 1.6, 1.0]))
    assert weights_of("effective_number", share=1e-12).tolist() == [1] * 5  # N below 1 pixel
    published = weights_of("effective_number", share=1e4 / TOTAL)  # b = 0.9999 on pixel counts: next to nothing
    assert published[OCCURRING].max() / published[OCCURRING].min() < 1.5
    balanced = weights_of("effective_number", share=1.0)
    inverse = weights_of("inverse_frequency")
    assert balanced[4] / balanced[2] == pytest.approx((inverse[4] / inverse[2]).item(), rel=1e-4)  # rare: inverse
    assert balanced[1] / balanced[0] < inverse[1] / inverse[0]


def test_static_weights_of_wrong_length_name_both_numbers():
    with pytest.raises(ValueError, match="Expected 4 class weights, but got 3"):
        StaticWeighting(weights=torch.ones(3), num_classes=4)


def built(cfg, head, **changes):
    for key, value in changes.items():
        cfg.WEIGHTING[key] = value
    return build_class_weighting(cfg, head).weights


@pytest.mark.parametrize("name", STATIC_WEIGHTS)
def test_weights_of_a_configuration_come_from_the_source_alone(make_cfg, name):
    cfg = make_cfg("quick/self_training.yaml")
    source = ClassStatistics.load(MetadataCatalog.get("synthia_panoptic_train").class_statistics)
    expected = static_weights(name, torch.as_tensor(source.pixels), torch.as_tensor(source.image_pixels()))
    assert torch.equal(built(cfg, "sem_seg", SEMANTIC=name), expected)
    assert expected.std() > 0


def test_target_labels_are_not_looked_at(own_streets, make_cfg):
    before = built(make_cfg("quick/self_training.yaml"), "sem_seg", SEMANTIC="median_frequency")
    shutil.rmtree(own_streets / "cityscapes" / "gtFine")
    (own_streets / "cityscapes" / "class_statistics_train.json").unlink(missing_ok=True)
    after = built(make_cfg("quick/self_training.yaml"), "sem_seg", SEMANTIC="median_frequency")
    assert torch.equal(before, after)


def test_instance_heads_are_balanced_over_things(make_cfg):
    cfg = make_cfg("quick/source_only.yaml")
    taxonomy = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy
    source = ClassStatistics.load(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).class_statistics)
    present = [c for c in taxonomy.thing_ids if source.pixels[c]]
    weights = built(cfg, "center", CENTER="log_inverse")
    total = sum(source.pixels[c] for c in present)
    raw = torch.tensor([1 / log(1.02 + source.pixels[c] / total) for c in present])
    torch.testing.assert_close(weights[present], raw / raw.mean())
    assert (weights[list(taxonomy.stuff_ids)] == 1).all()


def test_options_and_several_sources(make_cfg):
    cfg = make_cfg("quick/source_only.yaml", "MODEL.TASK", "semantic", "WEIGHTING.LOG_INVERSE_K", 1.5,
                   "DATASETS.TRAIN", "('synthia_panoptic_train', 'gta5_sem_train')")  # fmt: skip
    loaded = [ClassStatistics.load(MetadataCatalog.get(name).class_statistics) for name in cfg.DATASETS.TRAIN]
    pixels = torch.as_tensor(loaded[0].pixels + loaded[1].pixels)
    expected = static_weights("log_inverse", pixels, pixels, k=1.5)
    assert torch.equal(built(cfg, "sem_seg", SEMANTIC="log_inverse"), expected)


def test_a_list_of_weights_is_taken_as_it_is(make_cfg):
    weights = [float(c) for c in range(19)]
    cfg = make_cfg("quick/source_only.yaml", "WEIGHTING.CLASS_WEIGHTS", weights)
    assert built(cfg, "offset", OFFSET="manual").tolist() == weights
