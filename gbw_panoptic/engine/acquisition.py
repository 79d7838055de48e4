"""Acquisition with this project's models and data sets: from a configuration, and during training."""

import logging
import os
from dataclasses import dataclass
from typing import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import Tensor, nn

from .. import cli, files
from ..active.acquisition import Acquisition, Predict, Settings
from ..active.label_store import LabelStore
from ..data.known_instances import Annotator
from ..data.loader import build_image_loader
from ..errors import UserError
from ..modeling.masks.merging import semantic_logits
from ..structures.known_instances import KnownInstances
from ..structures.predictions import DensePrediction, SegmentPrediction
from ..taxonomy import Taxonomy
from ..visualization.bought import bought_bars, draw_bought, with_legend


def build_settings(cfg) -> Settings:
    """How ACTIVE.* says that pixels are chosen."""
    options = cfg.ACTIVE
    return Settings(
        score=options.SCORE,
        mode=options.MODE,
        unit=options.UNIT,
        radius=options.RADIUS,
        side=options.SUPERPIXEL,
        class_balance=options.CLASS_BALANCE,
        dynamic_budget=options.DYNAMIC_BUDGET,
        gamma=options.GAMMA,
        soft=options.SOFT,
        void_costs=options.VOID_COSTS,
        seed=cfg.SEED,
    )


def build_asked(cfg) -> tuple[tuple[str, ...], Taxonomy]:
    """The data sets whose images are asked about, and their classes: ACTIVE.ANNOTATOR, or else the target's."""
    names = (cfg.ACTIVE.ANNOTATOR,) if cfg.ACTIVE.ANNOTATOR else tuple(cfg.DATASETS.TARGET)
    return names, MetadataCatalog.get(names[0]).taxonomy


def build_label_store(cfg) -> LabelStore:
    """The store in ACTIVE.LABELS; by default in OUTPUT_DIR."""
    folder = cfg.ACTIVE.LABELS or os.path.join(cfg.OUTPUT_DIR, "active")
    _, taxonomy = build_asked(cfg)
    return LabelStore(folder, taxonomy.names, build_settings(cfg).shape, with_instances=cfg.ACTIVE.PANOPTIC)


class BoughtLabels:
    """What the training loader may know of the target's labels: those in the store, as they are at the moment."""

    def __init__(self, store: LabelStore, ignore_label: int) -> None:
        self.store = store
        self.ignore_label = ignore_label

    def __call__(self, image_id: str, size: tuple[int, int]) -> np.ndarray:
        """[H, W] of ``size``: class ids where a class was bought, ``ignore_label`` elsewhere."""
        labels = self.store.read(image_id, size)
        # the store counts classes, the label that is ignored classes and unions: it may need more bits
        known, labels = labels < len(self.store.class_names), labels.astype(np.min_scalar_type(self.ignore_label))
        return np.where(known, labels, labels.dtype.type(self.ignore_label))

    def instances(self, image_id: str, size: tuple[int, int]) -> KnownInstances | None:
        """Those of the bought pixels; None where the store keeps none."""
        return self.store.read_instances(image_id, size) if self.store.with_instances else None


def build_acquisition(cfg, store: LabelStore, rounds: int, *, humans: bool = False) -> Acquisition:
    """Buys the labels of ACTIVE.ANNOTATOR, within ACTIVE.BUDGET, in so many rounds; with ``humans``, chooses alone."""
    names, taxonomy = build_asked(cfg)
    annotator = Annotator(taxonomy)
    return Acquisition(
        store=store,
        records=[record for name in names for record in DatasetCatalog.get(name)],
        truth=None if humans else annotator.labels,
        instances=annotator.instances if store.with_instances and not humans else None,
        settings=build_settings(cfg),
        budget=cfg.ACTIVE.BUDGET,
        rounds=rounds,
        progress=lambda total, title: cli.progress(total, title),
    )


def build_predict(cfg, model: nn.Module) -> Predict:
    """The model's class probabilities of images, resized as in evaluation, at the images' own sizes."""

    @torch.no_grad()
    def predict(records: Sequence[dict]) -> Iterator[Tensor]:
        training = model.training
        model.eval()
        try:
            for inputs in build_image_loader(cfg, records):
                logits = _semantic_logits(model.predict(inputs, instances=False))
                size = (inputs[0]["height"], inputs[0]["width"])
                if tuple(logits.shape[-2:]) != size:
                    logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
                yield logits[0].float().softmax(dim=0)
        finally:
            model.train(training)

    return predict


