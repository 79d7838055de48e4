"""Self-training of segments with a model that obeys the contract but has no network to speak of."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from gbw_panoptic.adaptation import MeanTeacher, SegmentSelfTraining
from gbw_panoptic.adaptation.mean_teacher.augmentation import BlockMasking, StrongAugmentation
from gbw_panoptic.adaptation.mean_teacher.segment_labels import MaskScaling, SegmentLabeller
from gbw_panoptic.adaptation.mean_teacher.training import LossWeights
from gbw_panoptic.structures.samples import DomainBatch

H, W, IGNORE = 20, 26, 255
THINGS = (2, 3)


class Model(nn.Module):
    """Brightness decides on the segment; what the student is fed is kept in ``fed``."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))
        self.fed = {}

    def forward(self, samples, branch="source"):
        self.fed[branch] = samples
        mean = torch.stack([sample["image"].float().mean() for sample in samples]).mean()
        return {name: self.factor * mean for name in ("loss_class", "loss_mask", "loss_dice")}

    def predict(self, samples):
        return [sample["image"].float().mean(dim=0) for sample in samples]

    def post_processing(self, prediction, image):
        ids = (prediction[image] / 64).long()  # 0..3
        confidence = 0.9 + prediction[image] / 2560
        return SimpleNamespace(
            ids=ids,
            classes=torch.tensor([0, 2, 3]),
            confidence=confidence,
            region_confidence=torch.where(ids > 0, confidence, 0),
        )


def make(**changes):
    scaling = MaskScaling(THINGS, 4, things=0.96, stuff=0.94, min_area=3)
    options = {
        "teacher": MeanTeacher(Model(), decay=0.9),
        "labeller": SegmentLabeller(scaling),
        "scaling": scaling,
        "augmentation": StrongAugmentation(jitter_strength=0.2, jitter_probability=0.8, blur_probability=0.5),
        "class_mix": True,
        "masking": None,
        "feature_distance": None,
        "loss_weights": LossWeights(mixed=1.0, masked=0.5),
        "ignore_label": IGNORE,
        "seed": 5,
    }
    return SegmentSelfTraining(**{**options, **changes})


def blobs(generator, size):
    """Smooth brightness, so that the segments have an area."""
    coarse = torch.rand((1, 3, 4, 5), generator=generator) * 255
    return nn.functional.interpolate(coarse, size, mode="bilinear")[0].to(torch.uint8)


