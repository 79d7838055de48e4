"""Active learning: selection by one partial sort and a sweep, against loops of maxima over the whole map; scores by
running sums, against convolutions."""

import argparse
import math
from collections.abc import Iterator

import numpy as np
import torch

from gbw_panoptic.active import select_regions
from gbw_panoptic.active.scores import region_impurity, ripu_region_score

from .timing import Comparison, compare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--budget", type=float, default=5.0, help="percent of the pixels (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="that share the budget (default %(default)s)")
    parser.add_argument("--radius", type=int, default=1, help="of a region (default %(default)s)")


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    height, width = arguments.size
    area = (2 * arguments.radius + 1) ** 2
    count = math.ceil(height * width * arguments.budget / 100 / arguments.rounds / area)
    score = ripu_region_score(_probabilities(height, width, arguments.seed), arguments.radius)
    bar_radius = 2 * arguments.radius
    name = f"Selection of {count} regions at {height}x{width}, radius {arguments.radius}"
    for reference, loop, goal in (("torch column-max loop", _column_max, 50), ("NumPy argmax loop", _argmax, 4)):
        yield compare(
            name,
            reference=(reference, lambda loop=loop: loop(score, count, bar_radius)),
            ours=lambda: select_regions(score, count, bar_radius),
            arguments=arguments,
            same=_same_scores(score, exact=loop is _argmax),
            goal=goal,
        )
    for radius, reduction in ((arguments.radius, 1), (32, 4)):
        size = (height // reduction, width // reduction)
        yield _compare_impurity(size, radius, arguments)


def _compare_impurity(size: tuple[int, int], radius: int, arguments: argparse.Namespace) -> Comparison:
    probabilities = _probabilities(*size, arguments.seed)
    return compare(
        f"Impurity of windows of radius {radius} at {size[0]}x{size[1]}",
        reference=("convolutions", lambda: _convolved_impurity(probabilities, radius)),
        ours=lambda: region_impurity(probabilities, radius),
        arguments=arguments,
        same=lambda reference, ours: torch.allclose(reference, ours, atol=1e-5, rtol=0),
    )


def _convolved_impurity(probabilities: torch.Tensor, radius: int) -> torch.Tensor:
    """As defined: the classes' shares of each window by a convolution with ones for each class, zeros beyond the
    border."""
    classes, height, width = probabilities.shape
    one_hot = torch.nn.functional.one_hot(probabilities.argmax(0), classes).permute(2, 0, 1).float()
    kernel = torch.ones(1, 1, 2 * radius + 1, 2 * radius + 1)
    counts = torch.nn.functional.conv2d(one_hot[:, None], kernel, padding=radius)[:, 0]
    shares = counts / torch.nn.functional.conv2d(torch.ones(1, 1, height, width), kernel, padding=radius)[0]
    return -torch.xlogy(shares, shares).sum(0) / math.log(classes)


def _probabilities(height: int, width: int, seed: int, classes: int = 19, coarse: int = 32) -> torch.Tensor:
    """Predictions of a street's smoothness: coarse logits, enlarged, with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    grid = 4 * torch.randn(1, classes, max(height // coarse, 2), max(width // coarse, 2), generator=generator)
    logits = torch.nn.functional.interpolate(grid, (height, width), mode="bilinear", align_corners=False)[0]
    return torch.softmax(logits + 0.3 * torch.randn(logits.shape, generator=generator), 0)


def _column_max(score: torch.Tensor, count: int, bar_radius: int) -> np.ndarray:
    """Maxima of the columns, then of these, and two waits for them, for each pick."""
    score = score.clone()
    picks = np.empty((count, 2), np.int64)
    for pick in picks:
        values, rows = score.max(dim=0)
        column = values.argmax().item()
        row = rows[column].item()
        pick[:] = row, column
        score[_square(row, column, bar_radius)] = -torch.inf
    return picks


def _argmax(score: torch.Tensor, count: int, bar_radius: int) -> np.ndarray:
    values = score.numpy().copy()
    picks = np.empty((count, 2), np.int64)
    for pick in picks:
        row, column = divmod(int(values.argmax()), values.shape[1])
        pick[:] = row, column
        values[_square(row, column, bar_radius)] = -np.inf
    return picks


def _square(row: int, column: int, radius: int) -> tuple[slice, slice]:
    return tuple(slice(max(center - radius, 0), center + radius + 1) for center in (row, column))


def _same_scores(score: torch.Tensor, *, exact: bool):
    """Equal picks; of the column-wise loop, which breaks ties by columns, equal scores pick by pick."""

    def same(reference: np.ndarray, ours: torch.Tensor) -> bool:
        if exact:
            return np.array_equal(reference, ours.numpy())
        theirs = torch.from_numpy(reference)
        return torch.equal(score[theirs[:, 0], theirs[:, 1]], score[ours[:, 0], ours[:, 1]])

    return same
