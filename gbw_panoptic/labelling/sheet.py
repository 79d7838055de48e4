"""The instruction sheet of a batch, and what it is expected to cost."""

from collections.abc import Mapping

import numpy as np

from ..active.effort import BORDER_PIXELS_PER_CLICK, CLICKING, NAMING, effort
from .answer import Answer
from .batch import Batch

#: What one part is, and what is wanted of it.
_WANTED = {
    "pixel": "Single pixels are asked. Name the class of each.",
    "region": "Small squares are asked. Name the class of every pixel in them.",
    "superpixel": "Patches with a white outline are asked. Name the class of every pixel in them.",
    "click": "Patches with a white outline are asked. One class is wanted for each: that of most of its pixels.",
    "image": "Whole images are asked. Name the class of every pixel.",
}
_TOOLS = {
    "browser": "Open `browser/label.html` in a browser. It needs no network. Digits name classes, space accepts what "
    "is "
    "suggested, Z undoes. Save the answers at the end, and hand that file back.",
    "cvat": "Make a task with `cvat/labels.json` as its raw labels and the files of `images/`. Upload "
    "`cvat/annotations.xml` as CVAT 1.1. Correct the masks, and give each finished image the tag *done*. Export as "
    "*CVAT "
    "for images 1.1*.",
    "label-studio": "Serve the folder of this sheet as local files, and make a project with `label-studio/config.xml`. "
    "Import `label-studio/tasks.json`. Correct the brush marks and submit each image. Export as JSON.",
    "labelme": "Open the folder `labelme/` in labelme with `--labels labelme/labels.txt`. Correct the masks, set the "
    "flag "
    "*done* of each finished image, and save. Hand the JSON files back.",
    "coco": "`coco/panoptic.json` and `coco/panoptic/` are in COCO's panoptic format. Correct the segments in your "
    "tool, and "
    "hand both back.",
}


def estimate(batch: Batch, proposals: Mapping[str, Answer]) -> tuple[int, int, int]:
    """Parts, clicks and seconds of a batch, if its suggestions were the truth."""
    parts = clicks = tenths = 0
    for image_id, answer in proposals.items():
        image = batch.images[image_id]
        segments = answer.labels.astype(np.int64) + (answer.numbers.astype(np.int64) << 20)
        named, slow = effort(image.parts - 1, segments, dominant=batch.unit == "click")
        parts, clicks, tenths = parts + image.count, clicks + int(named.sum()), tenths + int(slow.sum())
    return parts, clicks, round(tenths / 10)


def duration(seconds: int) -> str:
    """In words."""
    return (
        f"{seconds} seconds"
        if seconds < 120
        else f"{round(seconds / 60)} minutes"
        if seconds < 7200
        else f"{seconds / 3600:.1f} hours"
    )


def instructions(batch: Batch, tools: list[str], proposals: Mapping[str, Answer]) -> str:
    """Markdown."""
    parts, clicks, seconds = estimate(batch, proposals)
    lines = [
        f"# Labels, round {batch.number}", "", _WANTED[batch.unit],
        f"There are {parts} parts in {len(batch.images)} images. Expect about {clicks} clicks, or "
        f"{duration(seconds)}.", "",
        "## Rules", "",
        "- The colours show what a model suggests. Keep what is right, correct what is wrong.",
        "- Answer what you see, not what is likely.",
        f"- A pixel that belongs to none of the classes, or that nobody could tell, is *{batch.names[-1]}*.",
        "- What you skip stays unlabelled. It counts neither as right nor as wrong.",
    ]  # fmt: skip
    if batch.things:
        lines += [
            "- Of objects that can be counted, say which one it is: each has a number of its own in its image.",
            "- The centre of an object is suggested. Correct it where it is far off; it may lie outside of what is "
            "asked.",
        ]
    lines += ["", "## Classes", "", "| | class | kind | colour |", "|---|---|---|---|"]
    for index, (name, color) in enumerate(zip(batch.names, batch.colors)):
        kind = "counted" if index in batch.things else "-" if index == batch.void else "area"
        lines.append(
            f"| {index + 1 if index < batch.void else 0} | {name} | {kind} | "
            f"#{color[0]:02x}{color[1]:02x}{color[2]:02x} |"
        )
    lines += ["", "## How", ""] + [f"- **{tool}**: {_TOOLS[tool]}" for tool in tools]
    lines += [
        "", "Pictures of what is asked stand in `overlays/`.", "", "## The estimate", "",
        f"Naming a part takes one click and {NAMING / 10:g} s. A part of several segments takes one for each, and "
        f"one click of "
        f"{CLICKING / 10:g} s for every {BORDER_PIXELS_PER_CLICK} pixels of their borders. The times are those of "
        f"Bearman et al. "
        "(ECCV 2016). The suggestions stand for the truth.", "",
    ]  # fmt: skip
    return "\n".join(lines)
