"""Everything that is scored of a prediction, for several protocols at once.

Shapes: H x W pixels.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from ..structures.predictions import GroundTruth
from ..taxonomy import Protocol, Taxonomy
from .instances import InstanceAveragePrecision
from .levels import Level
from .matching import SegmentOverlaps, count_overlaps
from .panoptic_quality import PanopticQuality
from .scores import instance_scores, panoptic_scores, semantic_scores
from .semantic import SemanticConfusion


class ScoreAccumulator:
    """Panoptic, semantic and, if asked, instance metrics; additive over images, shards and ranks.

    Args:
        protocols: what to average over; those that are not defined for ``panoptic`` are reported for ``semantic`` only.
        instance_ap: whether to compute the average precision of instances.

    Attributes:
        confusion: of the classes of all pixels.
    """

    def __init__(self, taxonomy: Taxonomy, protocols: Sequence[Protocol], *, instance_ap: bool = False) -> None:
        self._taxonomy, self._protocols = taxonomy, tuple(protocols)
        self._levels = {groups: Level(taxonomy, groups) for groups in {p.groups for p in self._protocols}}
        self._qualities = {
            (p.void_ids, p.groups): PanopticQuality(self._levels[p.groups].categories)
            for p in self._panoptic_protocols()
        }
        self._instances = InstanceAveragePrecision(taxonomy) if instance_ap else None
        self._panoptic_images = 0
        self.confusion = SemanticConfusion(taxonomy.num_classes, taxonomy.num_labels)

    def add(
        self,
        truth: GroundTruth,
        labels: np.ndarray,
        panoptic: tuple[np.ndarray, Sequence[Mapping]] | None = None,
        scores: Mapping[int, float] | None = None,
    ) -> SegmentOverlaps | None:
        """Adds one image.

        Args:
            labels: integer H x W predicted contiguous ids.
            panoptic: predicted segment ids (H x W) and segments with contiguous ``category_id``; None where only
                classes are predicted.
            scores: confidence of each predicted thing segment by its id, for the average precision.

        Returns:
            the overlaps of the segments; None where the prediction or the truth has none.
        """
        self.confusion.update(labels, truth.labels)
        if panoptic is None or truth.ids is None:
            return None
        overlaps = count_overlaps(*panoptic, truth.ids, truth.segments)
        for (void_ids, groups), quality in self._qualities.items():
            quality.add(self._levels[groups].overlaps(overlaps.without(void_ids)))
        if self._instances is not None:
            self._instances.add(overlaps.without(self._taxonomy.union_labels), scores or {})
        self._panoptic_images += 1
        return overlaps

    def state(self) -> dict:
        """The sums, for :meth:`add_state` elsewhere."""
        return {
            "qualities": {void_ids: quality.state() for void_ids, quality in self._qualities.items()},
            "instances": [] if self._instances is None else self._instances.state(),
            "matrix": self.confusion.matrix.copy(), "panoptic_images": self._panoptic_images,
        }  # fmt: skip

    def add_state(self, state: Mapping) -> None:
        """Adds the sums of other images that were scored alike."""
        for void_ids, sums in state["qualities"].items():
            self._qualities[void_ids].add_state(sums)
        if self._instances is not None:
            self._instances.add_state(state["instances"])
        self.confusion.matrix += state["matrix"]
        self._panoptic_images += state["panoptic_images"]

    def scores(self, *, source_pixels: Sequence[float] | None = None, num_rare: int = 0) -> OrderedDict:
        """Task -> protocol -> scores, as :mod:`gbw_panoptic.evaluation.scores` describes them; ``panoptic`` and
        ``instance`` where there were segments."""
        scores = OrderedDict()
        if self._panoptic_images:
            scores["panoptic"] = {
                p.name: panoptic_scores(self._qualities[p.void_ids, p.groups], level.protocol(p), level.classes)
                for p, level in self._at_levels(self._panoptic_protocols())
            }
        if self._panoptic_images and self._instances is not None:
            scores["instance"] = {
                p.name: instance_scores(self._instances, p, self._taxonomy)
                for p in self._panoptic_protocols()
                if not p.groups
            }
        scores["semantic"] = {
            p.name: semantic_scores(
                level.confusion(self.confusion.without(p.void_ids)), level.protocol(p), level.classes,
                source_pixels=level.pixels(source_pixels), num_rare=num_rare,
            )
            for p, level in self._at_levels(self._protocols)
        }  # fmt: skip
        return scores

    def _at_levels(self, protocols: Sequence[Protocol]) -> list[tuple[Protocol, Level]]:
        return [(p, self._levels[p.groups]) for p in protocols]

    def _panoptic_protocols(self) -> list[Protocol]:
        return [p for p in self._protocols if "panoptic" in p.tasks]