def _semantic_logits(prediction: DensePrediction | SegmentPrediction) -> Tensor:
    """[B, C, H, W] of any model."""
    if isinstance(prediction, DensePrediction):
        return prediction.sem_seg
    return semantic_logits(
        prediction.class_logits, prediction.mask_logits, stride=prediction.stride, image_size=prediction.image_size
    )


@dataclass(eq=False)
class AcquisitionHook(HookBase):
    """A round of acquisition after each of some iterations, after 0 that is before the first one.

    A resumed run takes back what was bought after its checkpoint.

    Attributes:
        draw: leaves the pictures of the last round; on the main rank.
    """

    acquisition: Acquisition
    predict: Predict
    iterations: Sequence[int]
    draw: Callable[[Acquisition], None]

    def before_train(self) -> None:
        store, start = self.acquisition.store, self.trainer.start_iter
        done = sum(iteration <= start for iteration in self.iterations) if start else 0
        found = len(store.rounds)
        if found < done or (start == 0 and found and not self.trainer.resumed):
            remedy = "resume the run that bought them" if found else "resume with the labels of that run"
            raise UserError(
                f"expected {done} rounds of bought labels at iteration {start}, found {found} in {store.folder}; "
                f"{remedy}, or start with another ACTIVE.LABELS"
            )
        comm.synchronize()
        if comm.is_main_process():
            store.take_back(done)
        comm.synchronize()
        store.reload()
        if start == 0:
            self._acquire(after=0)
        self.trainer.restart_loader()

    def after_step(self) -> None:
        self._acquire(after=self.trainer.iter + 1)
        if comm.is_main_process():  # in every step: metrics.json wants its lines in order
            self.trainer.storage.put_scalars(**_scalars(self.acquisition.store), smoothing_hint=False)

    def _acquire(self, *, after: int) -> None:
        if after not in self.iterations:
            return
        entry = self.acquisition.run(self.iterations.index(after) + 1, self.predict)
        self.trainer.restart_loader()  # what was prefetched has the labels of before
        logging.getLogger("gbw_panoptic").info(
            "Acquisition round %d: %d pixels bought, %d of the budget spent, class imbalance %.3f.",
            entry["round"], entry["pixels"], self.acquisition.store.spent, entry["imbalance"],
        )  # fmt: skip
        if comm.is_main_process():
            self.draw(self.acquisition)


def _scalars(store: LabelStore) -> dict[str, float]:
    """What the log says of all that was bought; nothing before the first round."""
    if not store.rounds:
        return {}
    classes = zip(store.class_names, store.class_counts().tolist())
    return {
        "active/spent": store.spent,
        "active/imbalance": store.rounds[-1]["imbalance"],
        **{f"active/pixels/{name}": pixels for name, pixels in classes},
    }


def build_round_pictures(cfg) -> Callable[[Acquisition], None]:
    """:func:`draw_round` with ACTIVE.NUM_OVERLAYS."""
    _, taxonomy = build_asked(cfg)
    return lambda acquisition: draw_round(acquisition.store, acquisition.records, taxonomy, cfg.ACTIVE.NUM_OVERLAYS)


def draw_round(store: LabelStore, records: Sequence[Mapping], taxonomy: Taxonomy, num_overlays: int) -> None:
    """``overlays/<round>/<image_id>.png`` of all that was bought so far in the first images, and ``classes.png``."""
    folder = store.folder / "overlays" / str(len(store.rounds))
    for record in records[:num_overlays]:
        image = files.read_image(record["file_name"])
        labels = store.read(record["image_id"], image.shape[:2])
        folder.mkdir(parents=True, exist_ok=True)
        picture = draw_bought(image, labels, taxonomy, not_bought=store.not_bought)
        void = "no class (void)" if (labels == store.not_bought - 1).any() else ""
        files.write_png(folder / f"{record['image_id']}.png", with_legend(picture, labels, taxonomy, void=void))
    counts = np.array([list(entry["classes"].values()) for entry in store.rounds])
    imbalances = [entry["imbalance"] for entry in store.rounds]
    picture = bought_bars(store.class_names, counts, imbalances, taxonomy.colors)
    files.atomic_write(store.folder / "classes.png", picture)


def is_drawn(store: LabelStore) -> bool:
    """Whether the pictures of the last round have been finished: theirs is the last file that a round writes."""
    picture, manifest = store.folder / "classes.png", store.folder / "manifest.json"
    return picture.is_file() and picture.stat().st_mtime_ns >= manifest.stat().st_mtime_ns
