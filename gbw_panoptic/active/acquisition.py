"""One round of acquisition: score every target image, choose within the budget, buy the labels, keep the accounts.

A model is seen only through the probabilities that it gives; the truth only where it was bought.

Shape legend: C classes, H x W pixels of an image at its full size, K picks.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, ContextManager, Iterable, Iterator, Protocol, Sequence

import numpy as np
import torch
from detectron2.utils import comm
from torch import Tensor

from .. import files
from ..data.known_instances import KnownInstances
from ..errors import UserError
from . import scores
from .budget import DynamicBudget, RegionShape, select_within_budget
from .label_store import LabelStore

#: What makes a pixel worth its label, before class balance.
SCORES = ("random", "entropy", "ripu")
MODES = ("region", "pixel")
#: Probabilities float [C, H, W] of records, in their order.
Predict = Callable[[Sequence[dict]], Iterator[Tensor]]


class Progress(Protocol):
    """What a progress bar must do, as tqdm does."""

    def update(self) -> object: ...


@dataclass(frozen=True)
class Settings:
    """How pixels are chosen.

    Attributes:
        score: one of :data:`SCORES`; entropy is uncertainty without impurity.
        mode: ``region``: squares of ``radius`` are labelled; ``pixel``: single pixels, ``radius`` apart at least.
        radius: k of RIPU: 1 for regions, 32 for pixels.
        class_balance: CBDA's weights of classes that were bought seldom.
        dynamic_budget: CBDA's one budget over all images; else every image gets its share by area.
        gamma: strength of the class balance.
        soft: class balance by the whole prediction; else by its argmax.
        void_costs: whether pixels whose truth is void count against the budget.
        seed: of the random score.
    """

    score: str = "ripu"
    mode: str = "region"
    radius: int = 1
    class_balance: bool = False
    dynamic_budget: bool = False
    gamma: float = 1.0
    soft: bool = True
    void_costs: bool = True
    seed: int = 0

    @property
    def shape(self) -> RegionShape:
        return RegionShape(self.radius, 2 * self.radius) if self.mode == "region" else RegionShape(0, self.radius)

    def map(self, probabilities: Tensor, weights: Tensor | None, number: int, image: int) -> Tensor:
        """float32 [H, W]: the value of a pick at each pixel, for round ``number`` and the image of that index."""
        if self.score == "random":
            state = np.random.SeedSequence((self.seed, number, image)).generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
            score = torch.rand(probabilities.shape[1:], generator=generator).to(probabilities.device)
        elif self.score == "entropy":
            score = scores.prediction_uncertainty(probabilities, self.shape.radius)
        elif self.mode == "region":
            score = scores.ripu_region_score(probabilities, self.radius)
        else:
            score = scores.ripu_pixel_score(probabilities, self.radius)
        if weights is not None:
            score = scores.class_balanced_score(score, probabilities, weights, soft=self.soft)
        return score


def parse_budget(text: str, pixels: int) -> int:
    """Pixels of a budget given as ``"5%"`` of ``pixels``, or in pixels.

    Raises:
        UserError: it is neither, or not between 1 pixel and all.
    """
    try:
        value = float(text.removesuffix("%")) * pixels / 100 if text.endswith("%") else int(text)
        budget = int(value)
    except (ValueError, OverflowError):
        budget = 0
    if not 1 <= budget <= pixels:
        raise UserError(
            f"expected a budget of 1 to {pixels} pixels, or a share such as 5%, found {text!r}; correct the budget"
        )
    return budget


class Acquisition:
    """Buys labels for a list of images in rounds of equal budgets; every rank works on its part of the images."""

    def __init__(
        self,
        *,
        store: LabelStore,
        records: Sequence[dict],
        truth: Callable[[dict], np.ndarray],
        instances: Callable[[dict], KnownInstances] | None = None,
        settings: Settings,
        budget: str,
        rounds: int,
        progress: Callable[[int, str], ContextManager[Progress]],
    ) -> None:
        """
        Args:
            records: of the target images, with ``file_name`` and a unique ``image_id``.
            truth: the annotator: record -> integers [H, W] of class ids, others void.
            instances: the annotator of a store with instances: record -> all of the image.
            budget: of all rounds together, as :func:`parse_budget` reads it.
            progress: number of images and title -> progress bar.
        """
        self.store = store
        self.records = records
        self.truth = truth
        self.instances = instances
        self.settings = settings
        self.rounds = rounds
        self.progress = progress
        self.sizes = [files.read_image_size(record["file_name"]) for record in records]
        self.pixels = sum(height * width for height, width in self.sizes)
        self.budget = parse_budget(budget, self.pixels)
        self._mine = range(comm.get_rank(), len(records), comm.get_world_size())

    def allowed(self, number: int, image: int | None = None) -> int:
        """Pixels that rounds 1 to ``number`` may cost together, in all images or one."""
        if image is None:
            return self.budget * number // self.rounds
        height, width = self.sizes[image]
        return self.budget * number * height * width // (self.rounds * self.pixels)

    def run(self, number: int, predict: Predict) -> dict[str, Any]:
        """Buy the labels of round ``number`` in 1..rounds, or what a killed round left to be bought.

        Returns:
            The round's entry in the store's manifest.
        """
        if not 1 <= number <= self.rounds:
            raise UserError(f"expected a round in 1..{self.rounds}, found {number}; correct the round or their number")
        self.store.check_round(number)
        if comm.is_main_process():
            for folder in filter(Path.is_dir, (self.store.folder, self.store.folder / "picks")):
                files.clear_temporaries(folder)
        comm.synchronize()
        if self.store.spent > self.allowed(number):
            raise UserError(
                f"expected at most {self.allowed(number)} pixels bought before round {number} of this budget, found "
                f"{self.store.spent} in {self.store.folder}; raise the budget, or take another folder for the labels"
            )
        weights = self._class_weights(number, predict) if self.settings.class_balance else None
        if self.settings.dynamic_budget:
            self._plan_together(number, predict, weights)
            bought = [self._buy(number, image) for image in self._mine]
        else:
            bought = self._buy_each(number, predict, weights)
        counts, cost = (sum(parts) for parts in zip(*(part for rank in comm.all_gather(bought) for part in rank)))
        entry = None
        if comm.is_main_process():
            settings = {**asdict(self.settings), "budget": self.budget, "rounds": self.rounds}
            entry = self.store.finish(number, counts, cost=int(cost), allowed=self.allowed(number), settings=settings)
        entry = comm.all_gather(entry)[0]
        if not comm.is_main_process():
            self.store.rounds.append(entry)
        return entry

    def _buy_each(self, number: int, predict: Predict, weights: Tensor | None) -> list[tuple[np.ndarray, int]]:
        """The same budget for every pixel's worth of image: plan one, buy it, go on."""
        planned = {image for image in self._mine if self.store.picks(number, self._image_id(image)) is not None}
        bought = [self._buy(number, image) for image in sorted(planned)]
        title = f"Round {number}: acquire"
        for image, probabilities in self._predictions([i for i in self._mine if i not in planned], predict, title):
            score, costs, barred, spent = self._prepared(number, image, probabilities, weights)
            allowance = self.allowed(number, image) - spent
            picks = select_within_budget(score, costs, allowance, self.settings.shape, barred)
            self.store.plan(number, self._image_id(image), picks)
            bought.append(self._buy(number, image))
        return bought

    def _plan_together(self, number: int, predict: Predict, weights: Tensor | None) -> None:
        """One budget over all images. Nothing is bought before the whole plan is written down."""
        missing = any(self.store.picks(number, self._image_id(image)) is None for image in self._mine)
        if not any(comm.all_gather(missing)):
            return
        if comm.is_main_process():
            self.store.forget_plan(number)
        comm.synchronize()
        dynamic = DynamicBudget(self.allowed(number) - self.store.spent)
        for image, probabilities in self._predictions(list(self._mine), predict, f"Round {number}: score"):
            score, costs, barred, _ = self._prepared(number, image, probabilities, weights)
            dynamic.add(image, score, costs, self.settings.shape, barred)
        gathered = comm.all_gather(dynamic.candidates())
        dynamic.merge([rows for rank, rows in enumerate(gathered) if rank != comm.get_rank()])
        winners = dynamic.winners()
        for image in self._mine:
            index = winners["index"][winners["image"] == image].astype(np.int64)
            picks = np.stack(np.divmod(index, self.sizes[image][1]), axis=1)
            self.store.plan(number, self._image_id(image), torch.from_numpy(picks))
        comm.synchronize()

    def _prepared(
        self, number: int, image: int, probabilities: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Score, costs and barred pixels, all [H, W] on the CPU, and what the image has cost so far."""
        if tuple(probabilities.shape[1:]) != self.sizes[image]:
            raise ValueError(f"expected {self.sizes[image]}, found probabilities {tuple(probabilities.shape)}")
        bought = torch.from_numpy(self.store.read(self._image_id(image), self.sizes[image]) != self.store.not_bought)
        paid = self._paid(self.truth(self.records[image])) if not self.settings.void_costs else torch.ones_like(bought)
        score = self.settings.map(probabilities, weights, number, image).cpu()
        shape = self.settings.shape
        return score, shape.costs(paid), shape.barred(bought), int((bought & paid).sum())

    def _buy(self, number: int, image: int) -> tuple[np.ndarray, int]:
        """Pixels by class, void last, and their cost."""
        record = self.records[image]
        instances = self.instances(record) if self.instances else None
        counts = self.store.buy(number, self._image_id(image), self.truth(record), instances)
        return counts, int(counts.sum() if self.settings.void_costs else counts[:-1].sum())

    def _class_weights(self, number: int, predict: Predict) -> Tensor:
        """omega_c of CBDA; what is not bought is guessed from the model's own shares of the classes."""
        num_classes = len(self.store.class_names)
        shares = torch.zeros(num_classes, dtype=torch.float64)
        for _, probabilities in self._predictions(list(self._mine), predict, f"Round {number}: class shares"):
            shares += (
                torch.bincount(scores.predicted_classes(probabilities).flatten(), minlength=num_classes).double().cpu()
            )
        shares = torch.stack(comm.all_gather(shares)).sum(0)
        prior = self.budget / self.rounds * shares / shares.sum()
        return scores.class_balance_weights(self.store.class_counts(), prior, self.settings.gamma)

    def _predictions(self, images: list[int], predict: Predict, title: str) -> Iterable[tuple[int, Tensor]]:
        if not images:
            return
        with self.progress(len(images), title) as bar:
            for image, probabilities in zip(images, predict([self.records[i] for i in images]), strict=True):
                yield image, probabilities
                bar.update()

    def _paid(self, truth: np.ndarray) -> Tensor:
        return torch.from_numpy(truth < len(self.store.class_names))

    def _image_id(self, image: int) -> str:
        return self.records[image]["image_id"]
