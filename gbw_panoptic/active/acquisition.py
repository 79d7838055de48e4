"""One round of acquisition: score every target image, choose within the budget, buy the labels, keep the accounts.

A model is seen only through the probabilities that it gives; the truth only where it was bought. Without a truth, a
round is chosen and stays open until humans have answered.

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
from ..errors import UserError
from ..structures.known_instances import KnownInstances
from . import scores
from .budget import DynamicBudget, RegionShape, select_within_budget
from .effort import parse_budget
from .label_store import LabelStore
from .units import Partition, PartUnit

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
        unit: one of ``units.UNITS``; "": as ``mode`` says.
        radius: k of RIPU: 1 for regions, 32 for pixels; of other units, of the score's windows.
        side: of a superpixel, pixels.
        class_balance: CBDA's weights of classes that were bought seldom.
        dynamic_budget: CBDA's one budget over all images; else every image gets its share by area.
        gamma: strength of the class balance.
        soft: class balance by the whole prediction; else by its argmax.
        void_costs: whether pixels whose truth is void count against the budget.
        seed: of the random score.
    """

    score: str = "ripu"
    mode: str = "region"
    unit: str = ""
    radius: int = 1
    side: int = 32
    class_balance: bool = False
    dynamic_budget: bool = False
    gamma: float = 1.0
    soft: bool = True
    void_costs: bool = True
    seed: int = 0

    @property
    def asked(self) -> str:
        """The unit."""
        return self.unit or self.mode

    @property
    def shape(self) -> RegionShape | PartUnit:
        if self.asked == "region":
            return RegionShape(self.radius, 2 * self.radius)
        return RegionShape(0, self.radius) if self.asked == "pixel" else PartUnit(self.asked, self.side)

    def map(self, probabilities: Tensor, weights: Tensor | None, number: int, image: int) -> Tensor:
        """float32 [H, W]: the value of a pick at each pixel, for round ``number`` and the image of that index."""
        if self.score == "random":
            state = np.random.SeedSequence((self.seed, number, image)).generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
            score = torch.rand(probabilities.shape[1:], generator=generator).to(probabilities.device)
        elif self.score == "entropy":
            score = scores.prediction_uncertainty(probabilities, 0 if self.asked == "pixel" else self.radius)
        elif self.asked == "pixel":
            score = scores.ripu_pixel_score(probabilities, self.radius)
        else:
            score = scores.ripu_region_score(probabilities, self.radius)
        if weights is not None:
            score = scores.class_balanced_score(score, probabilities, weights, soft=self.soft)
        return score


