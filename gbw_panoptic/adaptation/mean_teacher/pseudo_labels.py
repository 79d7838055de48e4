"""From a teacher's predictions to labels: which pixels are learnt from, and how much each counts.

Shape legend: B images, C classes, H x W pixels, N = B * H * W.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...data.likeliest import likeliest_classes
from ...structures.instances import PseudoInstances
from ...structures.model import MetaArchitecture
from ...structures.predictions import DensePrediction
from ...structures.samples import LabelledTarget, TargetSample
from .pseudo_instances import instance_scores, instances_from_panoptic

#: Which pixels keep their label: all of them, weighted by quality (DACS, DAFormer); those of at least a fixed
#: confidence (DACS); those of at least their class's own percentile of confidence (FDA).
SELECTIONS = ("quality", "threshold", "class_percentile")
#: Over what the quality weight is averaged: each image (ours; independent of ranks) or the batch (DACS, DAFormer).
QUALITIES = ("image", "batch")
#: How much a teacher's instance counts: as its pixels do, or times its score (ours).
INSTANCE_QUALITIES = ("pixel", "score")


@dataclass(frozen=True)
class PseudoLabels:
    """A teacher's labels of a batch.

    Attributes:
        labels: [B, H, W] int64, the likeliest class of every pixel.
        confidence: [B, H, W] float in 0..1, its probability.
        kept: [B, H, W] bool, the pixels that are learnt from.
        quality: [B] float in 0..1, see :func:`image_quality`.
        weights: [B] float, factor of each image's losses.
    """

    labels: Tensor
    confidence: Tensor
    kept: Tensor
    quality: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Selection:
    """Which pseudo labels are learnt from.

    Attributes:
        rule: one of :data:`SELECTIONS`.
        threshold: tau in (0, 1] of ``quality`` and ``threshold``.
        quality: one of :data:`QUALITIES`.
        percentile: in 0..100, of ``class_percentile``: the share of a class's pixels that is left out.
        max_threshold: in (0, 1], of ``class_percentile``: pixels of this confidence are kept in any case.
    """

    rule: str
    threshold: float
    quality: str
    percentile: float
    max_threshold: float

    def __call__(self, logits: Tensor, valid: Tensor) -> PseudoLabels:
        """
        Args:
            logits: [B, C, H, W] of the teacher.
            valid: [B, H, W] bool; other pixels are not kept. They do count for the quality, as published, but not for
                the percentiles.
        """
        confidence, labels = logits.float().softmax(dim=1).max(dim=1)
        quality = image_quality(confidence, threshold=self.threshold, scope=self.quality)
        weights = quality if self.rule == "quality" else torch.ones_like(quality)
        kept = valid
        if self.rule == "threshold":
            kept = valid & (confidence >= self.threshold)
        elif self.rule == "class_percentile":
            thresholds = class_thresholds(
                confidence,
                torch.where(valid, labels, -1),
                num_classes=logits.shape[1],
                percentile=self.percentile,
                maximum=self.max_threshold,
            )
            kept = valid & (confidence >= thresholds[labels])
        elif self.rule != "quality":
            raise ValueError(f"Expected the rule to be one of {SELECTIONS}, but got {self.rule!r}.")
        return PseudoLabels(labels, confidence, kept, quality, weights)


def image_quality(confidence: Tensor, *, threshold: float, scope: str) -> Tensor:
    """One quality weight per image (DACS, arXiv 2007.08702, section 3; DAFormer, eq. 3).

    Args:
        confidence: [B, H, W] float in 0..1.
        threshold: tau in (0, 1].
        scope: ``image``: q_b = share of image b's pixels whose confidence is >= tau; ``batch``: the same share over the
            whole batch of this rank, as published.

    Returns:
        [B] float in 0..1.
    """
    quality = (confidence >= threshold).float().flatten(1).mean(dim=1)
    if scope == "batch":
        return quality.mean().expand_as(quality)
    if scope != "image":
        raise ValueError(f"Expected quality to be one of {QUALITIES}, but got {scope!r}.")
    return quality


def class_thresholds(
    confidence: Tensor, labels: Tensor, *, num_classes: int, percentile: float, maximum: float
) -> Tensor:
    """tau_c = min(percentile of the confidences of the pixels labelled c, maximum): class-balanced selection.

    FDA (arXiv 2004.05498; the idea is CBST's, arXiv 1810.07911) takes it once over all target images; here it is taken
    over the batch (ours).

    The percentile is an element ("lower"), so that a class that occurs keeps its surest pixel at least. One sort of N
    integers with the class in the high bits and the confidence's bits, which order positive floats, in the low ones: no
    host synchronisation, and less memory than the logits take.

    Args:
        confidence: [B, H, W] float32 >= 0.
        labels: [B, H, W] int64; pixels outside 0..num_classes - 1 take no part.
        percentile: in 0..100.

    Returns:
        [C] float32; ``maximum`` for classes that do not occur.
    """
    inside = (labels >= 0) & (labels < num_classes)
    bins = torch.where(inside, labels, num_classes).flatten()
    counts = torch.zeros(num_classes + 1, dtype=torch.int64, device=labels.device)
    counts.scatter_add_(0, bins, torch.ones_like(bins))
    first = counts.cumsum(0) - counts
    bits = confidence.float().contiguous().view(torch.int32).flatten().long()
    ordered = (bins << 32 | bits).sort().values
    rank = (percentile / 100 * (counts - 1).clamp(min=0).double()).floor().long()
    chosen = ordered[(first + rank).clamp(max=len(ordered) - 1)] & 0xFFFFFFFF
    thresholds = chosen.to(torch.int32).view(torch.float32).clamp(max=maximum)
    return torch.where(counts > 0, thresholds, maximum)[:num_classes]


@dataclass(frozen=True)
class PseudoLabeller:
    """Labels target samples with a teacher.

    Attributes:
        instance_losses: take the teacher's instances, too; else target pixels have weight 0 in the instance losses
            (EDAPS).
        instance_quality: one of :data:`INSTANCE_QUALITIES`.
        ignore_label: label of pixels that are not learnt from.
        tau: of the teacher's decision: its ``decision_bias`` is added to its logits; 0 leaves them.
    """

    selection: Selection
    instance_losses: bool
    instance_quality: str
    ignore_label: int
    tau: float = 0.0

    @torch.no_grad()
    def __call__(
        self, teacher: MetaArchitecture, samples: list[TargetSample], *, with_instances: bool
    ) -> tuple[list[LabelledTarget], dict[str, Tensor]]:
        """
        Args:
            samples: without strong augmentation. Labels that they have, since they
                were bought, stand in place of the teacher's and count fully; where they contradict it, its instances do
                not.
            with_instances: whether the model has instance heads, which need targets.

        Returns:
            One dictionary per sample with ``image`` (as it came), ``sem_seg``, ``sem_seg_weights`` and perhaps
            ``instances`` (:class:`PseudoInstances`), on the teacher's device; and scalars for the log.
        """
        dense = teacher.predict(samples, instances=self.instance_losses)
        if self.tau:
            dense = replace(dense, sem_seg=dense.sem_seg + teacher.decision_bias(self.tau))
        device = dense.sem_seg.device
        valid = torch.stack([sample["valid_mask"].to(device, non_blocking=True) for sample in samples])
        pseudo = self.selection(dense.sem_seg, valid)
        labels = torch.where(pseudo.kept, pseudo.labels, self.ignore_label)
        weights = pseudo.weights[:, None, None] * pseudo.kept
        instance_weights = weights
        if "sem_seg" in samples[0]:
            bought = torch.stack([sample["sem_seg"].to(device, non_blocking=True) for sample in samples])
            known = bought != self.ignore_label
            labels, weights = torch.where(known, bought, labels), torch.where(known, 1, weights)
            instance_weights = torch.where(known & (bought != pseudo.labels), 0, instance_weights)
        images = [sample["image"].to(device, non_blocking=True) for sample in samples]
        labelled = [
            {"image": image, "sem_seg": sem_seg, "sem_seg_weights": weight}
            for image, sem_seg, weight in zip(images, labels, weights)
        ]
        health = {
            "pseudo_labels/quality": pseudo.quality.mean(),
            "pseudo_labels/confidence": pseudo.confidence.mean(),
            "pseudo_labels/kept_pixels": (weights > 0).float().mean(),
        }
        if with_instances:
            for index, sample in enumerate(labelled):
                sample["instances"] = self._instances(teacher, dense, index, instance_weights[index])
        if with_instances and self.instance_losses:
            kept = [sample["instances"].num_kept() for sample in labelled]
            health["pseudo_labels/kept_instances"] = torch.stack(kept).mean()
        return labelled, health

    def _instances(
        self, teacher: MetaArchitecture, dense: DensePrediction, index: int, pixel_weights: Tensor
    ) -> PseudoInstances:
        if not self.instance_losses:
            return PseudoInstances.none(pixel_weights)
        sem_seg, center, offset = dense.sem_seg[index], dense.center[index], dense.offset[index]
        post_processing = teacher.post_processing
        ids, classes = instances_from_panoptic(
            post_processing(likeliest_classes(sem_seg), center, offset),
            label_divisor=post_processing.label_divisor,
            thing_ids=post_processing.thing_ids,
            max_instances=min(
                post_processing.top_k, len(post_processing.thing_ids) * (post_processing.label_divisor - 1)
            ),
        )
        if self.instance_quality == "score":
            weights = instance_scores(ids, classes, sem_seg, center)
        else:
            weights = torch.ones(len(classes), device=ids.device)
        return PseudoInstances(ids, classes, weights, pixel_weights)
