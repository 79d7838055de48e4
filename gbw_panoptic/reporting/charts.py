"""Curves over iterations as the coordinates of an SVG, which the page's style colours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Series = tuple[Sequence[float], Sequence[float]]
WIDTH, HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 28
_MOST_POINTS = 400
_FEW_TICKS, _WIDE = 5, 20


def chart(
    title: str,
    lines: Mapping[str, Sequence[Series]],
    numbers: Mapping[str, int],
    *,
    levels: Mapping[str, float] | None = None,
    logarithmic: bool = False,
) -> dict:
    """One chart.

    Args:
        lines: name -> series (iterations, values), one per run; the mean is drawn, each of several faintly behind it.
        numbers: name -> number of its colour.
        levels: name -> value of a dashed line across.
        logarithmic: vertical axis, where all values are positive and differ widely.

    Returns:
        ``title``, ``lines`` (each ``name``, ``number``, ``path``, ``faint`` paths, ``points`` [[x, y, iteration,
        value]]), ``levels``, ``x_ticks``, ``y_ticks`` ([place, text]) and the edges of the plot.
    """
    finite = {name: [_finite(series) for series in several] for name, several in lines.items()}
    levels = levels or {}
    frame = _Frame.around([s for several in finite.values() for s in several], list(levels.values()), logarithmic)
    return {
        "title": title,
        "lines": [_line(frame, name, numbers[name], several) for name, several in finite.items()],
        "levels": [{"name": name, "y": frame.y_of(value)} for name, value in levels.items()],
        "x_ticks": [(frame.x_of(value), _text(value)) for value in frame.x_ticks],
        "y_ticks": [(frame.y_of(value), _text(value)) for value in frame.y_ticks],
        "left": _LEFT, "right": WIDTH - _RIGHT, "top": _TOP, "bottom": HEIGHT - _BOTTOM,
        "width": WIDTH, "height": HEIGHT,
    }  # fmt: skip


@dataclass(frozen=True)
class _Frame:
    """From iterations and values to places in the SVG.

    Attributes:
        x_ends: iterations at the left and the right end.
        y_ticks: values at the axis's ticks, the ends among them.
    """

    x_ends: tuple[float, float]
    y_ticks: Sequence[float]
    logarithmic: bool

    @classmethod
    def around(cls, several: Sequence[Series], levels: Sequence[float], logarithmic: bool) -> "_Frame":
        """All that is drawn, with 0 where the axis is linear."""
        values = [*(y for _, values in several for y in values), *levels]
        logarithmic = logarithmic and min(values, default=0) > 0 and max(values) > _WIDE * min(values)
        ticks = _log_ticks(values) if logarithmic else _ticks(min([*values, 0]), max([*values, 0]) or 1)
        return cls(_range([x for iterations, _ in several for x in iterations]), ticks, logarithmic)

    @property
    def x_ticks(self) -> list[float]:
        low, high = self.x_ends
        return [tick for tick in _ticks(low, high) if low <= tick <= high]

    def x_of(self, value: float) -> float:
        low, high = self.x_ends
        return round(_LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT), 1)

    def y_of(self, value: float) -> float:
        low, high, at = self.y_ticks[0], self.y_ticks[-1], value
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return round(HEIGHT - _BOTTOM - (at - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)

    def path(self, series: Series) -> str:
        return " ".join(f"{'ML'[i > 0]}{self.x_of(x)},{self.y_of(y)}" for i, (x, y) in enumerate(zip(*series)))


def _line(frame: _Frame, name: str, number: int, several: Sequence[Series]) -> dict:
    mean = _thinned(_mean(several))
    return {
        "name": name,
        "number": number,
        "path": frame.path(mean),
        "faint": [frame.path(_thinned(series)) for series in several] if len(several) > 1 else [],
        "points": [[frame.x_of(x), frame.y_of(y), x, round(y, 4)] for x, y in zip(*mean)],
    }


def _finite(series: Series) -> Series:
    pairs = [(x, y) for x, y in zip(*series) if math.isfinite(y)]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _mean(several: Sequence[Series]) -> Series:
    """Mean of what was logged, iteration by iteration."""
    values: dict[float, list[float]] = {}
    for iterations, series in several:
        for iteration, value in zip(iterations, series):
            values.setdefault(iteration, []).append(value)
    return sorted(values), [sum(values[x]) / len(values[x]) for x in sorted(values)]


def _thinned(series: Series) -> Series:
    """Means of neighbours, so that a page stays small."""
    iterations, values = series
    step = -(-len(iterations) // _MOST_POINTS) or 1
    starts = range(0, len(iterations), step)
    pieces = [(iterations[i : i + step], values[i : i + step]) for i in starts]
    return [x[-1] for x, _ in pieces], [sum(y) / len(y) for _, y in pieces]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0), max(values, default=1)
    return (low, high) if high > low else (low - 1, high + 1)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, the first at most ``low`` and the last at least ``high``."""
    step = _round_step((high - low) / (_FEW_TICKS - 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))


def _log_ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times powers of ten around the values, fewer where there are many decades."""
    low, high = min(values, default=1), max(values, default=1)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if len(decades) > 4 else (1, 2, 5)
    candidates = [factor * 10.0**power for power in decades for factor in factors]
    below = [tick for tick in candidates if tick <= low * (1 + 1e-9)][-1:] or [low]
    above = [tick for tick in candidates if tick >= high * (1 - 1e-9)][:1] or [high]
    ticks = sorted({*below, *(tick for tick in candidates if low < tick < high), *above})
    return ticks if len(ticks) > 1 else [ticks[0], ticks[0] * 10]


def _text(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"
