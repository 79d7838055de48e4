"""Answers of several people as one, and how far they agree.

Shape legend: H x W pixels, A annotators, L labels (classes and void).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .answer import UNANSWERED, Answer


@dataclass(frozen=True)
class Agreement:
    """Of two people, over the pixels that both have answered: ``pixels`` [L, L], the first one's labels in rows."""

    pixels: np.ndarray

    @property
    def share(self) -> float:
        """Of equal labels; NaN where nothing was answered twice."""
        total = self.pixels.sum()
        return float(np.trace(self.pixels) / total) if total else float("nan")

    @property
    def kappa(self) -> float:
        """Cohen's: 0 = as by chance, 1 = all equal; NaN where one label is all there is."""
        total = self.pixels.sum()
        chance = float((self.pixels.sum(0) * self.pixels.sum(1)).sum() / total**2) if total else 1.0
        return (self.share - chance) / (1 - chance) if chance < 1 else float("nan")

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(self.pixels + other.pixels)


def agreement(one: Answer, other: Answer, num_labels: int) -> Agreement:
    """Of two answers about an image."""
    both = one.answered & other.answered
    pairs = one.labels[both].astype(np.int64) * num_labels + other.labels[both]
    return Agreement(np.bincount(pairs, minlength=num_labels**2).reshape(num_labels, num_labels))


def merged(
    answers: Mapping[str, Answer], order: Sequence[str], void: int, known: frozenset[tuple[int, int]] = frozenset()
) -> Answer:
    """What more than half of those say who answered for a pixel; without such a majority, void.

    Args:
        order: of the annotators: of equal answers the first one's instance counts. One that is listed first alone, the
            others being absent, decides by itself.
        known: (class, number) of instances of earlier rounds, which all annotators call so.
    """
    names = [name for name in order if name in answers]
    first = answers[names[0]]
    if len(names) == 1:
        return first
    aligned = [first, *(_aligned(answers[name], first, known) for name in names[1:])]
    labels = np.stack([answer.labels for answer in aligned])
    voters = (labels != UNANSWERED).sum(0)
    votes = np.stack([((labels == label) & (label != UNANSWERED)).sum(0) for label in labels])
    best = votes.argmax(0)
    winner = np.take_along_axis(labels, best[None], 0)[0]
    clear = 2 * np.take_along_axis(votes, best[None], 0)[0] > voters
    numbers = np.take_along_axis(np.stack([answer.numbers for answer in aligned]), best[None], 0)[0]
    centers = {key: value for answer in reversed(aligned) for key, value in answer.centers.items()}
    return Answer(
        np.where(voters == 0, UNANSWERED, np.where(clear, winner, void)).astype(np.int32),
        np.where(clear, numbers, 0).astype(np.int32), centers,
    )  # fmt: skip


def preferred(
    answers: Mapping[str, Answer], order: Sequence[str], void: int, known: frozenset[tuple[int, int]], name: str
) -> Answer:
    """As :func:`merged`, but where annotator ``name`` has answered, that counts."""
    order = [name, *(other for other in order if other != name)]
    rest = merged(answers, order, void, known)
    return answers[name].over(rest) if name in answers else rest


def _aligned(answer: Answer, first: Answer, known: frozenset[tuple[int, int]]) -> Answer:
    """``answer`` with the numbers of ``first`` for instances that overlap it in class and place; others get free
    ones."""
    numbers, renamed = answer.numbers.copy(), {}
    free = int(max(first.numbers.max(initial=0), answer.numbers.max(initial=0), *(n for _, n in known), 0))
    taken: set[tuple[int, int]] = set(known)
    things = answer.numbers > 0
    for label, number in np.unique(np.stack([answer.labels[things], answer.numbers[things]], 1), axis=0).tolist():
        if (label, number) in known:
            continue
        own = (answer.labels == label) & (answer.numbers == number)
        over = np.bincount(first.numbers[own & (first.labels == label)])
        over[:1] = 0
        new = int(over.argmax()) if over.any() and (label, int(over.argmax())) not in taken else None
        if (
            new is None
            and not ((first.labels == label) & (first.numbers == number)).any()
            and (label, number) not in taken
        ):
            new = number
        if new is None:
            free += 1
            new = free
        taken.add((label, new))
        numbers[own] = new
        renamed[label, number] = (label, new)
    return Answer(answer.labels, numbers, {renamed.get(key, key): center for key, center in answer.centers.items()})
