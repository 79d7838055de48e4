"""Curves over iterations as the coordinates of an SVG, which the page's style colours."""

import math
from collections.abc import Mapping, Sequence

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
        ``title``, ``lines`` (each ``name``, ``number``, ``path``, ``faint`` paths, ``points`` [[x, y, iteration, value]]),
        ``levels``, ``x_ticks``, ``y_ticks`` ([place, text]) and the edges of the plot.
    """
    finite = {name: [_finite(series) for series in several] for name, several in lines.items()}
    means = {name: _thinned(_mean(several)) for name, several in finite.items()}
    xs = [x for several in finite.values() for iterations, _ in several for x in iterations]
    ys = [y for several in finite.values() for _, values in several for y in values] + list((levels or {}).values())
    logarithmic = logarithmic and min(ys, default=0) > 0 and max(ys) > _WIDE * min(ys)
    x_low, x_high = _range(xs)
    y_ticks = _log_ticks(ys) if logarithmic else _ticks(min([*ys, 0]), max([*ys, 0]) or 1)
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def x_of(value: float) -> float:
        return round(_LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT), 1)

    def y_of(value: float) -> float:
        low, high, at = (math.log(v) for v in (y_low, y_high, value)) if logarithmic else (y_low, y_high, value)
        return round(HEIGHT - _BOTTOM - (at - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)

    def path(series: Series) -> str:
        return " ".join(f"{'ML'[i > 0]}{x_of(x)},{y_of(y)}" for i, (x, y) in enumerate(zip(*series)))

    return {
        "title": title,
        "lines": [
            {
                "name": name, "number": numbers[name], "path": path(mean),
                "faint": [path(_thinned(series)) for series in finite[name]] if len(finite[name]) > 1 else [],
                "points": [[x_of(x), y_of(y), x, round(y, 4)] for x, y in zip(*mean)],
            }
            for name, mean in means.items()
        ],
        "levels": [{"name": name, "y": y_of(v), "number": numbers.get(name, 0)} for name, v in (levels or {}).items()],
        "x_ticks": [(x_of(v), _text(v)) for v in _ticks(x_low, x_high) if x_low <= v <= x_high],
        "y_ticks": [(y_of(v), _text(v)) for v in y_ticks],
        "left": _LEFT, "right": WIDTH - _RIGHT, "top": _TOP, "bottom": HEIGHT - _BOTTOM, "width": WIDTH, "height": HEIGHT,
    }  # fmt: skip


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
