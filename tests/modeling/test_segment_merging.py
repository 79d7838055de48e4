"""Merging of masks against a naive re-implementation of the published rules, with their stuff merged once."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from gbw_panoptic.modeling.masks.merging import SegmentPostProcessing, merge_segments
from gbw_panoptic.modeling.masks.merging import QUERIES_AT_A_TIME, semantic_logits
from gbw_panoptic.structures.predictions import SegmentPrediction
from gbw_panoptic.structures.segments import Segments

THINGS = (2, 3)
OPTIONS = dict(stride=4, image_size=(13, 18), thing_ids=THINGS, object_threshold=0.5, overlap_threshold=0.7)


def naive(class_logits, mask_logits, size, *, stride, image_size, thing_ids, object_threshold, overlap_threshold):
    """One query after the other, one pixel map each. Returns ids, classes, query -> segment, confidence, region
    confidence."""
    up = F.interpolate(mask_logits[None], scale_factor=stride, mode="bilinear")[0][:, : image_size[0], : image_size[1]]
    masks = F.interpolate(up[None], size=size, mode="bilinear")[0].sigmoid()
    scores, labels = class_logits.softmax(-1).max(-1)
    kept = [q for q in range(len(labels)) if labels[q] < class_logits.shape[1] - 1 and scores[q] > object_threshold]
    p = {q: scores[q] * masks[q] for q in kept}
    best = torch.stack([torch.zeros(size), *p.values()]).amax(0)
    ids, region, taken = torch.zeros(size, dtype=torch.long), torch.zeros(size), torch.zeros(size, dtype=torch.bool)
    classes, stuff, of_query, confidence = [], {}, {}, torch.zeros(size)
    for q in kept:
        won = (p[q] == best) & ~taken
        taken |= won
        claimed = masks[q] >= 0.5
        if not (won & claimed).any() or won.sum() / claimed.sum() < overlap_threshold:
            continue
        label = int(labels[q])
        if label in stuff:
            number = stuff[label]
        else:
            classes.append(label)
            number = len(classes)
            if label not in thing_ids:
                stuff[label] = number
        of_query[q] = number
        ids[won & claimed] = number
        region = torch.where(won & claimed, p[q], region)
        confidence = torch.maximum(confidence, p[q])
    return ids, classes, of_query, confidence, region


def random_prediction(seed, queries=20, height=4, width=5, classes=5):
    generator = torch.Generator().manual_seed(seed)
    class_logits = 4 * torch.randn(queries, classes + 1, generator=generator)
    return class_logits, 6 * torch.randn(queries, height, width, generator=generator)


@pytest.mark.parametrize("size", [(13, 18), (26, 30)])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_naive_merging(seed, size):
    prediction = random_prediction(seed)
    options = OPTIONS | {"overlap_threshold": 0.3}  # random masks overlap a lot
    ids, classes, of_query, confidence, region = naive(*prediction, size, **options)
    segments = merge_segments(*prediction, size, **options)
    assert torch.equal(segments.ids, ids) and segments.classes.tolist() == classes and len(classes) > 1
    assert {q: n for q, n in enumerate(segments.query_segments.tolist()) if n} == of_query
    torch.testing.assert_close(segments.confidence, confidence)
    torch.testing.assert_close(segments.region_confidence, region)
    for number in range(1, len(classes) + 1):
        queries = [q for q, n in of_query.items() if n == number]
        assert segments.scores[number - 1] == prediction[0].softmax(-1).amax(-1)[queries].max()


def stripes(*labels, classes=4):
    """Full-height stripes, two cells wide, one for each query, of the given classes."""
    class_logits = 9 * F.one_hot(torch.tensor(labels), classes + 1).float()
    masks = torch.full((len(labels), 4, 2 * len(labels)), -9.0)
    for query in range(len(labels)):
        masks[query, :, 2 * query : 2 * query + 2] = 9
    return class_logits, masks, (16, 8 * len(labels))


def test_stuff_is_merged_once_and_numbers_are_never_used_twice():
    """Road, car, person, road, car: transformers' post-processing gives the second car the person's id."""
    class_logits, masks, size = stripes(0, 2, 3, 0, 2)
    segments = merge_segments(class_logits, masks, size, **OPTIONS | {"image_size": size})
    assert segments.classes.tolist() == [0, 2, 3, 2]
    assert segments.ids[8, 4::8].tolist() == [1, 2, 3, 1, 4]
    assert segments.panoptic(thing_ids=THINGS, label_divisor=1000)[8, 4::8].tolist() == [0, 2001, 3001, 0, 2002]
    assert segments.query_segments.tolist() == [1, 2, 3, 1, 4]


def test_instance_scores_are_those_of_the_map_in_ascending_order():
    class_logits, masks, size = stripes(3, 0, 2, 2)
    class_logits[3] /= 3
    segments = merge_segments(class_logits, masks, size, **OPTIONS | {"image_size": size})
    panoptic = segments.panoptic(thing_ids=THINGS, label_divisor=1000)
    values, scores = segments.instance_scores(thing_ids=THINGS, label_divisor=1000)
    assert values.tolist() == [2001, 2002, 3001]
    expected = [segments.region_confidence[panoptic == value].mean() for value in values]
    torch.testing.assert_close(scores, torch.stack(expected))
    assert scores[1] < scores[0]


def test_nothing_kept_is_void():
    class_logits, masks = random_prediction(0)
    class_logits[:, -1] = 50
    segments = merge_segments(class_logits, masks, (13, 18), **OPTIONS)
    assert not segments.ids.any() and len(segments.classes) == len(segments.scores) == 0
    assert not segments.confidence.any() and not segments.query_segments.any()
    assert (segments.panoptic(thing_ids=THINGS, label_divisor=1000) == -1).all()
    values, scores = segments.instance_scores(thing_ids=THINGS, label_divisor=1000)
    assert values.numel() == scores.numel() == 0


def test_post_processing_takes_one_image_of_a_batch():
    predictions = [random_prediction(seed) for seed in (0, 1)]
    classes, masks = map(torch.stack, zip(*predictions))
    prediction = SegmentPrediction(classes, masks, stride=4, image_size=(13, 18))
    process = SegmentPostProcessing(thing_ids=THINGS, label_divisor=1000, object_threshold=0.5, overlap_threshold=0.3)
    expected = merge_segments(*predictions[1], (13, 18), **OPTIONS | {"overlap_threshold": 0.3})
    assert torch.equal(process(prediction, 1).ids, expected.ids)
    assert process(prediction, 1, (26, 36)).ids.shape == (26, 36)


class LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor that an operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(x, torch.Tensor):
                self.elements = max(self.elements, x.numel())
        return result


def test_memory_does_not_grow_with_the_number_of_queries():
    class_logits, masks = random_prediction(0, queries=100)
    class_logits[:, -1] = -50  # all are kept
    size = (64, 80)
    options = OPTIONS | {"image_size": (16, 20), "object_threshold": 0.0}
    with LargestTensor() as largest:
        merge_segments(class_logits, masks, size, **options)
    assert size[0] * size[1] < largest.elements <= QUERIES_AT_A_TIME * size[0] * size[1]
    with LargestTensor() as largest:
        semantic_logits(class_logits[None], masks[None], stride=4, image_size=(16, 20), size=size)
    assert size[0] * size[1] < largest.elements <= QUERIES_AT_A_TIME * size[0] * size[1]


def test_of_more_things_than_numbers_the_weakest_are_a_group():
    car, count = 2, 12
    scores = torch.rand(count, generator=torch.Generator().manual_seed(0))
    classes = torch.full((count,), car)
    classes[[2, 7]] = torch.tensor([0, 3])  # stuff, and another thing
    ids = torch.arange(1, count + 1)[None]
    segments = Segments(ids, classes, scores, torch.zeros(0, dtype=torch.int64), scores[None], scores[None])
    panoptic = segments.panoptic(thing_ids=THINGS, label_divisor=8)[0]
    cars = [i for i in range(count) if classes[i] == car]
    strongest = sorted(cars, key=lambda i: -scores[i])[:7]
    assert [i for i in cars if panoptic[i] % 8] == sorted(strongest) and {int(panoptic[i]) // 8 for i in cars} == {car}
    assert panoptic[[2, 7]].tolist() == [0, 3 * 8 + 1]
    assert sorted(panoptic[strongest].tolist()) == list(range(car * 8 + 1, car * 8 + 8))
    values, confidence = segments.instance_scores(thing_ids=THINGS, label_divisor=8)
    assert values.tolist() == sorted(panoptic[panoptic % 8 > 0].tolist())
    torch.testing.assert_close(confidence, torch.stack([scores[(panoptic == v).nonzero()[0, 0]] for v in values]))
