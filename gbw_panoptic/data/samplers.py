"""Which image comes at which position: pure functions of (seed, position), so that a position is the whole state.

Positions count samples over all ranks. Rank r of R with b samples a step takes the positions s R b + r b, ..., + b - 1
in step s; R ranks so consume what one rank with R b samples a step does.
"""

from enum import IntEnum
from typing import Mapping, NamedTuple, Protocol, Sequence

import numpy as np

from ..errors import UserError


class Domain(IntEnum):
    """Keeps the random streams of the data sets apart."""

    SOURCE = 0
    TARGET = 1
    LABELLED_TARGET = 2


class Stream(IntEnum):
    """What a random stream is for; streams are independent."""

    EPOCH = 0
    DRAW = 1
    AUGMENTATION = 2
    COLOUR = 3


class Draw(NamedTuple):
    """One sample to be made.

    Attributes:
        position: in the sequence of all samples of the domain; seeds the augmentation.
        index: of the record in the data set.
        class_id: the class for whose sake the image was drawn; None without rare-class sampling.
    """

    position: int
    index: int
    class_id: int | None = None


class Sampler(Protocol):
    """Maps positions to records."""

    def draw(self, position: int) -> Draw: ...


def random_generator(seed: int, domain: Domain, stream: Stream, number: int) -> np.random.Generator:
    """A generator of its own for every (seed >= 0, domain, stream, number >= 0), on every machine the same."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, domain, stream, number))))


class EpochSampler:
    """Every image once per epoch, in an order that is a function of (seed, domain, epoch)."""

    def __init__(self, *, size: int, seed: int, domain: Domain) -> None:
        self.size = size
        self.seed = seed
        self.domain = domain
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def draw(self, position: int) -> Draw:
        epoch, place = divmod(position, self.size)
        if epoch != self._epoch:
            generator = random_generator(self.seed, self.domain, Stream.EPOCH, epoch)
            self._epoch, self._order = epoch, generator.permutation(self.size)
        return Draw(position, int(self._order[place]))


class RareClassSampler:
    """Draws a class by rarity, then an image that shows enough of it (DAFormer, arXiv 2111.14887, eq. 5 and 6).

    With f_c the share of class c in all labelled pixels, P(c) = softmax((1 - f_c) / T) over the classes that occur. The
    image is drawn uniformly from those with more than ``min_pixels`` pixels of c; where there is none, from those with
    the most.
    """

    def __init__(
        self,
        *,
        image_counts: Sequence[Mapping[int, int]],
        temperature: float,
        min_pixels: int,
        seed: int,
        domain: Domain = Domain.SOURCE,
    ) -> None:
        """
        Args:
            image_counts: for every record of the data set, class -> labelled pixels.
            temperature: T > 0; the smaller, the more often rare classes are drawn.
            min_pixels: see above.
        """
        self.seed = seed
        self.domain = domain
        self.class_ids = sorted({c for counts in image_counts for c, pixels in counts.items() if pixels > 0})
        if not self.class_ids:
            raise UserError("expected labelled pixels in the source data set, found none; prepare it again")
        pixels = np.array([[counts.get(c, 0) for c in self.class_ids] for counts in image_counts], dtype=np.int64)
        self.probabilities = class_probabilities(pixels.sum(axis=0), temperature)
        self._images = [np.flatnonzero(p > min(min_pixels, p.max() - 1)) for p in pixels.T]

    def draw(self, position: int) -> Draw:
        generator = random_generator(self.seed, self.domain, Stream.DRAW, position)
        choice = generator.choice(len(self.class_ids), p=self.probabilities)
        index = generator.choice(self._images[choice])
        return Draw(position, int(index), self.class_ids[choice])


def class_probabilities(pixels: np.ndarray, temperature: float) -> np.ndarray:
    """P(c) [C] float64, of pixel counts [C] > 0 and T > 0."""
    if not temperature > 0:
        raise UserError(
            f"expected a positive DATALOADER.RARE_CLASS_SAMPLING.TEMPERATURE, found {temperature}; DAFormer takes 0.01"
        )
    exponents = (1 - pixels / pixels.sum()) / temperature
    odds = np.exp(exponents - exponents.max())
    return odds / odds.sum()


def rank_positions(start: int, *, rank: int, batch_size: int) -> range:
    """Positions of one rank's samples in the step whose first position (over all ranks) is ``start``."""
    return range(start + rank * batch_size, start + (rank + 1) * batch_size)
