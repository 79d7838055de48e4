"""What a page is made of: plain values that the templates draw, one macro for each ``kind``.

Shapes: C classes, T iterations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Card:
    """One number of the headline, in percent.

    Attributes:
        before: of the baseline; None where there is none.
        note: what the number is averaged over.
        spread: `` ± 0.4`` behind the number.
    """

    label: str
    value: float
    before: float | None = None
    note: str = ""
    spread: str = ""

    @property
    def gain(self) -> float | None:
        return None if self.before is None else round(self.value - self.before, 1) + 0.0


@dataclass(frozen=True)
class Cards:
    kind: ClassVar[str] = "cards"
    cards: Sequence[Card]


@dataclass(frozen=True)
class Cell:
    """A table's cell.

    Attributes:
        order: what a column is sorted by; None comes last.
        color: of a chip before the text.
        sign: of a gain, which colours the text: -1, 0, 1.
    """

    text: str
    order: float | str | None = None
    color: Color | None = None
    sign: int = 0


@dataclass(frozen=True)
class Table:
    """A table that sorts by its columns.

    Attributes:
        rows: of cells, as many as columns; the first cell of a row is its heading.
        folded: whether it is shown only when asked for.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False

    @property
    def numeric(self) -> list[bool]:
        """Which columns are numbers: they stand on the right, and their largest comes first."""
        columns = list(zip(*self.rows)) or [()] * len(self.columns)
        return [any(isinstance(c.order, (int, float)) for c in column) for column in columns]


@dataclass(frozen=True)
class Bar:
    """A class's bar, in percent.

    Attributes:
        error: standard error of the value.
    """

    name: str
    color: Color
    value: float
    baseline: float | None = None
    error: float | None = None

    @property
    def gain(self) -> float | None:
        return None if self.baseline is None else round(self.value - self.baseline, 1) + 0.0


@dataclass(frozen=True)
class Bars:
    """Attributes:
    baseline_name: whose values are drawn as ticks; empty without them.
    """

    kind: ClassVar[str] = "bars"
    title: str
    bars: Sequence[Bar]
    baseline_name: str = ""

    @property
    def end(self) -> float:
        """Of the axis: near the largest value."""
        largest = max((max(b.value + (b.error or 0), b.baseline or 0) for b in self.bars), default=0)
        return min(100.0, max(5.0, largest * 1.02))


@dataclass(frozen=True)
class Matrix:
    """Attributes:
    percent: [C][C or C + 1] shares of each row; None for rows without pixels.
    """

    kind: ClassVar[str] = "matrix"
    title: str
    names: Sequence[str]
    columns: Sequence[str]
    percent: Sequence[Sequence[float] | None]


@dataclass(frozen=True)
class Heat:
    """Weights of classes over iterations.

    Attributes:
        light, dark: PNG as data URI, one pixel per class (row) and column, for either background.
        names: [C], from top to bottom.
        iterations: of the columns.
        values: [C][columns], None where a class had no pixel.
        ticks: place (0..1) on the colour bar and text.
        gradients: CSS gradients of the colour bar on either background.
    """

    kind: ClassVar[str] = "heat"
    title: str
    light: str
    dark: str
    names: Sequence[str]
    iterations: Sequence[int]
    values: Sequence[Sequence[float | None]]
    ticks: Sequence[tuple[float, str]]
    gradients: tuple[str, str]


@dataclass(frozen=True)
class Charts:
    """Curves beside each other; see :mod:`.charts`.

    Attributes:
        legend: name -> number of its colour.
    """

    kind: ClassVar[str] = "charts"
    charts: Sequence[Mapping]
    legend: Mapping[str, int]


@dataclass(frozen=True)
class Viewer:
    """Pictures to compare.

    Attributes:
        scenes: ``{"name": image, "image": URI, "layers": {choice: URI}}``.
        choices: key -> label; ``image`` is the image alone, keys with ``errors`` are drawn over a grey image.
        left, right: keys that are shown first.
        chips: name and colour of the legend's entries, with the name of a pattern.
    """

    kind: ClassVar[str] = "viewer"
    scenes: Sequence[Mapping]
    choices: Mapping[str, str]
    left: str
    right: str
    chips: Sequence[tuple[str, Color, str]]


@dataclass(frozen=True)
class Gallery:
    """Captioned pictures as data URIs."""

    kind: ClassVar[str] = "gallery"
    pictures: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Tabs:
    """Blocks of which one group is shown at a time.

    Attributes:
        tabs: label -> blocks.
    """

    kind: ClassVar[str] = "tabs"
    label: str
    tabs: Mapping[str, Sequence]


@dataclass(frozen=True)
class Section:
    name: str
    title: str
    blocks: Sequence = field(default_factory=tuple)


@dataclass(frozen=True)
class HtmlPage:
    """Attributes:
    title: of the page; ``lead`` stands below it; ``hero`` are the blocks of the headline.
    """

    title: str
    lead: str
    hero: Sequence
    sections: Sequence[Section]
