"""The report that ends a preparation and that ``--check`` is."""

from dataclasses import dataclass

from ..layout import Split
from ..statistics import ClassStatistics
from .faults import Fault, FaultKind

_FAULTS_SHOWN = 20  # of each kind


@dataclass(frozen=True)
class SplitReport:
    """What was expected of one split and what is there.

    Attributes:
        statistics: of the prepared labels; None where nothing could be read.
        skipped: True where images with faults are left out rather than refused.
    """

    split: Split
    expected: int
    images: int
    prepared: int
    statistics: ClassStatistics | None
    faults: tuple[Fault, ...]
    skipped: bool = False

    def format(self) -> str:
        """Several lines of text."""
        lines = [
            f"{self.split.title}: expected {self.expected} images, found {self.images}, prepared {self.prepared}"
            + (" (the counts differ)" if not self.expected == self.images == self.prepared else "")
        ]
        if self.statistics is not None:
            lines += _histogram(self.statistics)
        for kind in FaultKind:
            faults = [fault for fault in self.faults if fault.kind is kind]
            if faults or kind is not FaultKind.COUNT:  # the counts stand in the first line, right or wrong
                lines += _fault_lines(kind, faults)
        if self.skipped and self.faults:
            lines.append(f"  the {len(self.faults)} faults above are left out of training")
        return "\n".join(lines)


def _histogram(statistics: ClassStatistics) -> list[str]:
    lines = [f"  {'class':<14}{'pixels':>16}{'share':>9}{'images':>8}"]
    for class_id, (name, share) in enumerate(zip(statistics.class_names, statistics.frequencies().tolist())):
        images = len(statistics.images_with(class_id))
        lines.append(f"  {name:<14}{statistics.pixels[class_id]:>16,}{share:>9.3%}{images:>8}")
    return lines


def _fault_lines(kind: FaultKind, faults: list[Fault]) -> list[str]:
    lines = [f"  {kind.value}: {len(faults)}"] + [f"    {fault.message}" for fault in faults[:_FAULTS_SHOWN]]
    if len(faults) > _FAULTS_SHOWN:
        lines.append(f"    ... and {len(faults) - _FAULTS_SHOWN} more")
    return lines
