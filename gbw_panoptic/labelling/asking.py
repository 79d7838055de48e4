"""A batch for the tools that humans work with: suggestions of a model, instructions with what it is expected to cost,
pictures.

Shape legend: H x W pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
from scipy import ndimage

from .. import files
from ..active.effort import BORDER_PIXELS_PER_CLICK, CLICKING, NAMING, effort
from ..active.label_store import LabelStore
from ..taxonomy import Taxonomy
from ..visualization.bought import draw_asked
from .answer import UNANSWERED, Answer
from .batch import AskedImage, Batch
from .formats import FORMATS
from .importing import dominated, known_before


def ask(
    batch: Batch, store: LabelStore, tools: Sequence[str], predict: Callable[[np.ndarray], np.ndarray], *,
    num_overlays: int, progress: Callable[[int, str], AbstractContextManager],
) -> tuple[int, int, int]:  # fmt: skip
    """Write what each tool takes, ``instructions.md`` and ``overlays/``.

    Args:
        predict: image, uint8 [H, W, 3] RGB -> panoptic map, integers [H, W], class * label_divisor + number, or
        negative.
        num_overlays: pictures of so many images at most.

    Returns:
        parts, clicks and seconds that the batch is expected to cost.
    """
    proposals: dict[str, Answer] = {}
    with progress(len(batch.images), f"Round {batch.number}: suggest") as bar:
        for index, image in enumerate(batch.images.values()):
            pixels = files.read_image(image.path)
            before = known_before(store, batch.number, image.image_id, image.size)
            answer = proposals[image.image_id] = proposal(predict(pixels), batch, image, before)
            if index < num_overlays:
                folder = batch.folder / "overlays"
                folder.mkdir(exist_ok=True)
                files.write_png(
                    folder / f"{image.image_id}.png", draw_asked(pixels, image.parts, answer.labels, batch.taxonomy)
                )
            bar.update()
    for tool in tools:
        folder = batch.folder / tool
        folder.mkdir(exist_ok=True)
        FORMATS[tool].write(batch, proposals, folder)
    files.atomic_write(batch.folder / "instructions.md", instructions(batch, list(tools), proposals).encode())
    return estimate(batch, proposals)


def proposal(panoptic: np.ndarray, batch: Batch, image: AskedImage, before: Answer) -> Answer:
    """A prediction as an answer about the image's parts.

    A thing that covers pixels of an instance of an earlier round has that one's number and centre, others get new ones.

    Args:
        panoptic: integers [H, W], class * label_divisor + number, negative where nothing is predicted.
        before: of :func:`.importing.known_before`.
    """
    taxonomy, asked = batch.taxonomy, image.parts > 0
    labels = np.where(panoptic >= 0, panoptic // taxonomy.label_divisor, UNANSWERED).astype(np.int32)
    numbers, centers = (
        _numbered(panoptic, taxonomy, asked, before) if batch.with_instances else (np.zeros_like(labels), {})
    )
    answer = Answer(labels, numbers, centers).within(asked)
    if batch.unit == "click":
        answer = Answer(*dominated(image.parts, answer), centers)
    kept = {
        (c, n)
        for c, n in set(zip(answer.labels[answer.numbers > 0].tolist(), answer.numbers[answer.numbers > 0].tolist()))
    }
    return Answer(answer.labels, answer.numbers, {key: center for key, center in centers.items() if key in kept})


def _numbered(panoptic: np.ndarray, taxonomy: Taxonomy, asked: np.ndarray, before: Answer) -> tuple[np.ndarray, dict]:
    """int32 [H, W] numbers of instances, and the centres of these."""
    numbers, centers = np.zeros(panoptic.shape, np.int32), {}
    free = int(before.numbers.max(initial=0))
    for value in np.unique(panoptic[asked & (panoptic >= 0)]).tolist():
        label, instance = divmod(value, taxonomy.label_divisor)
        if label not in taxonomy.thing_ids or not instance:
            continue
        mask = panoptic == value
        earlier = np.bincount(before.numbers[mask & (before.labels == label)])
        earlier[:1] = 0
        if earlier.any():
            number = int(earlier.argmax())
        else:
            number = free = free + 1
        numbers[mask] = number
        told = before.centers.get((label, number))
        centers[label, number] = told or tuple(map(float, ndimage.center_of_mass(mask)))
    return numbers, centers


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
    "is suggested, Z undoes. Save the answers at the end, and hand that file back.",
    "cvat": "Make a task with `cvat/labels.json` as its raw labels and the files of `images/`. Upload "
    "`cvat/annotations.xml` as CVAT 1.1. Correct the masks, and give each finished image the tag *done*. Export as "
    "*CVAT for images 1.1*.",
    "label-studio": "Serve the folder of this sheet as local files, and make a project with `label-studio/config.xml`. "
    "Import `label-studio/tasks.json`. Correct the brush marks and submit each image. Export as JSON.",
    "labelme": "Open the folder `labelme/` in labelme with `--labels labelme/labels.txt`. Correct the masks, set the "
    "flag *done* of each finished image, and save. Hand the JSON files back.",
    "coco": "`coco/panoptic.json` and `coco/panoptic/` are in COCO's panoptic format. Correct the segments in your "
    "tool, and hand both back.",
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
        f"Naming a part takes one click and {NAMING / 10:g} s. A part of several segments takes one for each, and one "
        f"click of {CLICKING / 10:g} s for every {BORDER_PIXELS_PER_CLICK} pixels of their borders. The times are "
        "those of Bearman et al. (ECCV 2016). The suggestions stand for the truth.", "",
    ]  # fmt: skip
    return "\n".join(lines)
