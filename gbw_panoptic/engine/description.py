"""What a trained model means, as a part of its checkpoints: so that they are used where the data sets of the training
are not."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from detectron2.data import MetadataCatalog

from ..errors import UserError
from ..forms import misfit
from ..taxonomy import LabelUnion, Protocol, Taxonomy
from .settings import frozen

_PROTOCOL = {"name": str, "class_ids": [int], "void_ids": [int], "tasks": [str], "groups?": [[object]]}
_UNION = {"name": str, "dataset_id": int, "class_ids": [int]}
_TAXONOMY = {
    "name": str, "names": [str], "dataset_ids": [int], "is_thing": [bool], "colors": [[int]],
    "protocol_list?": [_PROTOCOL], "unions?": [_UNION], "label_divisor?": int, "void_ids?": [int], "rare?": object,
}  # fmt: skip
_FORM = {"taxonomy": _TAXONOMY, "protocols": [_PROTOCOL]}


@dataclass(frozen=True)
class Description:
    """Classes of a model, and what its scores are averages over."""

    taxonomy: Taxonomy
    protocols: tuple[Protocol, ...]

    def state_dict(self) -> dict[str, Any]:
        """Plain values, as :meth:`from_plain` takes them."""
        return {"taxonomy": _plain(asdict(self.taxonomy)), "protocols": [_plain(asdict(p)) for p in self.protocols]}

    def load_state_dict(self, state: object) -> None:
        """
        Raises:
            UserError: a resumed run has other classes.
        """
        made, own = Description.from_plain(state, "the checkpoint").taxonomy, self.taxonomy
        if not made.same_classes(own):
            raise UserError(
                f"--resume: expected the classes of {made.name} ({_counted(made)}), with which the checkpoint was "
                f"made, found those of {own.name} ({_counted(own)}), which differ in names, ids, things or unions; "
                "resume with that run's data sets, or start anew."
            )

    @classmethod
    def from_plain(cls, value: object, origin: str) -> "Description":
        """
        Args:
            origin: where the value is from, for the message.

        Raises:
            UserError: the value describes no classes.
        """
        wrong = misfit(value, _FORM) or _inconsistent(value["taxonomy"], value["protocols"])
        if wrong:
            raise UserError(
                f"expected {wrong[0]} in the description of classes in {origin}, found {wrong[1]}; take another file"
            )
        protocols = tuple(_made(Protocol, protocol) for protocol in value["protocols"])
        taxonomy = dict(value["taxonomy"])
        for name, kind in (("protocol_list", Protocol), ("unions", LabelUnion)):
            taxonomy[name] = [_made(kind, one) for one in taxonomy.get(name, ())]
        return cls(_made(Taxonomy, taxonomy), protocols)


def build_model_description(cfg) -> Description:
    """Of what DATASETS.TRAIN and TEST.PROTOCOLS name."""
    taxonomy = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy
    return Description(taxonomy, tuple(p for p in taxonomy.protocols.values() if p.name in cfg.TEST.PROTOCOLS))


def _inconsistent(taxonomy: Mapping[str, Any], protocols: list) -> tuple[str, str] | None:
    """What :func:`misfit` answers, for what no form can say of classes."""
    names, ids, colors, rare = taxonomy["names"], taxonomy["dataset_ids"], taxonomy["colors"], taxonomy.get("rare")
    if not names or {len(ids), len(taxonomy["is_thing"]), len(colors)} != {len(names)}:
        return "one entry for each class", "lists of different lengths"
    unions, divisor = taxonomy.get("unions", ()), taxonomy.get("label_divisor", 1000)
    labels, ids = [*names, *(u["name"] for u in unions)], [*ids, *(u["dataset_id"] for u in unions)]
    if len(set(labels)) < len(labels) or len(set(ids)) < len(ids) or not all(0 < i < divisor for i in ids):
        return f"different names, and different ids in 1..{divisor - 1}", f"{labels} with {ids}"[:200]
    if not all(len(color) == 3 and all(0 <= c <= 255 for c in color) for color in colors):
        return "three integers in 0..255 for each color", f"{colors}"[:200]
    if isinstance(rare, list) and not set(map(str, rare)) <= set(names) or type(rare) not in (list, int, type(None)):
        return "names of classes as rare ones, or their number", f"{rare!r}"[:80]
    return _wrong_groups([*unions, *taxonomy.get("protocol_list", ()), *protocols], range(len(names)))


def _wrong_groups(entries: list[Mapping[str, Any]], classes: range) -> tuple[str, str] | None:
    """The first entry of unions and protocols that lists what is no class."""
    for entry in entries:
        pairs = entry.get("groups", [])
        if not all(len(p) == 2 and type(p[0]) is str and misfit(p[1], [int]) is None and p[1] for p in pairs):
            return "names with lists of classes as groups", f"{pairs}"[:80]
        listed = [*entry["class_ids"], *entry.get("void_ids", ()), *(i for p in pairs for i in p[1])]
        if not entry["class_ids"] or not all(i in classes for i in listed):
            return f"classes in 0..{len(classes) - 1} in {entry['name']}", f"{listed}"[:80]
    return None


def _counted(taxonomy: Taxonomy) -> str:
    """``19``, or ``19 and 2 unions``."""
    return f"{taxonomy.num_classes}" + (f" and {len(taxonomy.unions)} unions" if taxonomy.unions else "")


def _made(kind: type, values: Mapping[str, Any]) -> Any:
    """A dataclass of the values that it knows; those of a newer version are left out."""
    known = {field.name for field in fields(kind)}
    return kind(**{name: frozen(value) for name, value in values.items() if name in known})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
