"""Label spaces: the classes that a network predicts, the coarser labels that data may have, and what averages run over.

Three kinds of id occur in this field, and confusing them is its costliest mistake:

* data set id: what the label files on disk hold (Cityscapes ids 7, 8, 11, ..., 33);
* contiguous id: what a network predicts, 0..C-1 (Cityscapes' trainIds); labels may also hold C.., the unions of
classes;
* source-specific id: what another data set's own files hold (SYNTHIA 1..22, Vistas 0..65).
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Mapping

import numpy as np

from .colors import completed

IGNORE_LABEL = 255
#: The protocol at which data sets are scored whose labels may be unions.
COMMON = "common"


@dataclass(frozen=True)
class Protocol:
    """What an average runs over (methods: SYNTHIA to Cityscapes is reported in three incompatible ways).

    Attributes:
        class_ids: contiguous ids that are averaged.
        void_ids: contiguous ids whose ground truth becomes void before matching.
        tasks: the tasks that the protocol is defined for.
        groups: (name, contiguous ids) of classes that are not told apart, all of them things or all stuff.
    """

    name: str
    class_ids: tuple[int, ...]
    void_ids: tuple[int, ...] = ()
    tasks: tuple[str, ...] = ("panoptic", "semantic")
    groups: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class LabelUnion:
    """A label that says less than a class: its pixels are of one of ``class_ids``, all of them things or all stuff."""

    name: str
    dataset_id: int
    class_ids: tuple[int, ...]


@dataclass(frozen=True)
class Taxonomy:
    """An ordered set of C classes. Tuples are indexed by contiguous id.

    Attributes:
        names: class names.
        dataset_ids: the id of each class in label files and in COCO-panoptic JSON, 1..``label_divisor`` - 1.
        is_thing: whether the class has countable instances.
        colors: RGB in 0..255.
        label_divisor: panoptic id = contiguous or data set id * label_divisor + instance number.
        protocol_list: what may be averaged; empty: all classes, as ``all``.
        unions: labels C, C + 1, ... of data sets that tell fewer classes apart.
        rare: the classes whose recall is reported apart, or how many, the rarest of the source; None: the configuration
            says.
        void_ids: ids that label files of this space may hold and that belong to no class.
    """

    name: str
    names: tuple[str, ...]
    dataset_ids: tuple[int, ...]
    is_thing: tuple[bool, ...]
    colors: tuple[tuple[int, int, int], ...]
    label_divisor: int = 1000
    protocol_list: tuple[Protocol, ...] = ()
    unions: tuple[LabelUnion, ...] = ()
    rare: tuple[str, ...] | int | None = None
    void_ids: tuple[int, ...] = ()

    def __reduce__(self) -> tuple:
        """The fields alone: look-ups that are remembered cannot travel to a process that is spawned."""
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @property
    def num_classes(self) -> int:
        return len(self.names)

    @property
    def num_labels(self) -> int:
        """Classes and unions: a label below it is one of them."""
        return len(self.names) + len(self.unions)

    @cached_property
    def ignore_label(self) -> int:
        """Contiguous label of pixels that take no part in training or evaluation; two labels beside it stay free for
        what a store of bought labels notes."""
        return IGNORE_LABEL if self.num_labels < IGNORE_LABEL else 0xFFFF

    @property
    def union_labels(self) -> tuple[int, ...]:
        """The labels that are unions."""
        return tuple(range(self.num_classes, self.num_labels))

    @property
    def label_dtype(self) -> type[np.unsignedinteger]:
        """The least that holds ``ignore_label``: of label files and maps."""
        return np.uint8 if self.ignore_label == IGNORE_LABEL else np.uint16

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes, then of the unions."""
        return (*self.names, *(union.name for union in self.unions))

    @cached_property
    def label_dataset_ids(self) -> tuple[int, ...]:
        """Data set ids of the classes, then of the unions."""
        return (*self.dataset_ids, *(union.dataset_id for union in self.unions))

    @cached_property
    def label_is_thing(self) -> tuple[bool, ...]:
        """Whether labels have instances: classes, then unions."""
        return (*self.is_thing, *(self.is_thing[union.class_ids[0]] for union in self.unions))

    @cached_property
    def thing_ids(self) -> tuple[int, ...]:
        """Contiguous ids of the thing classes."""
        return tuple(i for i, thing in enumerate(self.is_thing) if thing)

    @cached_property
    def thing_labels(self) -> tuple[int, ...]:
        """Those of the thing classes and of the unions of things."""
        return tuple(i for i, thing in enumerate(self.label_is_thing) if thing)

    @cached_property
    def stuff_ids(self) -> tuple[int, ...]:
        """Contiguous ids of the stuff classes."""
        return tuple(i for i, thing in enumerate(self.is_thing) if not thing)

    @cached_property
    def contiguous_id(self) -> Mapping[int, int]:
        """Data set id -> contiguous id of classes and unions."""
        return MappingProxyType({d: i for i, d in enumerate(self.label_dataset_ids)})

    @cached_property
    def protocols(self) -> Mapping[str, Protocol]:
        """Name -> protocol."""
        listed = self.protocol_list or (Protocol("all", tuple(range(self.num_classes))),)
        return MappingProxyType({protocol.name: protocol for protocol in listed})

    @cached_property
    def of_labels(self) -> "Taxonomy":
        """Labels as classes of their own, unions in colours of their own: for pictures of labels."""
        if not self.unions:
            return self
        colors = completed((*self.colors, *(None for _ in self.unions)))
        facts = {"names": self.label_names, "dataset_ids": self.label_dataset_ids, "is_thing": self.label_is_thing}
        return replace(self, **facts, colors=colors, unions=(), protocol_list=())

    def classes_of(self, label: int) -> tuple[int, ...]:
        """Contiguous ids of the classes that a label may mean: itself, or those of its union."""
        return (label,) if label < self.num_classes else self.unions[label - self.num_classes].class_ids

    def ids(self, *names: str) -> tuple[int, ...]:
        """Contiguous ids of the named classes, in the order given."""
        return tuple(self.names.index(name) for name in names)

    def same_classes(self, other: "Taxonomy") -> bool:
        """Whether networks and label files of one serve the other: names, ids, things and unions are equal."""
        return all(
            getattr(self, key) == getattr(other, key)
            for key in ("names", "dataset_ids", "is_thing", "unions", "label_divisor")
        )

    def categories(self) -> list[dict]:
        """COCO-panoptic categories (``id`` is the data set id), of unions in the colour of their first class."""
        colors = (*self.colors, *(self.colors[union.class_ids[0]] for union in self.unions))
        return [
            {"id": d, "name": n, "supercategory": n, "isthing": int(t), "color": list(c)}
            for d, n, t, c in zip(self.label_dataset_ids, self.label_names, self.label_is_thing, colors)
        ]

    def contiguous_table(self) -> np.ndarray:
        """uint8 [256] look-up from data set id to contiguous id; unknown ids map to ``ignore_label``."""
        return lookup_table(self.contiguous_id)


def lookup_table(mapping: Mapping[int, int], size: int = 256, fill: int = IGNORE_LABEL) -> np.ndarray:
    """uint8 [size] array with ``mapping``'s values at its keys and ``fill`` elsewhere."""
    table = np.full(size, fill, dtype=np.uint8)
    table[list(mapping)] = list(mapping.values())
    return table
