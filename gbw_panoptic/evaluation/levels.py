"""Levels: how finely classes are told apart when predictions are scored.

Each class belongs to one group of a level. A label that is a union of classes belongs to the group that holds all of
these; where they lie in several groups, nobody knows what its pixels are, and they are void.

Shapes: C classes, U unions, K groups, G and P segments of the ground truth and of the prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..taxonomy import COMMON, Protocol, Taxonomy
from .matching import SegmentOverlaps
from .semantic import SemanticConfusion


@dataclass(frozen=True)
class Level:
    """
    Attributes:
        taxonomy: of the labels.
        groups: (name, contiguous ids) of the groups that hold several classes; each other class is a group of its own.
    """

    taxonomy: Taxonomy
    groups: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether its groups are the classes, and labels say which: then all stays as it is."""
        return not self.groups and not self.taxonomy.unions

    @cached_property
    def table(self) -> np.ndarray:
        """int64 [C + U]: the group of each label; -1 for a union of classes of several groups. Groups come in the order
        of their first classes."""
        taxonomy = self.taxonomy
        first = np.arange(taxonomy.num_classes)
        for _, members in self.groups:
            first[list(members)] = min(members)
        of_classes = np.unique(first, return_inverse=True)[1]
        of_unions = [set(of_classes[list(union.class_ids)].tolist()) for union in taxonomy.unions]
        return np.array([*of_classes.tolist(), *(found.pop() if len(found) == 1 else -1 for found in of_unions)])

    @cached_property
    def classes(self) -> Taxonomy:
        """The groups as classes of their own."""
        if self.is_plain:
            return self.taxonomy
        taxonomy, names = self.taxonomy, {min(members): name for name, members in self.groups}
        firsts = np.unique(self.table[: taxonomy.num_classes], return_index=True)[1].tolist()
        group_names = tuple(names.get(c, taxonomy.names[c]) for c in firsts)
        rare = taxonomy.rare
        return replace(
            taxonomy,
            names=group_names,
            **{key: tuple(getattr(taxonomy, key)[c] for c in firsts) for key in ("dataset_ids", "is_thing", "colors")},
            protocol_list=(),
            unions=(),
            rare=tuple(name for name in rare if name in group_names) if isinstance(rare, tuple) else rare,
        )

    @property
    def categories(self) -> list[dict]:
        """Of the groups, as :class:`~.panoptic_quality.PanopticQuality` wants them."""
        return [{"id": group, "isthing": thing} for group, thing in enumerate(self.classes.is_thing)]

    @property
    def unknown(self) -> tuple[int, ...]:
        """Labels that are void at this level."""
        return tuple(np.flatnonzero(self.table < 0).tolist())

    def protocol(self, protocol: Protocol) -> Protocol:
        """The same average over the groups."""
        if self.is_plain:
            return protocol
        groups = sorted({int(self.table[c]) for c in protocol.class_ids})
        voids = sorted({int(self.table[c]) for c in protocol.void_ids} - set(groups))
        return replace(protocol, class_ids=tuple(groups), void_ids=tuple(voids), groups=())

    def pixels(self, of_classes: Sequence[float] | None) -> Sequence[float] | None:
        """[K] sums of what is given for each class."""
        if of_classes is None or self.is_plain:
            return of_classes
        return np.bincount(
            self.table[: self.taxonomy.num_classes], weights=of_classes, minlength=self.classes.num_classes
        )

    def confusion(self, confusion: SemanticConfusion) -> SemanticConfusion:
        """The same pixels, counted by group; those of unknown labels are left out."""
        if self.is_plain:
            return confusion
        merged, count = SemanticConfusion(self.classes.num_classes), self.classes.num_classes
        known = self.table >= 0
        columns = np.array([*self.table[: self.taxonomy.num_classes], count])  # the last one: predicted as no class
        np.add.at(merged.matrix, np.ix_(self.table[known], columns), confusion.matrix[known])
        return merged

    def overlaps(self, overlaps: SegmentOverlaps) -> SegmentOverlaps:
        """The same segments by group: those of stuff, and crowds, that become alike become one, unknown ones void."""
        if self.is_plain:
            return overlaps
        overlaps = overlaps.without(self.unknown)
        gt_groups, pred_groups = self.table[overlaps.gt_categories], self.table[overlaps.pred_categories]
        gt, gt_first = self._merged(gt_groups, overlaps.gt_crowd)
        pred, pred_first = self._merged(pred_groups, np.zeros(len(pred_groups), bool))
        intersections = np.zeros((len(gt_first), len(pred_first)), np.int64)
        np.add.at(intersections, np.ix_(gt, pred), overlaps.intersections)
        return SegmentOverlaps(
            gt_ids=overlaps.gt_ids[gt_first],
            gt_categories=gt_groups[gt_first],
            gt_crowd=overlaps.gt_crowd[gt_first],
            gt_areas=_sums(gt, overlaps.gt_areas, len(gt_first)),
            pred_ids=overlaps.pred_ids[pred_first],
            pred_categories=pred_groups[pred_first],
            pred_areas=_sums(pred, overlaps.pred_areas, len(pred_first)),
            intersections=intersections,
            void_overlaps=_sums(pred, overlaps.void_overlaps, len(pred_first)),
        )

    def _merged(self, groups: np.ndarray, crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each segment the number of what it becomes, and for each of these its first segment; in the order of the
        first ones."""
        alone = np.array(self.classes.is_thing, bool)[groups] & ~crowd
        keys = np.where(alone, -1 - np.arange(len(groups)), 2 * groups + crowd)
        _, first, index = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(first)
        return np.argsort(order)[index], first[order]


def common_protocol(taxonomy: Taxonomy, labels: Sequence[int]) -> Protocol | None:
    """The finest level at which ``labels``, unions among them, and the classes can be compared: unions that share a
    class, and their classes, are one group. None where the labels are classes alone."""
    groups: list[set[int]] = []
    names: list[str] = []
    for union in (taxonomy.unions[label - taxonomy.num_classes] for label in labels if label >= taxonomy.num_classes):
        joined = [i for i, group in enumerate(groups) if group & set(union.class_ids)]
        group = set(union.class_ids).union(*(groups[i] for i in joined))
        name = " + ".join([*(names[i] for i in joined), union.name])
        groups = [g for i, g in enumerate(groups) if i not in joined] + [group]
        names = [n for i, n in enumerate(names) if i not in joined] + [name]
    if not groups:
        return None
    merged = tuple((name, tuple(sorted(group))) for name, group in zip(names, groups))
    return Protocol(COMMON, tuple(range(taxonomy.num_classes)), groups=merged)


def _sums(index: np.ndarray, values: np.ndarray, length: int) -> np.ndarray:
    sums = np.zeros(length, np.int64)
    np.add.at(sums, index, values)
    return sums
