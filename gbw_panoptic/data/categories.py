"""What the categories of another COCO-panoptic data set are among this project's classes."""

import difflib
import os
from dataclasses import dataclass
from typing import NamedTuple, Sequence

from ..errors import UserError
from ..taxonomy import CITYSCAPES

VOID = ""


class SegmentClass(NamedTuple):
    """What a segment of one category becomes.

    Attributes:
        contiguous: its class; None = void.
        crowd: whether it is a region of things that were not told apart, not one thing.
    """

    contiguous: int | None
    crowd: bool


@dataclass(frozen=True)
class CategoryMap:
    """Categories by name; those that are not named become void.

    Attributes:
        classes: (category, class name or ``VOID``); () = categories have the names of the classes.
        origin: where the map is written, for messages.
        fields: of a JSON category, where its name is looked for.
        stuff_is_crowd: whether segments of a category that has no instances (``isthing`` 0), but whose class has, are
            crowds; otherwise each of them is one instance.
    """

    classes: tuple[tuple[str, str], ...]
    origin: str
    fields: tuple[str, ...] = ("name",)
    stuff_is_crowd: bool = True

    @property
    def labelled_classes(self) -> tuple[int, ...]:
        """Contiguous ids that labels may hold."""
        return tuple(sorted({CITYSCAPES.names.index(name) for name in self._table().values() if name != VOID}))

    @property
    def info(self) -> dict:
        """What the labels depend on, for the JSON that is made with it."""
        return {"categories": dict(self.classes)}

    def resolve(self, categories: Sequence[dict], path: str | os.PathLike) -> dict[int, SegmentClass]:
        """Category id -> what its segments become.

        Args:
            categories: of the COCO-panoptic JSON at ``path``: ``id``, ``name``, ``isthing``.

        Raises:
            UserError: a category that the map names does not exist, or none is left.
        """
        table = self._table()
        names = {c["id"]: next((c[f] for f in self.fields if c.get(f) in table), None) for c in categories}
        if self.classes:
            self._require_all(set(table) - set(names.values()), categories, path)
        resolved = {c["id"]: self._segment_class(c, table.get(names[c["id"]], VOID)) for c in categories}
        if all(segment_class.contiguous is None for segment_class in resolved.values()):
            raise UserError(
                f"expected categories with names of {CITYSCAPES.name} classes in {path}, found none; map them to "
                f"classes in {self.origin}"
            )
        return resolved

    def _table(self) -> dict[str, str]:
        return dict(self.classes) if self.classes else {name: name for name in CITYSCAPES.names}

    def _segment_class(self, category: dict, class_name: str) -> SegmentClass:
        if class_name == VOID:
            return SegmentClass(None, False)
        contiguous = CITYSCAPES.names.index(class_name)
        uncounted = CITYSCAPES.is_thing[contiguous] and not category.get("isthing", 1)
        return SegmentClass(contiguous, uncounted and self.stuff_is_crowd)

    def _require_all(self, missing: set[str], categories: Sequence[dict], path: str | os.PathLike) -> None:
        if not missing:
            return
        name = min(missing)
        known = [str(category.get(field)) for category in categories for field in self.fields]
        close = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"correct {self.origin} or take the file that it is for"
        raise UserError(f"expected the category {name!r}, which {self.origin} maps, in {path}, found none; {remedy}")
