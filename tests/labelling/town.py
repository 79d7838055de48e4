"""Two small images with classes, things and a truth, and people who answer with it."""

import contextlib
from pathlib import Path

import numpy as np
import torch

from gbw_panoptic import files
from gbw_panoptic.active.acquisition import Acquisition, Settings
from gbw_panoptic.active.label_store import LabelStore
from gbw_panoptic.labelling.answer import Answer
from gbw_panoptic.labelling.batch import Batch, write_batch
from gbw_panoptic.structures.known_instances import KnownInstances
from gbw_panoptic.taxonomy import Taxonomy

TOWN = Taxonomy(
    "town", ("road", "sky & clouds", "car", "Füße <1>"), (1, 2, 3, 4), (False, False, True, True),
    ((90, 90, 90), (0, 90, 200), (200, 0, 0), (0, 200, 60)),
)  # fmt: skip
SIZES = {"a": (30, 41), "b": (26, 32)}


class Bar:
    def update(self):
        pass


def progress(total, title):
    return contextlib.nullcontext(Bar())


def truth(image_id: str) -> tuple[np.ndarray, KnownInstances]:
    """A ring with a hole, a pixel of its own, two cars that touch, one at the border, void, a crowd."""
    height, width = SIZES[image_id]
    labels, numbers = np.zeros((height, width), np.uint8), np.zeros((height, width), np.int32)
    labels[: height // 2] = 1
    labels[:, :3] = 255
    for number, (label, box) in enumerate(
        [(2, np.s_[10:20, 8:15]), (2, np.s_[10:20, 15:22]), (3, np.s_[20:, 24:]), (3, np.s_[2:3, 30:31])], start=1
    ):
        labels[box], numbers[box] = label, number
    labels[13:16, 10:13], numbers[13:16, 10:13] = 1, 0
    labels[:2, 4:9] = 2  # a crowd: a thing without an instance
    centers = np.array([np.argwhere(numbers == n).mean(0) for n in range(1, 5)]) + 0.1
    return labels, KnownInstances(numbers, centers, np.array([2, 2, 3, 3]))


def records(folder: Path) -> list[dict]:
    """Images in the colours of their truth, with noise."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for image_id, size in SIZES.items():
        labels, _ = truth(image_id)
        noise = np.random.default_rng(len(image_id)).integers(0, 20, (*size, 3))
        colors = np.array([*TOWN.colors, (0, 0, 0)])[np.minimum(labels, 4)]
        files.write_png(folder / f"{image_id}.png", np.clip(colors + noise, 0, 255).astype(np.uint8))
        found.append({"file_name": str(folder / f"{image_id}.png"), "image_id": image_id})
    return found


def predict(asked):
    """The truth's classes, blurred and shifted."""
    for record in asked:
        labels = np.minimum(np.roll(truth(record["image_id"])[0], 1, axis=1), 3)
        one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels.astype(np.int64)), 4).permute(2, 0, 1).float()
        blurred = torch.nn.functional.avg_pool2d(one_hot[None], 5, stride=1, padding=2, count_include_pad=False)[0]
        yield (blurred + 0.05) / (blurred + 0.05).sum(0)


def acquisition(
    folder: Path, images: list[dict], *, settings: Settings, budget: str, panoptic: bool, oracle: bool
) -> Acquisition:
    store = LabelStore(folder, TOWN.names, settings.shape, with_instances=panoptic)
    return Acquisition(
        store=store, records=images, settings=settings, budget=budget, rounds=2, progress=progress,
        truth=(lambda record: truth(record["image_id"])[0]) if oracle else None,
        instances=(lambda record: truth(record["image_id"])[1]) if oracle and panoptic else None,
    )  # fmt: skip


def ask(humans: Acquisition, number: int) -> Batch:
    humans.choose(number, predict)
    facts = {"allowed": humans.allowed(number), "facts": humans.facts()}
    return write_batch(humans.store, number, humans.records, TOWN, **facts)


def truthful(batch: Batch) -> dict[str, Answer]:
    """What somebody says who knows the truth."""
    answers = {}
    for image_id, image in batch.images.items():
        labels, instances = truth(image_id)
        numbers = instances.numbers if batch.with_instances else np.zeros_like(instances.numbers)
        keys = zip(instances.classes.tolist(), range(1, 5))
        centers = dict(zip(keys, map(tuple, instances.centers.tolist()))) if batch.with_instances else {}
        whole = Answer(np.minimum(labels, 4).astype(np.int32), numbers, centers)
        answers[image_id] = whole.within(image.parts > 0)
    return answers


def bought(folder: Path) -> dict[str, bytes]:
    """All files of labels and instances."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for kind in ("labels", "instances")
        for p in sorted(folder.glob(f"{kind}/*"))
    }
