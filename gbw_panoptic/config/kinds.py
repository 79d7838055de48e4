"""What a configuration value may be: one :class:`Kind` checks it, words the refusal and documents it; a :class:`Key` is
a row of the table of keys."""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Sizes, counts and iterations; torch's and NumPy's 32-bit indices and seeds hold as much.
MAX_INTEGER = 2**31 - 1
_SHOWN = 80  # characters of a value in a sentence


@dataclass(frozen=True)
class Kind:
    """A type with its range or list.

    Attributes:
        wording: a noun phrase, e.g. "a number above 0"; a function where it changes with what is registered.
        accepts: whether a value is one; of a list: its container and length.
        element: what each entry of a list must be.
        remedy: what to do about another value.
        hints: what to do about values that belong elsewhere.
    """

    wording: str | Callable[[], str]
    accepts: Callable[[Any], bool]
    element: "Kind | None" = None
    remedy: str = "correct the value"
    hints: Mapping[Any, str] = field(default_factory=dict)

    @property
    def expected(self) -> str:
        """The noun phrase as it is now."""
        return self.wording() if callable(self.wording) else self.wording

    def advice(self, value: Any) -> str:
        """What to do about ``value``, which does not fit."""
        return self.hints.get(value, self.remedy) if isinstance(value, str) else self.remedy

    def fault(self, value: Any) -> str | None:
        """What is wrong with ``value``, to stand behind "found"; None where it fits."""
        if not self.accepts(value):
            return shown(value)
        return next(filter(None, map(self.element.fault, value)), None) if self.element else None


def shown(value: Any) -> str:
    """``value`` in a sentence: one line, not too long."""
    text = repr(value)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"{text} (beyond {MAX_INTEGER})" if type(value) is int and abs(value) > MAX_INTEGER else text


def number(
    what: str = "a number",
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    unit: str = "",
    infinite: bool = False,
) -> Kind:
    """A finite number (or integer) in a range; ``low`` and ``high`` belong to it, ``above`` and ``below`` do not."""

    def accepts(value: Any) -> bool:
        if type(value) not in (int, float) or not (abs(value) <= 2.0**63 or infinite and value == math.inf):
            return False
        return _within(value, low, above, high, below)

    return Kind(_phrase(what, low, above, high, below) + unit, accepts)


def integer(
    what: str = "an integer",
    *,
    low: int | None = None,
    high: int | None = None,
    unit: str = "",
    only: Callable[[int], bool] = lambda value: True,
) -> Kind:
    """An integer within bounds, :data:`MAX_INTEGER` among them; ``only``: what else ``what`` says."""

    def accepts(value: Any) -> bool:
        fits = type(value) is int and abs(value) <= MAX_INTEGER and _within(value, low, None, high, None)
        return fits and only(value)

    return Kind(_phrase(what, low, None, high, None) + unit, accepts)


def share(what: str = "a share") -> Kind:
    """A number in 0..1, both included."""
    return number(what, low=0, high=1)


def switch() -> Kind:
    """True or False."""
    return Kind("True or False", lambda value: type(value) is bool)


def switch_or_auto() -> Kind:
    """True, False or auto: what the device is good at."""
    return Kind("True, False or auto", lambda value: type(value) is bool or value == "auto")


def choice(*names: str | int, hints: Mapping[str, str] | None = None) -> Kind:
    """One of a list of names or integers."""
    return Kind(
        f"one of {', '.join(str(name) or 'the empty string' for name in names)}",
        lambda value: type(value) in (str, int) and value in names,
        remedy="set it to one of them",
        hints=hints or {},
    )


def registered(names: Callable[[], Collection[str]], hints: Mapping[str, str] | None = None) -> Kind:
    """One of what is registered under a name at the moment, by this project or by its user."""
    return Kind(
        lambda: f"one of {', '.join(names())}",
        lambda value: isinstance(value, str) and value in names(),
        remedy="set it to one of them, or register it first",
        hints=hints or {},
    )


def text(what: str = "a text", *, empty: bool = True, pattern: str = "") -> Kind:
    """A string that a file system and a log can take; ``pattern``: a regular expression for all of it."""

    def accepts(value: Any) -> bool:
        if not isinstance(value, str) or "\0" in value or not (value.strip() or empty):
            return False
        return not pattern or re.fullmatch(pattern, value) is not None

    return Kind(what, accepts)


def listing(
    element: Kind, *, length: int | None = None, least: int = 0, distinct: bool = False, rising: bool = False
) -> Kind:
    """A list or tuple of ``element``s; ``rising``: each larger than the one before."""
    order = "rising " if rising else "different " if distinct else ""
    size = f"{length} " if length else "one or more " if least else ""
    expected = f"a list of {size}{order}values, each {element.expected}"

    def accepts(value: Any) -> bool:
        if not isinstance(value, (list, tuple)) or len(value) < least or length not in (None, len(value)):
            return False
        fits = not any(map(element.fault, value))
        repeats = fits and distinct and len(set(value)) < len(value)
        return not (fits and rising and list(value) != sorted(set(value)) or repeats)

    return Kind(expected, accepts, element, remedy=f"give a list, such as {_example(element, length)}")


def _example(element: Kind, length: int | None) -> str:
    """A list that shows how one is written."""
    candidates = (1, 0.5, True, "...", "res5", "source", "19", "cityscapes_uda_panoptic_val", 0, 50)
    one = next((value for value in candidates if element.fault(value) is None), 1)
    return repr((one,) * (length or 1))


def _within(value: float, low: float | None, above: float | None, high: float | None, below: float | None) -> bool:
    return (
        (low is None or value >= low)
        and (above is None or value > above)
        and (high is None or value <= high)
        and (below is None or value < below)
    )


def _phrase(what: str, low: float | None, above: float | None, high: float | None, below: float | None) -> str:
    if low is not None and high is not None:
        return f"{what} in {low}..{high}"
    first = f"[{low}" if low is not None else f"({above}" if above is not None else ""
    last = f"{high}]" if high is not None else f"{below})" if below is not None else ""
    if first and last:
        return f"{what} in {first}, {last}"
    if first:
        return f"{what} of at least {low}" if low is not None else f"{what} above {above}"
    return f"{what} of at most {high}" if high is not None else f"{what} below {below}" if below is not None else what


#: The default of a key that the host declares, where this project keeps the host's.
HOSTS = object()


@dataclass(frozen=True)
class Key:
    """One configuration key, declared once.

    Attributes:
        name: with its sections, e.g. "GBW.LAMBDA".
        kind: what its values may be.
        text: what it does, in a sentence or two, with the source of its default; in docs/configuration.md.
        default: :data:`HOSTS` for that of Detectron2 or its Panoptic-DeepLab.
    """

    name: str
    kind: Kind
    text: str
    default: Any = HOSTS

    def problem(self, value: Any, where: str = "") -> str | None:
        """One sentence about ``value``, found in ``where``; None where it fits."""
        found = self.kind.fault(value)
        if found is None:
            return None
        place = f" in {where}" if where else ""
        return f"{self.name}: expected {self.kind.expected}, found {found}{place}; {self.kind.advice(value)}."


def value_of(cfg, key: str) -> Any:
    """Of ``key`` with its sections, e.g. "GBW.LAMBDA"."""
    value = cfg
    for name in key.split("."):
        value = value[name]
    return value


def refusal(cfg, key: str, expected: str, remedy: str) -> str:
    """The sentence about the value of ``key``: what was expected, what was found, what to do."""
    return f"{key}: expected {expected}, found {shown(value_of(cfg, key))}; {remedy}."
