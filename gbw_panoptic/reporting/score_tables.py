"""Scores of protocols as Markdown tables."""

from collections.abc import Iterator, Mapping

from ..evaluation.scores import averaged_classes
from .page import table

_PANOPTIC_COLUMNS = ("PQ", "SQ", "RQ", "tp", "fp", "fn", "recall")
_SEMANTIC_COLUMNS = ("IoU", "precision", "recall")
#: Task, metric of the curves over a training's evaluations.
CURVES = (
    ("panoptic", "PQ"), ("panoptic", "PQ_things"), ("panoptic", "PQ_stuff"), ("panoptic", "RQ"), ("semantic", "mIoU"),
    ("semantic", "mean_recall"), ("semantic", "rare_recall"), ("semantic", "mean_precision"),
)  # fmt: skip


def class_table(panoptic: Mapping | None, semantic: Mapping) -> str:
    """One row per class of a protocol: segments' PQ, SQ, RQ, TP, FP, FN, recall; pixels' IoU, precision, recall."""
    rows = []
    for name, pixels in semantic["per_class"].items():
        segments = [panoptic["per_class"][name][key] for key in _PANOPTIC_COLUMNS] if panoptic else []
        rows.append([name, *segments, *(pixels[key] for key in _SEMANTIC_COLUMNS)])
    segment_header = ["PQ", "SQ", "RQ", "TP", "FP", "FN", "segment recall"] if panoptic else []
    return table(rows, ["class", *segment_header, "IoU", "precision", "recall"])


def protocol_texts(scores: Mapping[str, Mapping[str, Mapping]]) -> Iterator[str]:
    """For each protocol of task -> protocol -> scores: what is averaged, the classes and the averages."""
    for name, semantic in scores["semantic"].items():
        panoptic, instance = (scores.get(task, {}).get(name) for task in ("panoptic", "instance"))
        averaged, absent = averaged_classes(panoptic or semantic)
        without = f" (do not occur: {', '.join(absent)})" if absent else ""
        yield (
            f"Protocol {name}, N = {len(averaged)}: {', '.join(averaged)}{without}\n"
            f"{class_table(panoptic, semantic)}\n\n{summary_table(panoptic, semantic, instance)}"
        )


def summary_table(panoptic: Mapping | None, semantic: Mapping, instance: Mapping | None = None) -> str:
    """The averages of one protocol."""
    lines = []
    if panoptic:
        rows = [
            [group, *(panoptic[f"{metric}{suffix}"] for metric in ("PQ", "SQ", "RQ", "N"))]
            for group, suffix in (("All", ""), ("Things", "_things"), ("Stuff", "_stuff"))
        ]
        lines += [table(rows, ["", "PQ", "SQ", "RQ", "N"]), ""]
    if instance:
        lines += [table([[instance[key] for key in ("AP", "AP50", "N")]], ["AP", "AP50", "N"]), ""]
    metrics = [key for key, value in semantic.items() if isinstance(value, float)]
    lines.append(table([[*(semantic[key] for key in metrics), semantic["N"]]], [*metrics, "N"]))
    if "rare_classes" in semantic:
        rare = semantic["rare_classes"]
        lines.append(f"rare: the source's {len(rare)} rarest classes of the protocol, {', '.join(rare)}")
    return "\n".join(lines)