class Acquisition:
    """Buys labels for a list of images in rounds of equal budgets; every rank works on its part of the images."""

    def __init__(
        self,
        *,
        store: LabelStore,
        records: Sequence[dict],
        truth: Callable[[dict], np.ndarray] | None,
        instances: Callable[[dict], KnownInstances] | None = None,
        settings: Settings,
        budget: str,
        rounds: int,
        progress: Callable[[int, str], ContextManager[Progress]],
    ) -> None:
        """
        Args:
            records: of the target images, with ``file_name`` and a unique ``image_id``.
            truth: the annotator: record -> integers [H, W] of class ids, others void; None: humans will answer.
            instances: the annotator of a store with instances: record -> all of the image.
            budget: of all rounds together, as :func:`.effort.parse_budget` reads it. Each image gets its share where
                it is in pixels of pixels or squares; else there is one for all images, as CBDA has it.
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
        self.measured = parse_budget(budget, self.pixels, len(records))
        self._check_unit()
        self._mine = range(comm.get_rank(), len(records), comm.get_world_size())

    @property
    def budget(self) -> int:
        """In steps of its measure: pixels, mostly."""
        return self.measured.amount

    def allowed(self, number: int, image: int | None = None) -> int:
        """What rounds 1 to ``number`` may cost together, in all images or one, in steps of the budget's measure."""
        if image is None:
            return self.budget * number // self.rounds
        height, width = self.sizes[image]
        return self.budget * number * height * width // (self.rounds * self.pixels)

    def run(self, number: int, predict: Predict) -> dict[str, Any]:
        """Buy the labels of round ``number`` in 1..rounds, or what a killed round left to be bought.

        Returns:
            The round's entry in the store's manifest.
        """
        self.choose(number, predict)
        bought = [self._buy(number, image) for image in self._mine]
        parts = [part for rank in comm.all_gather(bought) for part in rank]
        counts, cost, clicks, tenths = (sum(values) for values in zip(*parts))
        entry = None
        if comm.is_main_process():
            facts = {**self.facts(), "clicks": clicks, "seconds": tenths / 10}
            entry = self.store.finish(number, counts, cost=int(cost), allowed=self.allowed(number), settings=facts)
        entry = comm.all_gather(entry)[0]
        if not comm.is_main_process():
            self.store.rounds.append(entry)
        return entry

    def facts(self) -> dict[str, Any]:
        """What a round's entry in the manifest says of the settings."""
        return {**asdict(self.settings), "budget": self.budget, "rounds": self.rounds, "measure": self.measured.measure}

    def choose(self, number: int, predict: Predict) -> None:
        """Decide what round ``number`` asks for, or what a killed round left undecided."""
        if not 1 <= number <= self.rounds:
            raise UserError(f"expected a round in 1..{self.rounds}, found {number}; correct the round or their number")
        self.store.check_round(number)
        self.store.check_measure(self.measured.measure)
        if comm.is_main_process():
            for folder in filter(Path.is_dir, (self.store.folder, self.store.folder / "picks")):
                files.clear_temporaries(folder)
        comm.synchronize()
        if self.store.spent > self.allowed(number):
            raise UserError(
                f"expected at most {self.measured.text(self.allowed(number))} bought before round {number} of this "
                f"budget, found {self.store.spent} in {self.store.folder}; raise the budget, or take another folder "
                "for the labels"
            )
        if not any(comm.all_gather(bool(self._undecided(number)))):
            return
        weights = self._class_weights(number, predict) if self.settings.class_balance else None
        if self.is_shared:
            self._plan_together(number, predict, weights)
        else:
            self._plan_each(number, predict, weights)

    @property
    def is_shared(self) -> bool:
        """Whether there is one budget for all images."""
        return self.settings.dynamic_budget or self.measured.measure != "pixels" or self.settings.asked == "image"

    def _check_unit(self) -> None:
        if self.measured.measure == "images" and self.settings.asked != "image":
            raise UserError(
                f"ACTIVE.BUDGET: expected images with ACTIVE.UNIT image alone, found {self.settings.asked}; give "
                "pixels, regions, clicks or seconds, or set ACTIVE.UNIT to image"
            )
        if self.truth is None and not self.settings.void_costs:
            raise UserError(
                "ACTIVE.VOID_COSTS: expected True without ACTIVE.ANNOTATOR, found False: nobody knows beforehand what "
                "is void; set it to True"
            )

    def _undecided(self, number: int) -> list[int]:
        """Own images of which it is not decided what the round asks for."""
        return [image for image in self._mine if self.store.picks(number, self._image_id(image)) is None]

    def _plan_each(self, number: int, predict: Predict, weights: Tensor | None) -> None:
        """The same budget for every pixel's worth of image."""
        title = f"Round {number}: acquire"
        for image, probabilities in self._predictions(self._undecided(number), predict, title):
            score, costs, shape, barred, spent = self._prepared(number, image, probabilities, weights)
            picks = select_within_budget(score, costs, self.allowed(number, image) - spent, shape, barred)
            self.store.plan(number, self._image_id(image), picks)

    def _plan_together(self, number: int, predict: Predict, weights: Tensor | None) -> None:
        """One budget over all images. Nothing is bought before the whole plan is written down."""
        if comm.is_main_process():
            self.store.forget_plan(number)
        comm.synchronize()
        dynamic = DynamicBudget(self.allowed(number) - self.store.spent)
        for image, probabilities in self._predictions(list(self._mine), predict, f"Round {number}: score"):
            score, costs, shape, barred, _ = self._prepared(number, image, probabilities, weights)
            dynamic.add(image, score, costs, shape, barred)
        gathered = comm.all_gather(dynamic.candidates())
        dynamic.merge([rows for rank, rows in enumerate(gathered) if rank != comm.get_rank()])
        winners = dynamic.winners()
        for image in self._mine:
            rows = winners[winners["image"] == image]
            picks = np.stack(np.divmod(rows["index"].astype(np.int64), self.sizes[image][1]), axis=1)
            costs = None if self.measured.measure == "pixels" else torch.from_numpy(rows["cost"].astype(np.int64))
            self.store.plan(number, self._image_id(image), torch.from_numpy(picks), costs)
        comm.synchronize()

    def _prepared(
        self, number: int, image: int, probabilities: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor, RegionShape | Partition, Tensor, int]:
        """Score and costs, [H, W] on the CPU, the unit, barred pixels [H, W], and pixels that the image has cost so
        far."""
        if tuple(probabilities.shape[1:]) != self.sizes[image]:
            raise ValueError(f"expected {self.sizes[image]}, found probabilities {tuple(probabilities.shape)}")
        record, size = self.records[image], self.sizes[image]
        shape = self.store.shape_of(record["image_id"], size, lambda: files.read_image(record["file_name"]))
        bought = torch.from_numpy(self.store.read(record["image_id"], size) != self.store.not_bought)
        paid = self._paid(self.truth(record)) if not self.settings.void_costs else torch.ones_like(bought)
        score = self.settings.map(probabilities, weights, number, image).cpu()
        score = shape.scored(score, average=self.settings.score != "random")
        costs = self.measured.costs(shape, paid, scores.predicted_classes(probabilities).cpu())
        return score, costs, shape, shape.barred(bought), int((bought & paid).sum())

    def _buy(self, number: int, image: int) -> tuple[np.ndarray, int, int, int]:
        """Pixels by class, void last; their cost; clicks and tenths of seconds that a human would need."""
        record, image_id = self.records[image], self._image_id(image)
        instances = self.instances(record) if self.instances else None
        counts = self.store.buy(number, image_id, self.truth(record), instances)
        cost = int(counts.sum() if self.settings.void_costs else counts[:-1].sum())
        if self.measured.measure != "pixels":
            cost = self.store.planned_cost(number, image_id)
        return counts, cost, *self.store.effort(number, image_id, self.sizes[image])

    def _class_weights(self, number: int, predict: Predict) -> Tensor:
        """omega_c of CBDA; what is not bought is guessed from the model's own shares of the classes."""
        num_classes = len(self.store.class_names)
        shares = torch.zeros(num_classes, dtype=torch.float64)
        for _, probabilities in self._predictions(list(self._mine), predict, f"Round {number}: class shares"):
            shares += (
                torch.bincount(scores.predicted_classes(probabilities).flatten(), minlength=num_classes).double().cpu()
            )
        shares = torch.stack(comm.all_gather(shares)).sum(0)
        expected = self.measured.pixels_of(self.settings.shape, self.rounds, self.pixels, len(self.records))
        prior = expected * shares / shares.sum()
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