def batch(sizes=((H, W), (H, W)), void=False):
    generator = torch.Generator().manual_seed(1)
    source, target = [], []
    for size in sizes:
        sem_seg = torch.randint(0, 3, (size[0] // 4 + 1, size[1] // 4 + 1), generator=generator)
        sem_seg = sem_seg.repeat_interleave(4, 0).repeat_interleave(4, 1)[: size[0], : size[1]]
        sem_seg[0] = IGNORE
        if void:
            sem_seg[:] = IGNORE
        right = (sem_seg == 2) & (torch.arange(size[1]) > size[1] // 2)
        order, ids = torch.where(sem_seg == IGNORE, -1, sem_seg + right).unique(return_inverse=True)
        source.append({
            "image": blobs(generator, size), "sem_seg": sem_seg, "segment_ids": ids,
            "segment_classes": order[1:].clamp(max=2),
        })  # fmt: skip
        valid = torch.ones(size, dtype=torch.bool)
        valid[-3:] = False
        target.append({"image": blobs(generator, size), "valid_mask": valid})
    return DomainBatch(source, target)


def run(strategy, data, iteration=0):
    model = Model()
    strategy.before_step(model, iteration)
    return model, [losses for losses in strategy.terms(model, data, iteration)]


def test_branches_losses_and_health():
    strategy = make(masking=BlockMasking(0.5, 4, fill=(0.0, 0.0, 0.0)))
    model, terms = run(strategy, batch())
    assert [next(iter(losses)).split("/")[0] for losses in terms] == ["source", "mixed", "masked"]
    assert list(model.fed) == ["source", "mixed", "masked"]
    assert set(strategy.health) == {
        f"pseudo_labels/{x}" for x in ("quality", "confidence", "kept_pixels", "kept_segments", "loss_ratio")
    }
    assert 0 < strategy.health["pseudo_labels/quality"] < 1
    masked = strategy.loss_weights.masked * torch.stack([x["image"].mean() for x in model.fed["masked"]]).mean()
    torch.testing.assert_close(terms[2]["masked/loss_mask"], masked)


def test_the_mixed_sample_is_the_source_where_pasted_and_the_augmented_target_elsewhere():
    strategy, data = make(), batch()
    model, _ = run(strategy, data)
    for index, sample in enumerate(model.fed["mixed"]):
        source = data.source[index]
        segments = sample["segments"]
        pasted = (sample["image"] == source["image"].float()).all(dim=0)
        assert pasted.any() and not pasted.all()
        assert not pasted[source["sem_seg"] == IGNORE].any()
        assert (segments.confidence[pasted] == 1).all() and segments.valid[pasted].all()
        assert not segments.valid[-3:][~pasted[-3:]].any() and segments.valid[:-3].all()
        assert not (segments.masks.any(dim=0) & ~segments.valid).any()
        generator = np.random.default_rng((5, 0, index))
        augmented = strategy.augmentation(data.target[index]["image"].float(), generator)
        assert torch.equal(sample["image"][:, ~pasted], augmented[:, ~pasted])


def test_a_step_is_a_pure_function_of_seed_iteration_and_place():
    data = batch()
    first, again, later = (run(make(), data, iteration)[0].fed["mixed"] for iteration in (3, 3, 4))
    for one, two in zip(first, again):
        assert torch.equal(one["image"], two["image"]) and torch.equal(one["segments"].masks, two["segments"].masks)
    assert any(not torch.equal(one["image"], other["image"]) for one, other in zip(first, later))
    other_seed = run(make(seed=6), data, 3)[0].fed["mixed"]
    assert any(not torch.equal(one["image"], other["image"]) for one, other in zip(first, other_seed))


@pytest.mark.parametrize("iteration", range(3))
def test_odd_sizes_that_differ_within_a_batch(iteration):
    sizes = ((13, 31), (40, 17), (8, 8))
    strategy, data = make(), batch(sizes)
    labelled, _ = strategy.labeller(strategy.teacher.model, data.target, with_instances=True)
    samples = strategy.mixed(data.source, labelled, iteration)
    for sample, size in zip(samples, sizes, strict=True):
        segments = sample["segments"]
        assert sample["image"].shape[1:] == segments.masks.shape[1:] == segments.confidence.shape == size
        assert len(segments.masks) == len(segments.classes) == len(segments.weights)
        assert (segments.masks.sum(dim=0) <= 1).all() and (segments.masks.flatten(1).sum(dim=1) > 3).all()


def test_a_source_that_is_void_pastes_nothing_and_class_mix_off_neither():
    for strategy, data in ((make(), batch(void=True)), (make(class_mix=False), batch())):
        model, _ = run(strategy, data)
        labelled, _ = strategy.labeller(strategy.teacher.model, data.target, with_instances=True)
        expected = strategy.scaling([sample["segment_map"] for sample in labelled])
        for sample, segments in zip(model.fed["mixed"], expected):
            assert torch.equal(sample["segments"].masks, segments.masks)
            assert torch.equal(sample["segments"].weights, segments.weights)


def test_a_teacher_without_segments_leaves_what_is_pasted():
    strategy, data = make(), batch()
    for sample in data.target:
        sample["image"].zero_()
    model, _ = run(strategy, data)
    assert strategy.health["pseudo_labels/kept_segments"] == strategy.health["pseudo_labels/quality"] == 0
    for sample in model.fed["mixed"]:
        assert len(sample["segments"].weights) > 0 and (sample["segments"].weights == 1).all()


def test_the_masked_view_has_the_teachers_segments_alone():
    strategy, data = make(masking=BlockMasking(1.0, 4, fill=(7.0, 7.0, 7.0))), batch()
    model, _ = run(strategy, data)
    labelled, _ = strategy.labeller(strategy.teacher.model, data.target, with_instances=True)
    expected = strategy.scaling([sample["segment_map"] for sample in labelled])
    for sample, segments in zip(model.fed["masked"], expected):
        assert (sample["image"] == 7).all()
        assert torch.equal(sample["segments"].masks, segments.masks)
        assert torch.equal(sample["segments"].valid, segments.valid)


def test_during_the_burn_in_the_labels_are_those_of_the_teachers_own_weights():
    """Doubled brightness is another teacher: its labels hold until the burn-in ends, then the student's do."""
    data, kept = batch(), []
    strategy = make(teacher=MeanTeacher(Model(), decay=0.9, burn_in_iters=2))
    strategy.teacher.model.factor.data.fill_(3.0)
    for iteration in range(4):
        run(strategy, data, iteration)
        kept.append(strategy.teacher.model.factor.item())
    assert kept == pytest.approx([3.0, 3.0, 1.0, 1.0])
