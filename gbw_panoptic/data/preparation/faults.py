"""What can be wrong with a data set on disk."""

import enum
from dataclasses import dataclass

from ...errors import UserError


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
