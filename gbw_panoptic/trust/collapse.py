"""Signs of a training that collapses, in what its model predicts for images without labels.

The bounds are ours: wide enough for sound runs, in which shares and agreement move, too (docs/no_labels.md).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .estimators import divergence

#: One class with more of all pixels than this, or than so many times its share of the source where that is more.
MOST_SHARE = 0.8
#: A class is missed if it once had the first share, has as much in the source, and now has the second part of that.
LEAST_SHARE, DEAD = 0.01, 0.02
#: Divergence of class shares from the source's: at least so much, and so much above the least that was seen.
DRIFT, RISE = 0.15, 0.1
#: Points of mIoU by which student and teacher part from their closest.
PARTED = 20.0
#: Points by which confidence has risen, and agreement of views has fallen, since some earlier evaluation.
SURER, LESS_AGREED = 2.0, 8.0
#: Points by which predictions say less of the image: what is known of a pixel's class above the mean over all.
FADED = 4.0


@dataclass(frozen=True)
class Snapshot:
    """Of a model at an evaluation.

    Attributes:
        shares: class -> share of predicted pixels, 0..1.
        confidence: mean, percent; None where the outputs were not finite.
        views: mIoU of two views, percent.
        teacher: mIoU with its teacher (or student), percent; None without.
        information: entropy of the mean prediction less the mean entropy, percent; None where it was not finite.
    """

    iteration: int
    shares: Mapping[str, float]
    confidence: float | None
    views: float
    teacher: float | None = None
    information: float | None = None

    @classmethod
    def of(cls, iteration: int, values: Mapping[str, float]) -> "Snapshot":
        """From what is logged behind ``unsupervised/<model>/``."""
        shares = {name.split("/", 1)[1]: value / 100 for name, value in values.items() if name.startswith("shares/")}
        views, teacher = values.get("view_mIoU", 0.0), values.get("teacher_mIoU")
        return cls(iteration, shares, values.get("confidence"), views, teacher, values.get("information"))


class Watch:
    """Tells each sign of a run's models once."""

    def __init__(self, source: Mapping[str, float] | None) -> None:
        """
        Args:
            source: class -> share of the source's labels, 0..1; None where they are not known.
        """
        self._source = source
        self._history: dict[str, list[Snapshot]] = {}
        self._told: set[tuple[str, str]] = set()

    def take(self, model: str, iteration: int, values: Mapping[str, float]) -> list[str]:
        """Signs that the estimates of an evaluation add; nothing for an iteration that was taken before.

        Args:
            model: ``student`` or ``teacher``.
            values: what is logged behind ``unsupervised/<model>/``; may be empty.
        """
        history = self._history.setdefault(model, [])
        if not values or (history and history[-1].iteration >= iteration):
            return []
        history.append(Snapshot.of(iteration, values))
        found = [sign for sign in signs(history, self._source) if (model, _kind(sign)) not in self._told]
        self._told.update((model, _kind(sign)) for sign in found)
        return found


def _kind(sign: str) -> str:
    """A sign without its numbers, which are others each time."""
    return "".join(character for character in sign if not character.isdigit())


def signs(history: Sequence[Snapshot], source: Mapping[str, float] | None = None) -> list[str]:
    """What is wrong with the last snapshot, each as a clause: nothing in a sound run.

    Args:
        history: of one model, in order.
        source: class -> share of the source's labels, 0..1.
    """
    return [*_alone(history[-1], source or {}), *_in_time(history, source or {})]


def _alone(now: Snapshot, source: Mapping[str, float]) -> Iterator[str]:
    """What one snapshot shows."""
    if now.confidence is None or not math.isfinite(now.confidence):
        yield "its outputs are not finite"
        return
    name, share = max(now.shares.items(), key=lambda item: item[1])
    if share > max(MOST_SHARE, (1 + source.get(name, 0)) / 2):
        yield f"it predicts {name} for {100 * share:.0f} % of the pixels"


def _in_time(history: Sequence[Snapshot], source: Mapping[str, float]) -> Iterator[str]:
    """What the snapshots before show, too."""
    *before, now = history
    if not before or now.confidence is None:
        return
    earlier = {name: max(snapshot.shares.get(name, 0) for snapshot in before) for name in now.shares}
    for name, most in earlier.items():
        if min(most, source.get(name, most)) > LEAST_SHARE and now.shares[name] < DEAD * most:
            yield f"{name} dies ({100 * most:.1f} % of the pixels before, {100 * now.shares[name]:.2f} % now)"
    yield from _drift(before, now, source)
    closest = max((s.teacher for s in before if s.teacher is not None), default=None)
    if now.teacher is not None and closest is not None and now.teacher < closest - PARTED:
        yield f"student and teacher part (mIoU {closest:.0f} before, {now.teacher:.0f} now)"
    most = max((s.information for s in before if s.information is not None), default=None)
    if now.information is not None and most is not None and now.information < most - FADED:
        yield f"predictions differ less over the image (information {most:.0f} % before, {now.information:.0f} % now)"
    for then in before:
        surer = then.confidence is not None and now.confidence > then.confidence + SURER
        if surer and now.views < then.views - LESS_AGREED:
            yield (
                f"confidence rises ({then.confidence:.0f} to {now.confidence:.0f} %) while two views agree less (mIoU "
                f"{then.views:.0f} to {now.views:.0f})"
            )
            return


def _drift(before: Sequence[Snapshot], now: Snapshot, source: Mapping[str, float]) -> Iterator[str]:
    if not source:
        return
    names = list(source)
    truth = np.array([source[name] for name in names])
    found = [divergence(np.array([s.shares.get(name, 0) for name in names]), truth) for s in (*before, now)]
    if found[-1] > max(DRIFT, min(found[:-1]) + RISE):
        yield f"class shares drift from the source's (divergence {min(found[:-1]):.2f} before, {found[-1]:.2f} now)"
