"""Scores by protocol, as nested numbers for metrics.json and as a line for people."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from ..taxonomy import Protocol, Taxonomy
from .instances import InstanceAveragePrecision
from .panoptic_quality import PanopticQuality
from .semantic import SemanticConfusion, rarest_classes

#: Per-class metrics that go to metrics.json, where every value costs a line in each plot's legend.
_CLASS_CURVES = {"panoptic": ("PQ",), "instance": ("AP",), "semantic": ("IoU", "recall")}


def panoptic_scores(quality: PanopticQuality, protocol: Protocol, taxonomy: Taxonomy) -> dict:
    """``{"PQ", "SQ", "RQ", "N", "PQ_things", ..., "N_stuff", "per_class": {name: {...}}}``, in percent."""
    computed = quality.compute(protocol.class_ids)
    scores = {}
    for group, suffix in (("All", ""), ("Things", "_things"), ("Stuff", "_stuff")):
        scores.update({f"{metric}{suffix}": computed[group][metric] for metric in ("PQ", "SQ", "RQ")})
        scores[f"N{suffix}"] = computed[group]["n"]
    return {**scores, "per_class": _by_name(computed["per_class"], taxonomy)}


def instance_scores(precision: InstanceAveragePrecision, protocol: Protocol, taxonomy: Taxonomy) -> dict:
    """``{"AP", "AP50", "N", "per_class": {name: {"AP", "AP50"}}}`` of the things with ground truth, in percent."""
    computed = precision.compute(protocol.class_ids, void_ids=protocol.void_ids)
    averages = {key: computed[key] for key in ("AP", "AP50")}
    return {**averages, "N": computed["n"], "per_class": _by_name(computed["per_class"], taxonomy)}


def semantic_scores(
    confusion: SemanticConfusion,
    protocol: Protocol,
    taxonomy: Taxonomy,
    *,
    source_pixels: Sequence[float] | None,
    num_rare: int,
) -> dict:
    """``{"mIoU", "mean_recall", ..., "N", "per_class": {name: {...}}}``, in percent.

    With ``source_pixels`` ([C] labelled pixels of the source) also the means over its ``num_rare`` rarest classes of
    the protocol and their names, ``rare_classes``. A taxonomy that says which classes are rare, or how many, is
    followed.
    """
    rare = _rare_classes(protocol, taxonomy, source_pixels, num_rare)
    computed = confusion.compute(protocol.class_ids, void_ids=protocol.void_ids, rare_ids=rare)
    scores = {key: value for key, value in computed.items() if key not in ("n", "per_class")}
    if rare:
        scores["rare_classes"] = [taxonomy.names[c] for c in rare]
    return {**scores, "N": computed["n"], "per_class": _by_name(computed["per_class"], taxonomy)}


def _rare_classes(
    protocol: Protocol, taxonomy: Taxonomy, source_pixels: Sequence[float] | None, num_rare: int
) -> tuple[int, ...]:
    if isinstance(taxonomy.rare, tuple):
        return tuple(c for c in taxonomy.ids(*taxonomy.rare) if c in protocol.class_ids)
    if source_pixels is None:
        return ()
    return rarest_classes(source_pixels, protocol.class_ids, num_rare if taxonomy.rare is None else taxonomy.rare)


def flatten(scores: Mapping[str, Mapping[str, Mapping]]) -> OrderedDict:
    """Task -> protocol -> metric -> number, classes as ``<metric>/<class name>``: what metrics.json can hold."""
    flat = OrderedDict()
    for task, protocols in scores.items():
        flat[task] = OrderedDict()
        for name, values in protocols.items():
            numbers = {key: value for key, value in values.items() if isinstance(value, (int, float))}
            classes = {
                f"{metric}/{class_name}": class_scores[metric]
                for metric in _CLASS_CURVES[task]
                for class_name, class_scores in values["per_class"].items()
            }
            flat[task][name] = OrderedDict({**numbers, **classes})
    return flat


def summary_line(panoptic: Mapping | None, semantic: Mapping, instance: Mapping | None = None) -> str:
    """The averages of one protocol that people compare, in one line."""
    values = [("PQ", panoptic, "PQ"), ("things", panoptic, "PQ_things"), ("stuff", panoptic, "PQ_stuff"),
              ("AP", instance, "AP"),
              ("mIoU", semantic, "mIoU"), ("rare recall", semantic, "rare_recall")]  # fmt: skip
    return ", ".join(f"{name} {scores[key]:.1f}" for name, scores, key in values if scores and key in scores)


def headline_task(evaluation: Mapping, protocol: str) -> str:
    """``panoptic`` where a result file holds it for the protocol, else ``semantic``."""
    return "panoptic" if protocol in evaluation["scores"].get("panoptic", {}) else "semantic"


def split_counts(evaluation: Mapping, protocol: str) -> str:
    """`` (6 things, 10 stuff)``: what PQ of things and of stuff are averaged over; empty without a panoptic score."""
    scores = evaluation["scores"].get("panoptic", {}).get(protocol, {})
    if "N_things" not in scores:
        return ""
    return f" ({scores['N_things']} things, {scores['N_stuff']} stuff)"


def averaged_classes(scores: Mapping) -> tuple[list[str], list[str]]:
    """Names of a protocol's classes that were averaged (TP + FP + FN > 0), and of those that do not occur."""
    occurs = {name: values["tp"] + values["fp"] + values["fn"] > 0 for name, values in scores["per_class"].items()}
    return [name for name, yes in occurs.items() if yes], [name for name, yes in occurs.items() if not yes]


def _by_name(per_class: Mapping[int, Mapping], taxonomy: Taxonomy) -> dict[str, dict]:
    return {taxonomy.names[c]: dict(values) for c, values in per_class.items()}
