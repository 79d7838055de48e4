"""Names in metrics.json, each made and read here alone.

========================================== ===========================================================================
``<branch>/loss_<loss>``                   a loss: ``source/loss_sem_seg``, ``mixed/loss_center``, ...
``pseudo_labels/<value>``                  how good a teacher's labels are
``gbw/<branch>/<head>/<kind>/<class>``     of a class weighting; kind is one of :data:`KINDS`
``gbw/<branch>/<head>/skipped``            updates whose class gradients were not finite
``<model>/<task>/<protocol>/<metric>``     a score; model is ``student`` or ``teacher``; per class with ``/<class>``
``unsupervised/<model>/<estimator>``       an estimate of the score without labels; per class with ``/<class>``
========================================== ===========================================================================
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

_WEIGHTING, _ESTIMATES = "gbw/", "unsupervised/"
#: What a class weighting logs of each class: its weight, its gradient, its share of the pixels that take part.
KINDS = ("weight", "gradient", "share")
_CLASS_SCALAR = re.compile(rf"{_WEIGHTING}(?P<place>[^/]+/[^/]+)/(?P<kind>[^/]+)/(?P<name>.+)")
#: pseudo_labels/loss_ratio is none
_LOSS = re.compile(r"^(total_loss|(?!pseudo_labels/).*/loss_[^/]+|loss_[^/]+)$")


class ClassScalar(NamedTuple):
    """A number of one class; ``place`` is ``<branch>/<head>``."""

    place: str
    kind: str
    class_name: str

    def __str__(self) -> str:
        return f"{_WEIGHTING}{self.place}/{self.kind}/{self.class_name}"


def class_scalar(name: str) -> ClassScalar | None:
    """The class scalar that a name in metrics.json stands for; None for other names."""
    match = _CLASS_SCALAR.fullmatch(name)
    return ClassScalar(*match.groups()) if match else None


def skipped(place: str) -> str:
    """Name of the number of skipped updates of ``<branch>/<head>``."""
    return f"{_WEIGHTING}{place}/skipped"


def score(model: str, task: str, protocol: str, metric: str) -> str:
    """Name of a score."""
    return f"{model}/{task}/{protocol}/{metric}"


def is_loss(name: str) -> bool:
    """Whether it is a term of the loss, or the total."""
    return bool(_LOSS.match(name))


def is_score(name: str) -> bool:
    """Whether it is a score: no other names have as many parts but those of class weightings and of estimates."""
    return name.count("/") >= 3 and not name.startswith((_WEIGHTING, _ESTIMATES))


def estimate(model: str, estimator: str) -> str:
    """Name of an estimate of the score; ``<estimator>/<class>`` of one class."""
    return f"{_ESTIMATES}{model}/{estimator}"


def estimates(line: Mapping[str, float], model: str) -> dict[str, float]:
    """Those of a model in a line of metrics.json, by estimator, and of classes by ``<estimator>/<class>``."""
    start = estimate(model, "")
    return {name.removeprefix(start): value for name, value in line.items() if name.startswith(start)}


def is_estimate(name: str) -> bool:
    """Whether it is an estimate of the score, made without labels."""
    return name.startswith(_ESTIMATES)
