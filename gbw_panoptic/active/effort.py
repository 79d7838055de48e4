"""What answers cost a human: a documented model, and budgets in pixels, regions, clicks, images or seconds.

A part of one segment (a class, or an instance of a thing) takes one click, which names it. A part of several takes one
for each of them, and one for every ten pixels of the borders between them, which are drawn as polygons (ours).
Naming takes 2.4 s, as the first click on an object does, a further click 0.9 s (Bearman et al., "What's the Point",
ECCV 2016). For an image of Cityscapes the model says about 50 minutes; its authors took 90, with quality control.

Shape legend: H x W pixels, C classes, N parts.
"""

import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .budget import RegionShape
from .scores import box_sum
from .units import Partition, PartUnit, Shape

BORDER_PIXELS_PER_CLICK = 10
#: Tenths of a second.
NAMING, CLICKING = 24, 9
#: Measure of a budget -> steps that it is counted in.
MEASURES = {"pixels": 1, "regions": 1, "clicks": 1, "images": 1, "seconds": 10}
_AMOUNT = re.compile(r"\s*(\d{1,18})\s*(?:(pixel|region|click|image|second)s?)?\s*")
#: What ACTIVE.BUDGET may look like.
PATTERN = r"\s*(\d{1,18}(\s+(pixel|region|click|image|second)s?)?|\d{1,9}(\.\d{1,18})?\s*%)\s*"


@dataclass(frozen=True)
class Budget:
    """``amount`` in steps of ``measure``, one of :data:`MEASURES`: pixels, answered parts (regions), clicks, images, or
    tenths of seconds."""

    amount: int
    measure: str = "pixels"

    def text(self, steps: int | None = None) -> str:
        """``steps``, or the whole amount, in words."""
        steps = self.amount if steps is None else steps
        number = f"{steps / MEASURES[self.measure]:g}" if self.measure == "seconds" else str(steps)
        return f"{number} {self.measure}"

    def costs(self, shape: Shape, paid: Tensor, classes: Tensor) -> Tensor:
        """int32 [H, W]: what a pick at each pixel is expected to cost.

        Args:
            paid: bool [H, W], pixels that count.
            classes: [H, W] int64, the model's own guess of what is there.
        """
        if self.measure == "pixels":
            return shape.costs(paid)
        if self.measure in ("regions", "images"):
            return torch.ones(paid.shape, dtype=torch.int32)
        clicks, tenths = expected_effort(shape, classes)
        return clicks if self.measure == "clicks" else tenths

    def pixels_of(self, shape: RegionShape | PartUnit, rounds: int, pixels: int, images: int) -> float:
        """Pixels that a round is expected to buy, of ``pixels`` in so many images; where the budget is in something
        else, as many as are there for a click (a part, an image)."""
        steps = self.amount / rounds
        if self.measure == "pixels":
            return steps
        if isinstance(shape, RegionShape):
            part = (2 * shape.radius + 1) ** 2
        else:
            part = pixels / images if shape.name == "image" else shape.side**2
        return min(steps / (NAMING if self.measure == "seconds" else 1) * part, pixels)


def parse_budget(text: str, pixels: int, images: int = 0) -> Budget:
    """A budget given as ``"5%"`` of ``pixels``, in pixels, or as ``"300 clicks"`` and so on.

    Raises:
        UserError: it is neither, or not between 1 pixel (region, image) and all.
    """
    match = _AMOUNT.fullmatch(text)
    measure = f"{match[2]}s" if match and match[2] else "pixels"
    most = {"pixels": pixels, "regions": pixels, "images": images}.get(measure, (1 << 31) // MEASURES[measure] - 1)
    try:
        amount = int(match[1]) if match else int(float(text.removesuffix("%")) * pixels / 100) if "%" in text else 0
    except (ValueError, OverflowError):
        amount = 0
    if not 1 <= amount <= most:
        raise UserError(
            f"expected a budget of 1 to {most} {measure}, or a share such as 5%, found {text!r}; write a number, with "
            f"one of {', '.join(MEASURES)} behind it if it is not of pixels"
        )
    return Budget(amount * MEASURES[measure], measure)


def expected_effort(shape: Shape, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Clicks and tenths of seconds of a pick at each pixel, int32 [H, W], if ``classes`` [H, W] were the truth."""
    if isinstance(shape, Partition):
        clicks, tenths = effort(shape.ids.numpy(), classes.numpy(), dominant=shape.dominant)
        return shape.spread(torch.from_numpy(clicks)).int(), shape.spread(torch.from_numpy(tenths)).int()
    named = torch.zeros(classes.shape, dtype=torch.int32)
    for class_id in classes.unique().tolist():
        named += box_sum(classes == class_id, shape.radius) > 0
    border = torch.zeros(classes.shape, dtype=torch.int32)
    border[:, :-1] += classes[:, :-1] != classes[:, 1:]
    border[:-1] += classes[:-1] != classes[1:]
    drawn = torch.where(named > 1, box_sum(border, shape.radius) // BORDER_PIXELS_PER_CLICK, 0).int()
    return named + drawn, NAMING * named + CLICKING * drawn


def effort(parts: np.ndarray, segments: np.ndarray, *, dominant: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Clicks and tenths of seconds, int64 [N], of parts whose truth is known.

    Args:
        parts: integers [H, W], 0..N-1; negative where nothing is asked.
        segments: integers [H, W]; pixels of one value are one segment.
        dominant: one click answers for a part.
    """
    count = int(parts.max(initial=-1)) + 1
    asked = parts >= 0
    _, rows = np.unique(segments, return_inverse=True)
    pairs = np.unique(
        parts[asked].astype(np.int64) * (int(rows.max(initial=0)) + 1) + rows.reshape(segments.shape)[asked]
    )
    named = np.bincount(pairs // (int(rows.max(initial=0)) + 1), minlength=count)
    if dominant:
        return np.minimum(named, 1), NAMING * np.minimum(named, 1)
    border = np.zeros(count, np.int64)
    for axis in (0, 1):
        one, other = (slice(None, -1), slice(1, None))
        here, there = (np.moveaxis(values, axis, 0) for values in (parts, segments))
        drawn = (here[one] == here[other]) & (here[one] >= 0) & (there[one] != there[other])
        border += np.bincount(here[one][drawn], minlength=count)
    drawn = border // BORDER_PIXELS_PER_CLICK
    return named + drawn, NAMING * named + CLICKING * drawn
