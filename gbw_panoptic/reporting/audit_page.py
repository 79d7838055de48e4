"""The page of an audit of labels, the scores as JSON, and the list for DATASETS.EXCLUDE."""

from pathlib import Path

import cv2
import numpy as np

from .. import files
from ..trust.auditing import Findings
from ..visualization.colors import colorize_labels
from .blocks import Cell, Gallery, HtmlPage, Section, Table, Text
from .html import write_page
from .pictures import data_uri, picture_bytes
from .tables import number

_SCALE = 3  # pixels of a picture per cell of the audit
_NOTE = "From left to right: the image, its label, what a network predicts that was trained on other images."


def write_findings(findings: Findings, folder: Path, *, pictures: int) -> str:
    """Writes ``audit.html``, ``audit.json`` and ``exclude.txt`` into ``folder``, and gives the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "audit.json", _scores(findings))
    files.atomic_write(folder / "exclude.txt", _list(findings).encode())
    return write_page(_page(findings, pictures), folder / "audit.html")


def _list(findings: Findings) -> str:
    lines = [f"{findings.records[i]['image_id']}  # {findings.why(i)}" for i in findings.suspicious]
    return "\n".join([f"# {findings.summary()} A list for DATASETS.EXCLUDE.", *lines, ""])


def _scores(findings: Findings) -> dict:
    images = [
        {
            "image_id": findings.records[i]["image_id"],
            "score": float(findings.scores[i]),
            "loss": findings.images[i].loss,
            "gain": findings.images[i].gain,
            "shift": findings.images[i].shift,
        }
        for i in findings.order
    ]
    segments = [
        {
            "image_id": findings.records[i]["image_id"],
            "segment": int(found.segment),
            "score": float(findings.segments[i][k]),
            "class": findings.taxonomy.names[found.category],
            "likelier": findings.taxonomy.names[found.likelier],
            "centre": found.centre,
        }
        for i, k in findings.segment_order
        for found in [findings.images[i].segments[k]]
    ]
    return {"dataset": findings.dataset, "images": images, "segments": segments}


def _page(findings: Findings, pictures: int) -> HtmlPage:
    whole = set(findings.suspicious)
    worst = findings.order[:pictures]
    segments = [place for place in findings.segment_order if place[0] not in whole][:pictures]
    rows = [
        [Cell(findings.records[i]["image_id"]), number(float(findings.scores[i])), Cell(findings.why(i))]
        for i in findings.order
    ]
    of_images = Gallery(
        [(f"{findings.records[i]['image_id']}: {findings.why(i)}", _picture(findings, i)) for i in worst]
    )
    of_segments = Gallery(
        [
            (f"{findings.records[i]['image_id']}: {findings.why_segment(i, k)}", _picture(findings, i, k))
            for i, k in segments
        ]
    )
    sections = [
        Section("images", "Images, the worst first", [Text(_NOTE), of_images]),
        Section(
            "segments",
            "Segments, the worst first",
            [Text(f"{_NOTE} The segment is outlined. Images whose whole label is suspect are left out."), of_segments],
        ),
        Section("scores", "All images", [Table("Scores", ["image", "score", "why"], rows)]),
    ]
    return HtmlPage(f"Audit of {findings.dataset}", findings.summary(), [], sections)


def _picture(findings: Findings, index: int, number: int | None = None) -> str:
    """Data URI of image, label and prediction beside each other."""
    example = findings.examples[index]
    image = np.clip(example.image.transpose(1, 2, 0) * 64 + 128, 0, 255).astype(np.uint8)
    maps = (example.labels.classes, findings.predicted[index])
    parts = [image, *(colorize_labels(labels, findings.taxonomy) for labels in maps)]
    parts = [np.ascontiguousarray(part.repeat(_SCALE, 0).repeat(_SCALE, 1)) for part in parts]
    if number is not None:
        inside = example.labels.segments == findings.images[index].segments[number].segment
        mask = np.ascontiguousarray(inside.astype(np.uint8).repeat(_SCALE, 0).repeat(_SCALE, 1))
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for part in parts:
            cv2.drawContours(part, contours, -1, (255, 255, 255), 1)
    return data_uri(picture_bytes(np.hstack(parts), "PNG"), "png")
