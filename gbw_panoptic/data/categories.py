"""What the categories or the ids of another data set are among the classes of a taxonomy."""

import difflib
import os
from dataclasses import dataclass
from typing import Iterable, NamedTuple, Sequence

from ..errors import UserError
from ..taxonomy import CITYSCAPES, Taxonomy

VOID = ""


class SegmentClass(NamedTuple):
    """What a segment of one category becomes.

    Attributes:
        contiguous: its class, or the number of a union of classes; None = void.
        crowd: whether it is a region of things that were not told apart, not one thing.
    """

    contiguous: int | None
    crowd: bool


@dataclass(frozen=True)
class CategoryMap:
    """Categories by name; those that are not named become void.

    Attributes:
        classes: (category, name of a class or of a union, or ``VOID``); () = categories have the names of the classes.
        origin: where the map is written, for messages.
        fields: of a JSON category, where its name is looked for.
        optional: categories that an edition may lack.
        stuff_is_crowd: whether segments of a category that has no instances (``isthing`` 0), but whose class has, are
            crowds; otherwise each of them is one instance.
        taxonomy: of the classes.
    """

    classes: tuple[tuple[str | int, str], ...]
    origin: str
    fields: tuple[str, ...] = ("name",)
    stuff_is_crowd: bool = True
    optional: tuple[str, ...] = ()
    taxonomy: Taxonomy = CITYSCAPES

    @property
    def labelled_classes(self) -> tuple[int, ...]:
        """Contiguous ids of the classes that labels may mean."""
        return _meant(self.labels, self.taxonomy)

    @property
    def labels(self) -> tuple[int, ...]:
        """Classes and unions that labels may hold."""
        return _numbers(self._table().values(), self.taxonomy)

    @property
    def info(self) -> dict:
        """What the labels depend on, for the JSON that is made with it."""
        return {"categories": {str(name): of for name, of in self.classes}}

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
            self._require_all(set(table) - set(names.values()) - set(self.optional), categories, path)
        resolved = {c["id"]: self._segment_class(c, table.get(names[c["id"]], VOID)) for c in categories}
        if all(segment_class.contiguous is None for segment_class in resolved.values()):
            raise UserError(
                f"expected categories with names of {self.taxonomy.name} classes in {path}, found none; map them to "
                f"classes in {self.origin}"
            )
        return resolved

    def _table(self) -> dict[str, str]:
        return dict(self.classes) if self.classes else {name: name for name in self.taxonomy.label_names}

    def _segment_class(self, category: dict, class_name: str) -> SegmentClass:
        if class_name == VOID:
            return SegmentClass(None, False)
        contiguous = self.taxonomy.label_names.index(class_name)
        uncounted = self.taxonomy.label_is_thing[contiguous] and not category.get("isthing", 1)
        return SegmentClass(contiguous, uncounted and self.stuff_is_crowd)

    def _require_all(self, missing: set[str], categories: Sequence[dict], path: str | os.PathLike) -> None:
        if not missing:
            return
        name = min(map(str, missing))
        known = [str(category.get(field)) for category in categories for field in self.fields]
        close = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"correct {self.origin} or take the file that it is for"
        raise UserError(f"expected the category {name!r}, which {self.origin} maps, in {path}, found none; {remedy}")


@dataclass(frozen=True)
class IdTable:
    """What the values of label files are, each of which must be known.

    Attributes:
        ids: (id, name of a class or of a union, or ``VOID``); of colours, an id is R + 256 G + 65536 B.
        taxonomy: of the classes.
        numbering: how a value holds an instance number, too, a key of :data:`NUMBERINGS`; "" = classes alone.
        are_colors: whether values are colours.
    """

    ids: tuple[tuple[int, str], ...]
    taxonomy: Taxonomy
    numbering: str = ""
    are_colors: bool = False

    @property
    def labelled_classes(self) -> tuple[int, ...]:
        """Contiguous ids of the classes that labels may mean."""
        return _meant(self.labels, self.taxonomy)

    @property
    def labels(self) -> tuple[int, ...]:
        """Classes and unions that labels may hold."""
        return _numbers(dict(self.ids).values(), self.taxonomy)

    @property
    def info(self) -> dict:
        """What the labels depend on, for the JSON that is made with it."""
        return {"ids": {str(i): name for i, name in self.ids}, "numbering": self.numbering}

    def resolve(self) -> dict[int, SegmentClass]:
        """Id -> what its pixels become."""
        names = self.taxonomy.label_names
        return {i: SegmentClass(None if name == VOID else names.index(name), False) for i, name in self.ids}

    def split_value(self, value: int) -> tuple[int, int | None]:
        """Id and instance number of a value; None without one."""
        return NUMBERINGS[self.numbering](value) if self.numbering else (value, None)


def _cityscapes_number(value: int) -> tuple[int, int | None]:
    return (value, None) if value < 1000 else divmod(value, 1000)


def _kitti_number(value: int) -> tuple[int, int | None]:
    return value >> 8, (value & 255) or None


#: id, or id * 1000 + number from 0 (Cityscapes); id * 256 + number from 1, 0 = none (KITTI).
NUMBERINGS = {"cityscapes": _cityscapes_number, "kitti": _kitti_number}


def _numbers(names: Iterable[str], taxonomy: Taxonomy) -> tuple[int, ...]:
    return tuple(sorted({taxonomy.label_names.index(name) for name in names if name != VOID}))


def _meant(labels: Iterable[int], taxonomy: Taxonomy) -> tuple[int, ...]:
    return tuple(sorted({c for label in labels for c in taxonomy.classes_of(label)}))
