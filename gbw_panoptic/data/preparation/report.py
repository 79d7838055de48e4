"""What can be wrong with a data set on disk, and the report that ends a preparation and that ``--check`` is."""

import enum
from dataclasses import dataclass
from textwrap import wrap

from ...errors import UserError
from ..layout import Split
from ..statistics import ClassStatistics


class FaultKind(enum.Enum):
    """The value is the heading in the report."""

    MISSING = "missing files"
    UNREADABLE = "unreadable files or wrong formats"
    SIZE = "size mismatches"
    OUTSIDE = "ids outside the taxonomy"
    DISAGREE = "prepared files that disagree with one another or with the labels"
    WRONG = "labels that are known to be wrong"
    COUNT = "wrong counts"


@dataclass(frozen=True)
class Fault:
    """One finding: a sentence that names the file."""

    kind: FaultKind
    message: str


class FaultError(UserError):
    """A :class:`UserError` that knows its kind; one that does not comes from a reader and means UNREADABLE."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def as_fault(error: UserError) -> Fault:
    """The fault that ``error`` reports."""
    return Fault(getattr(error, "kind", FaultKind.UNREADABLE), str(error))


_FAULTS_SHOWN = 20  # of each kind


@dataclass(frozen=True)
class SplitReport:
    """What was expected of one split and what is there.

    Attributes:
        statistics: of the prepared labels; None where nothing could be read.
        expected: None where nobody knows.
        skipped: True where images with faults are left out rather than refused.
        void_categories: names in the raw JSON that belong to no class.
        unmapped: how many categories there are, where some of them became void without anybody having said so.
        void_share: of the pixels; None where nobody asked.
        left_out: what the search for images left out, in one line.
        by_times: how many labels an earlier version made, which are kept because they are newer than the raw ones.
        turned: images whose EXIF tags turn them, where no size tells whether their labels were drawn that way.
    """

    split: Split
    expected: int | None
    images: int
    prepared: int
    statistics: ClassStatistics | None
    faults: tuple[Fault, ...]
    skipped: bool = False
    void_categories: tuple[str, ...] = ()
    unmapped: int = 0
    void_share: float | None = None
    left_out: str = ""
    by_times: int = 0
    turned: tuple[str, ...] = ()

    def format(self) -> str:
        """Several lines of text."""
        counts = {self.images, self.prepared} | ({self.expected} if self.expected is not None else set())
        known = "" if self.expected is None else f"expected {self.expected} images, "
        lines = [f"{self.split.title}: {known}found {self.images}, prepared {self.prepared}"]
        lines[0] += " (the counts differ)" if len(counts) > 1 else ""
        if self.by_times:
            lines.append(
                f"  {self.by_times} labels are of an earlier version: only their age was compared with the raw labels; "
                "--check compares all pixels, --overwrite makes them again"
            )
        if self.turned:
            lines.append(
                f"  {len(self.turned)} images are mirrored or turned by half, as their EXIF tags say (first: "
                f"{self.turned[0]}): their labels are read as drawn on the upright image; if they were drawn on the "
                "stored pixels, remove the tags"
            )
        if self.void_categories:
            void = f"void: {', '.join(self.void_categories)}"
            lines += wrap(void, 120, initial_indent="  ", subsequent_indent="    ")
        if self.unmapped:
            lines += wrap(self._warning(), 120, initial_indent="  ", subsequent_indent="    ")
        if self.void_share is not None:
            lines.append(f"  {self.void_share:.1%} of the pixels have no class")
        if self.left_out:
            lines.append(f"  {self.left_out}")
        if self.statistics is not None:
            lines += _histogram(self.statistics)
        for kind in FaultKind:
            faults = [fault for fault in self.faults if fault.kind is kind]
            if faults or kind is not FaultKind.COUNT:  # the counts stand in the first line, right or wrong
                lines += _fault_lines(kind, faults)
        if self.skipped and self.faults:
            lines.append(f"  the {len(self.faults)} faults above are left out of training")
        return "\n".join(lines)

    def _warning(self) -> str:
        space = self.split.taxonomy.name
        return (
            f"warning: {len(self.void_categories)} of {self.unmapped} categories are no class of {space}, so that "
            "nothing is learnt from their pixels: map them under `categories`, or give a taxonomy that has them "
            "(--taxonomy)"
        )


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
