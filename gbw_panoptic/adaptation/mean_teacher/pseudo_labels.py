"""From a teacher's predictions to labels: which pixels are learnt from, and how much each counts.

Shape legend: B images, C classes, H x W pixels, N = B * H * W.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...structures.instances import PseudoInstances
from ...structures.model import MetaArchitecture
from ...structures.predictions import DensePrediction, likeliest_classes
from ...structures.samples import LabelledTarget, TargetSample
from ...structures.segments import counts_of
from .location_prior import LocationPrior
from .pseudo_instances import instance_scores, instances_from_panoptic
from .thresholds import STATISTIC, ClassThresholds, group_quantiles

#: Which pixels keep their label: all of them, weighted by quality (DACS, DAFormer); those of at least a fixed
#: confidence (DACS); those of at least their class's own percentile of confidence (FDA).
SELECTIONS = ("quality", "threshold", "class_percentile")
#: Over what the quality weight is averaged: each image (ours; independent of ranks), the batch (DACS, DAFormer), or the
#: pixels of each class in an image (ours, after MC-PanDA's weight of each mask).
QUALITIES = ("image", "batch", "class")
#: How much a teacher's instance counts: as its pixels do, or times its score (ours).
INSTANCE_QUALITIES = ("pixel", "score")


@dataclass(frozen=True)
class PseudoLabels:
    """A teacher's labels of a batch.

    Attributes:
        labels: [B, H, W] int64, the likeliest class of every pixel.
        confidence: [B, H, W] float in 0..1, its probability.
        kept: [B, H, W] bool, the pixels that are learnt from.
        quality: [B] float in 0..1, see :func:`image_quality`; of ``class`` the mean over the image's pixels.
        weights: float, [B, 1, 1] or [B, H, W], factor of each pixel's losses.
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
        adaptive: tau of each class in place of ``threshold``, if there are any (ours, after MC-PanDA++): a class's
            pixels in an image are what a mask is there.
    """

    rule: str
    threshold: float
    quality: str
    percentile: float
    max_threshold: float
    adaptive: ClassThresholds | None = None

    def __call__(self, logits: Tensor, valid: Tensor) -> PseudoLabels:
        """
        Args:
            logits: [B, C, H, W] of the teacher.
            valid: [B, H, W] bool; other pixels are not kept. They do count for the quality of images and batches, as
                published, but not for percentiles, thresholds and the quality of classes.
        """
        confidence, labels = logits.float().softmax(dim=1).max(dim=1)
        threshold = self.threshold
        if self.adaptive or self.quality == "class":
            regions = ImageRegions.of(torch.where(valid, labels, -1), logits.shape[1])
        if self.adaptive:
            self.adaptive.see(regions.largest_quantiles(confidence, STATISTIC))
            threshold = self.adaptive.current()[labels]
        if self.quality == "class":
            weights = regions.shares(confidence >= threshold)
            quality = weights.flatten(1).mean(dim=1)
        else:
            quality = image_quality(confidence, threshold=threshold, scope=self.quality)
            weights = quality[:, None, None]
        weights = weights if self.rule == "quality" else torch.ones_like(quality)[:, None, None]
        kept = valid
        if self.rule == "threshold":
            kept = valid & (confidence >= threshold)
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


@dataclass(frozen=True)
class ImageRegions:
    """The pixels of each class in each image of a batch.

    Attributes:
        ids: [B, H, W] int64, image * C + class; -1 where there is none.
        num_images, num_classes: B, C.
    """

    ids: Tensor
    num_images: int
    num_classes: int

    @classmethod
    def of(cls, labels: Tensor, num_classes: int) -> "ImageRegions":
        """``labels``: [B, H, W] int64, negative = of no region."""
        images = torch.arange(len(labels), device=labels.device).view(-1, 1, 1)
        return cls(torch.where(labels < 0, -1, images * num_classes + labels), len(labels), num_classes)

    def shares(self, chosen: Tensor) -> Tensor:
        """[B, H, W] float32: of each pixel's region the share of pixels that are ``chosen`` [B, H, W] bool; 0
        outside."""
        size, places = self.num_images * self.num_classes + 1, self.ids + 1
        counts = counts_of(torch.where(chosen, places, 0), size) / counts_of(places, size).clamp(min=1)
        return torch.where(self.ids < 0, 0, counts[places])

    def largest_quantiles(self, values: Tensor, share: float) -> Tensor:
        """[C] float32: over the images, the largest quantile of ``values`` [B, H, W] >= 0 in a region of each class; -1
        of classes without pixels."""
        size = self.num_images * self.num_classes
        return group_quantiles(values, self.ids, size, share).view(-1, self.num_classes).amax(dim=0)


def image_quality(confidence: Tensor, *, threshold: Tensor | float, scope: str) -> Tensor:
    """One quality weight per image (DACS, arXiv 2007.08702, section 3; DAFormer, eq. 3).

    Args:
        confidence: [B, H, W] float in 0..1.
        threshold: tau in 0..1, of all pixels or of each.
        scope: ``image``: q_b = share of image b's pixels whose confidence is >= tau; ``batch``: the same share over the
            whole batch of this rank, as published.

    Returns:
        [B] float in 0..1.
    """
    quality = (confidence >= threshold).float().flatten(1).mean(dim=1)
    if scope == "batch":
        return quality.mean().expand_as(quality)
    if scope != "image":
        raise ValueError(f"Expected quality to be one of {QUALITIES[:2]}, but got {scope!r}.")
    return quality


def class_thresholds(
    confidence: Tensor, labels: Tensor, *, num_classes: int, percentile: float, maximum: float
) -> Tensor:
    """tau_c = min(percentile of the confidences of the pixels labelled c, maximum): class-balanced selection.

    FDA (arXiv 2004.05498; the idea is CBST's, arXiv 1810.07911) takes it once over all target images; here it is taken
    over the batch (ours).

    The percentile is an element ("lower"), so that a class that occurs keeps its surest pixel at least.

    Args:
        confidence: [B, H, W] float32 >= 0.
        labels: [B, H, W] int64; pixels outside 0..num_classes - 1 take no part.
        percentile: in 0..100.

    Returns:
        [C] float32; ``maximum`` for classes that do not occur.
    """
    found = group_quantiles(confidence, labels, num_classes, percentile / 100, lower=True)
    return torch.where(found < 0, maximum, found.clamp(max=maximum))


def view_of_student(sample: TargetSample, device: torch.device) -> Tensor:
    """[3, H, W] uint8: the image as it came, or with the colours that the teacher does not see."""
    return sample.get("student_image", sample["image"]).to(device, non_blocking=True)


@dataclass(frozen=True)
class PseudoLabeller:
    """Labels target samples with a teacher.

    Attributes:
        instance_losses: take the teacher's instances, too; else target pixels have weight 0 in the instance losses
            (EDAPS).
        instance_quality: one of :data:`INSTANCE_QUALITIES`.
        ignore_label: label of pixels that are not learnt from.
        tau: of the teacher's decision: its ``decision_bias`` is added to its logits; 0 leaves them.
        location: of what its logits gain by their place in the image; None: they gain nothing.
        paste_score: score from which on an instance is given as ``pasted``, too; None: none is.
    """

    selection: Selection
    instance_losses: bool
    instance_quality: str
    ignore_label: int
    tau: float = 0.0
    paste_score: float | None = None
    location: LocationPrior | None = None

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
            One dictionary per sample with ``image`` (:func:`view_of_student`), ``sem_seg``, ``sem_seg_weights`` and
            perhaps ``instances`` (:class:`PseudoInstances`), on the teacher's device; and scalars for the log.
        """
        found = self.instance_losses or self.paste_score is not None
        dense = teacher.predict(samples, instances=found)
        if self.tau:
            dense = replace(dense, sem_seg=dense.sem_seg + teacher.decision_bias(self.tau))
        device = dense.sem_seg.device
        if self.location is not None:
            dense = replace(dense, sem_seg=dense.sem_seg + self.location(samples, dense.sem_seg.shape[-2:], device))
        valid = torch.stack([sample["valid_mask"].to(device, non_blocking=True) for sample in samples])
        pseudo = self.selection(dense.sem_seg, valid)
        labels = torch.where(pseudo.kept, pseudo.labels, self.ignore_label)
        weights = pseudo.weights * pseudo.kept
        instance_weights, believed = weights, valid
        if "sem_seg" in samples[0]:
            bought = torch.stack([sample["sem_seg"].to(device, non_blocking=True) for sample in samples])
            known = bought != self.ignore_label
            labels, weights = torch.where(known, bought, labels), torch.where(known, 1, weights)
            contradicted = known & (bought != pseudo.labels)
            instance_weights, believed = torch.where(contradicted, 0, instance_weights), valid & ~contradicted
        images = [view_of_student(sample, device) for sample in samples]
        labelled = [
            {"image": image, "sem_seg": sem_seg, "sem_seg_weights": weight}
            for image, sem_seg, weight in zip(images, labels, weights)
        ]
        health = {
            "pseudo_labels/quality": pseudo.quality.mean(),
            "pseudo_labels/confidence": pseudo.confidence.mean(),
            "pseudo_labels/kept_pixels": (weights > 0).float().mean(),
            **(self.selection.adaptive.health() if self.selection.adaptive else {}),
        }
        if with_instances:
            for index, sample in enumerate(labelled):
                sample.update(self._instances(teacher, dense, index, believed[index], instance_weights[index]))
        if with_instances and self.paste_score is not None:
            health["pseudo_labels/pasted_instances"] = torch.stack([x["pasted"].num_present() for x in labelled]).mean()
        if with_instances and self.instance_losses:
            kept = [sample["instances"].num_kept() for sample in labelled]
            health["pseudo_labels/kept_instances"] = torch.stack(kept).mean()
        return labelled, health

    def _instances(
        self, teacher: MetaArchitecture, dense: DensePrediction, index: int, believed: Tensor, pixel_weights: Tensor
    ) -> LabelledTarget:
        """``instances`` of an image and, with instance mix, ``pasted``, whatever the quality of its pixels."""
        none = {"instances": PseudoInstances.none(pixel_weights)}
        if not self.instance_losses and self.paste_score is None:
            return none
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
        scored = self.instance_quality == "score" or self.paste_score is not None
        scores = instance_scores(ids, classes, sem_seg, center) if scored else None
        weights = scores if self.instance_quality == "score" else torch.ones(len(classes), device=ids.device)
        instances = PseudoInstances(ids, classes, weights, pixel_weights)
        result = {"instances": instances} if self.instance_losses else none
        if self.paste_score is not None:
            result["pasted"] = instances.sure(scores, self.paste_score, believed)
        return result
