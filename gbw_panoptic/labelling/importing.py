"""What humans have answered goes into the store of bought labels.

    <store>/answers/<round>/by/<annotator>/<image_id>.npz    what somebody has said, all imports together
    <store>/answers/<round>/<image_id>.npz                   all instances of the image that are known after the round

Answers are written before the labels that they buy, all of it atomically, and importing the same answers again changes
nothing: after a kill, the same command goes on.

Shape legend: H x W pixels, C classes.
"""

import io
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..active.label_store import LabelStore
from ..active.units import dominant
from ..errors import UserError
from ..structures.known_instances import ARRAY_DAMAGE
from .answer import UNANSWERED, Answer
from .batch import AskedImage, Batch
from .merging import Agreement, agreement, merged, preferred


@dataclass
class Report:
    """What an import has done.

    Attributes:
        answered, asked: parts, over all images of the batch.
        outside: pixels that were answered though nobody asked for them, and were left out.
        agreements: of pairs of annotators.
        undecided: pixels on which no majority agrees.
        entry: of the round in the manifest; None while it is open.
    """

    answered: int = 0
    asked: int = 0
    outside: int = 0
    undecided: int = 0
    agreements: dict[tuple[str, str], Agreement] = field(default_factory=dict)
    entry: dict[str, Any] | None = None


def keep_answers(store: LabelStore, batch: Batch, answers: Mapping[str, Mapping[str, Answer]]) -> int:
    """Write down what annotators say, over what they have said before; pixels that nobody asked for are dropped.

    Returns:
        the number of these pixels.
    """
    outside = 0
    for annotator, by_image in answers.items():
        for image_id, answer in by_image.items():
            asked = batch.images[image_id].parts > 0
            outside += int((answer.answered & ~asked).sum())
            path = _said_path(store, batch.number, annotator, image_id)
            before = _load(path, asked.shape) if path.exists() else Answer.nothing(asked.shape)
            path.parent.mkdir(parents=True, exist_ok=True)
            _save(path, answer.within(asked).over(before))
    return outside


def merge_answers(store: LabelStore, batch: Batch, *, prefer: str | None = None, close: bool = False) -> Report:
    """Buy what has been answered of the batch's round; end the round once all of it is, or now.

    Args:
        prefer: the annotator whose answers count wherever there are some.
        close: parts that nobody has begun are given back, the rest of parts that somebody has begun counts as void.

    Raises:
        UserError: the round is not the open one, or nothing was answered.
    """
    store.check_round(batch.number)
    annotators = annotators_of(store, batch.number)
    if prefer is not None and prefer not in annotators:
        raise UserError(
            f"--prefer: expected one of {', '.join(annotators) or 'no annotators yet'}, found {prefer!r}; correct "
            f"the name"
        )
    if close and not any(
        answer.answered.any() for image in batch.images.values() for answer in _said(store, batch, image).values()
    ):
        raise UserError(
            f"expected answers for round {batch.number} in {store.folder}, found none; import some before you close it"
        )
    report = Report()
    bought = [_merge_image(store, batch, image, annotators, prefer, close, report) for image in batch.images.values()]
    if report.answered and (close or report.answered == report.asked):
        counts, clicks, tenths = (sum(values) for values in zip(*bought))
        measure = batch.facts.get("measure", "pixels")
        cost = (
            int(counts.sum()) if measure == "pixels" else sum(store.planned_cost(batch.number, i) for i in batch.images)
        )
        facts = {**batch.facts, "clicks": clicks, "seconds": tenths / 10, "annotators": len(annotators)}
        report.entry = store.finish(batch.number, counts, cost=cost, allowed=batch.allowed, settings=facts)
    return report


def annotators_of(store: LabelStore, number: int) -> list[str]:
    """Those who have answered in a round, by name."""
    return sorted(path.name.removeprefix("-") for path in (store.folder / "answers" / str(number) / "by").glob("*"))


def _said(store: LabelStore, batch: Batch, image: AskedImage) -> dict[str, Answer]:
    """Annotator -> what that one has said about an image."""
    paths = {name: _said_path(store, batch.number, name, image.image_id) for name in annotators_of(store, batch.number)}
    return {name: _load(path, image.size) for name, path in paths.items() if path.exists()}


def _merge_image(
    store: LabelStore,
    batch: Batch,
    image: AskedImage,
    annotators: list[str],
    prefer: str | None,
    close: bool,
    report: Report,
) -> tuple[np.ndarray, int, int]:
    """Pixels of each class that were bought, void last, and clicks and tenths of seconds that they are worth."""
    number, image_id, asked = batch.number, image.image_id, image.parts > 0
    answers = _said(store, batch, image)
    for pair in itertools.combinations(answers, 2):
        found = agreement(*(answers[name] for name in pair), len(batch.names))
        report.agreements[pair] = report.agreements[pair] + found if pair in report.agreements else found
    before = known_before(store, number, image_id, image.size)
    answer = Answer.nothing(image.size)
    if answers:
        known = frozenset(_keys(before))
        merge = merged if prefer is None else lambda *parts: preferred(*parts, prefer)
        answer = merge(answers, annotators, batch.void, known)
        if len(answers) > 1:
            report.undecided += int(((answer.labels == batch.void) & ~_any_void(answers, batch.void) & asked).sum())
    answer, complete = _completed(store, image, answer, close=close)
    if close:
        store.keep_picks(number, image_id, np.flatnonzero(complete))
        complete = complete[complete]
    report.asked += len(complete)
    report.answered += int(complete.sum())
    region = answer.answered
    instances = None
    if store.with_instances and region.any():
        whole = Answer(np.where(region, answer.labels, before.labels), np.where(region, answer.numbers, before.numbers),
                       {**answer.centers, **before.centers}).with_centers(batch.void)  # fmt: skip
        _save(_known_path(store, number, image_id), whole)  # the centres, too: a later round must not move them
        instances = whole.instances(batch.void)
    counts = store.buy(number, image_id, answer.labels.astype(np.int64) % (1 << 16), instances, answered=region)
    return counts, *store.effort(number, image_id, image.size)


