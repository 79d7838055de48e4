"""What a trained model means, as a part of its checkpoints: so that they are used where the data sets of the training
are not."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from detectron2.data import MetadataCatalog

from ..documents import misfit
from ..errors import UserError
from ..taxonomy import LabelUnion, Protocol, Taxonomy

_PROTOCOL = {"name": str, "class_ids": [int], "void_ids": [int], "tasks": [str], "groups?": [object]}
_UNION = {"name": str, "dataset_id": int, "class_ids": [int]}
_TAXONOMY = {
    "name": str, "names": [str], "dataset_ids": [int], "is_thing": [bool], "colors": [[int]],
    "protocol_list?": [_PROTOCOL], "unions?": [_UNION], "label_divisor?": int, "void_ids?": [int],
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
        made = Description.from_plain(state, "the checkpoint").taxonomy
        if (made.names, made.is_thing) != (self.taxonomy.names, self.taxonomy.is_thing):
            raise UserError(
                f"--resume: expected the classes of {made.name} ({len(made.names)}), with which the checkpoint was "
                "made, found those of "
                f"{self.taxonomy.name} ({len(self.taxonomy.names)}); resume with that run's data sets, or start anew."
            )

    @classmethod
    def from_plain(cls, value: object, origin: str) -> "Description":
        """
        Args:
            origin: where the value is from, for the message.

        Raises:
            UserError: the value describes no classes.
        """
        wrong = misfit(value, _FORM)
        if (
            wrong is None
            and len({len(value["taxonomy"][name]) for name in ("names", "dataset_ids", "is_thing", "colors")}) > 1
        ):
            wrong = "one entry for each class", "lists of different lengths"
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


def _made(kind: type, values: Mapping[str, Any]) -> Any:
    """A dataclass of the values that it knows; those of a newer version are left out."""
    known = {field.name for field in fields(kind)}
    return kind(**{name: _frozen(value) for name, value in values.items() if name in known})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value
