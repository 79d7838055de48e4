"""A row of the table of configuration keys."""

from dataclasses import dataclass
from typing import Any

from .kinds import Kind

#: The default of a key that the host declares, where this project keeps the host's.
HOSTS = object()


@dataclass(frozen=True)
class Key:
    """One configuration key, declared once.

    Attributes:
        name: with its sections, e.g. "GBW.LAMBDA".
        kind: what its values may be.
        text: what it does, in a sentence or two, with the source of its default; in docs/configuration.md.
        default: :data:`HOSTS` for that of Detectron2 or its Panoptic-DeepLab.
    """

    name: str
    kind: Kind
    text: str
    default: Any = HOSTS

    def problem(self, value: Any, where: str = "") -> str | None:
        """One sentence about ``value``, found in ``where``; None where it fits."""
        found = self.kind.fault(value)
        if found is None:
            return None
        place = f" in {where}" if where else ""
        return f"{self.name}: expected {self.kind.expected}, found {found}{place}; {self.kind.advice(value)}."