def _completed(store: LabelStore, image: AskedImage, answer: Answer, *, close: bool) -> tuple[Answer, np.ndarray]:
    """The answer about whole parts alone, and for each part, bool [K], whether it is whole."""
    if store.shape.dominant:
        answer = Answer(*dominated(image.parts, answer), answer.centers)
    asked = np.bincount(image.parts.ravel(), minlength=image.count + 1)[1:]
    done = np.bincount(image.parts[answer.answered], minlength=image.count + 1)[1:]
    complete = (done > 0) if close else (done == asked)
    region = np.concatenate([[False], complete])[image.parts]
    labels = np.where(region & ~answer.answered, len(store.class_names), answer.labels)
    return Answer(labels.astype(np.int32), answer.numbers, answer.centers).within(region), complete


def dominated(parts: np.ndarray, answer: Answer) -> tuple[np.ndarray, np.ndarray]:
    """Labels and numbers with what most of the answered pixels of a part have, for all of it."""
    segments = answer.labels.astype(np.int64) * (1 << 32) + answer.numbers
    filled, _ = dominant(parts, segments, None, known=answer.answered & (parts > 0))
    filled = np.where(parts > 0, filled, segments)
    return (filled >> 32).astype(np.int32), (filled & 0xFFFFFFFF).astype(np.int32)


def known_before(store: LabelStore, number: int, image_id: str, size: tuple[int, int]) -> Answer:
    """What earlier rounds tell of an image's instances, by the numbers that humans gave them."""
    if not store.with_instances:
        return Answer.nothing(size)
    for earlier in range(number - 1, 0, -1):
        path = _known_path(store, earlier, image_id)
        if path.exists():
            return _load(path, size)
    instances = store.read_instances(image_id, size)
    numbers = instances.numbers
    labels = np.concatenate([[UNANSWERED], instances.classes]).astype(np.int32)[numbers]
    keys = zip(instances.classes.tolist(), range(1, len(instances.classes) + 1))
    return Answer(labels, numbers, dict(zip(keys, map(tuple, instances.centers.tolist()))))


def _keys(answer: Answer) -> set[tuple[int, int]]:
    """(Class, number) of the instances."""
    things = answer.numbers > 0
    return set(map(tuple, np.unique(np.stack([answer.labels[things], answer.numbers[things]], 1), axis=0).tolist()))


def _any_void(answers: Mapping[str, Answer], void: int) -> np.ndarray:
    return np.any([answer.labels == void for answer in answers.values()], axis=0)


def _said_path(store: LabelStore, number: int, annotator: str, image_id: str) -> Path:
    try:
        name = files.safe_file_name(f"-{annotator}")
    except ValueError as error:
        raise UserError(f"--annotator: expected a name that can be a folder's, found {error}; choose another") from None
    if "/" in name or "\\" in name:
        raise UserError(f"--annotator: expected a name that can be a folder's, found {annotator!r}; choose another")
    return store.folder / "answers" / str(number) / "by" / name / f"{image_id}.npz"


def _known_path(store: LabelStore, number: int, image_id: str) -> Path:
    return store.folder / "answers" / str(number) / f"{image_id}.npz"


def _save(path: Path, answer: Answer) -> None:
    data = io.BytesIO()
    keys = np.array(sorted(answer.centers), np.int64).reshape(-1, 2)
    centers = np.array([answer.centers[key] for key in sorted(answer.centers)], np.float64).reshape(-1, 2)
    np.savez_compressed(data, labels=answer.labels, numbers=answer.numbers, keys=keys, centers=centers)
    files.atomic_write(path, data.getvalue())


def _load(path: Path, size: tuple[int, int]) -> Answer:
    try:
        with np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False) as arrays:
            labels, numbers, keys, centers = (arrays[name] for name in ("labels", "numbers", "keys", "centers"))
    except ARRAY_DAMAGE as error:
        raise UserError(
            f"expected answers in {path}, found a damaged file ({' '.join(str(error).split())}); import them again"
        ) from None
    if labels.shape != size or numbers.shape != size or len(keys) != len(centers):
        raise UserError(
            f"expected answers for {size[0]}x{size[1]} pixels in {path}, found {labels.shape}; import them again"
        )
    return Answer(labels, numbers, dict(zip(map(tuple, keys.tolist()), map(tuple, centers.tolist()))))
