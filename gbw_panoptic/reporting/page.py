"""A Markdown page with its pictures in a folder beside it: what every report is written with; scores as Markdown
tables."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tabulate import tabulate

from .. import files
from ..evaluation.scores import averaged_classes
from ..taxonomy import CITYSCAPES
from ..taxonomy.colors import completed

_PICTURES = "report"


@dataclass(frozen=True)
class Page:
    """Everything is linked relative to the page, so that its folder can be moved.

    Attributes:
        path: the Markdown file; pictures go to ``report/`` beside it.
    """

    path: Path

    def picture(self, name: str, data: bytes, text: str) -> str:
        """Writes a PNG and gives its link."""
        path = self.path.parent / _PICTURES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files.atomic_write(path, data)
        return self.link(path, text)

    def link(self, picture: Path, text: str) -> str:
        """Link to a picture that exists."""
        relative = os.path.relpath(picture.resolve(), self.path.parent.resolve())
        return f"![{text}]({quote(Path(relative).as_posix())})"

    def write(self, blocks: Iterable[str]) -> str:
        """Writes the page and gives its path."""
        text = "\n\n".join(blocks) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.clear_temporaries(self.path.parent)
        files.atomic_write(self.path, text.encode())
        return str(self.path)


def table(rows: Sequence[Sequence], header: Sequence[str]) -> str:
    """Markdown table; numbers are formatted by the caller where one decimal is not what they need.

    Cells: None is "-", floats have one decimal, everything else is as ``str`` gives it. Columns of text are
    left-aligned, the others right-aligned.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    columns = list(zip(*rows)) or [()] * len(header)
    is_text = [all(isinstance(value, str) for value in column) for column in columns]
    alignment = ["left" if text else "right" for text in is_text] if rows else None
    return tabulate(cells, header, "pipe", disable_numparse=True, colalign=alignment)


def plain(value: object) -> str:
    """A configuration's value as text."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def class_colors(names: Sequence[str], colors: Mapping[str, Sequence[int]] | None = None) -> list[tuple[int, int, int]]:
    """Those of ``colors``, else official ones; of other names, some that are far from these."""
    known = {**dict(zip(CITYSCAPES.names, CITYSCAPES.colors)), **(colors or {})}
    return list(completed([tuple(known[name]) if name in known else None for name in names]))


def title(metric: str) -> str:
    """Metric's name for a heading."""
    return metric.replace("_", " ")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


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
