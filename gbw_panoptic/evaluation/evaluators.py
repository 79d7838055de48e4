"""The evaluator of one model on one data set, in Detectron2's protocol (reset, process, evaluate)."""

import logging
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from .. import files
from ..data.statistics import ClassStatistics
from ..errors import UserError
from ..names import unique_names
from ..taxonomy import CITYSCAPES, Protocol, Taxonomy
from . import maps
from .accumulator import ScoreAccumulator
from .levels import common_protocol
from .panel import panel_of, write_layers
from .scores import averaged_classes, flatten, summary_line

logger = logging.getLogger(__name__)


def build_evaluator(
    cfg, dataset_name: str, output_dir: str | None = None, *, model_name: str = "student", iteration: int | None = None
) -> "DomainAdaptationEvaluator":
    """Evaluator of ``dataset_name`` for the configured task and protocols.

    Args:
        output_dir: folder of the results; ``OUTPUT_DIR/inference`` by default, with one folder per data set if there
            are several.
        iteration: of the weights, for the result file.
    """
    metadata = MetadataCatalog.get(dataset_name)
    if output_dir is None:
        output_dir = str(Path(cfg.OUTPUT_DIR, "inference", *([dataset_name] if len(cfg.DATASETS.TEST) > 1 else [])))
    return DomainAdaptationEvaluator(
        DatasetCatalog.get(dataset_name),
        metadata.taxonomy,
        protocols=_protocols(metadata, cfg.TEST.PROTOCOLS),
        task=cfg.MODEL.TASK,
        dataset_name=dataset_name,
        model_name=model_name,
        iteration=iteration,
        source_pixels=source_pixels(cfg.DATASETS.TRAIN, metadata.taxonomy.names),
        num_rare=cfg.TEST.RARE_CLASSES,
        output_dir=output_dir,
        num_panels=cfg.TEST.NUM_PANELS,
        instance_ap=cfg.TEST.INSTANCE_AP,
        precision=cfg.SOLVER.AMP.PRECISION if cfg.SOLVER.AMP.ENABLED is True else "float32",
    )


def _protocols(metadata, names: Sequence[str]) -> list[Protocol]:
    """Those of the names and, where labels of the data set are unions of classes, that of the level at which they can
    be scored."""
    common = common_protocol(metadata.taxonomy, metadata.get("labels", ()))
    return [*(metadata.taxonomy.protocols[name] for name in names), *([common] if common else [])]


def _absolute(record: Mapping) -> Path:
    return Path(os.path.abspath(record["file_name"]))


def source_pixels(names: Sequence[str], class_names: Sequence[str]) -> np.ndarray | None:
    """[C] labelled pixels over the sources; None where one has no class statistics (not prepared on this machine)."""
    paths = [MetadataCatalog.get(name).get("class_statistics") for name in names]
    if not paths or not all(path and Path(path).is_file() for path in paths):
        logger.warning(
            "No class statistics of %s: rare classes are not averaged apart.", ", ".join(names) or "a source"
        )
        return None
    return np.sum([ClassStatistics.load(path, class_names).pixels for path in paths], axis=0)


class DomainAdaptationEvaluator(DatasetEvaluator):
    """Panoptic quality and semantic metrics by protocol, accumulated in memory.

    Args:
        records: the data set's records; looked up by ``file_name``, so a mapper may drop label keys.
        protocols: what to average over; those that are not defined for ``panoptic`` are reported for ``semantic`` only.
        task: ``panoptic`` or ``semantic`` (then outputs need no ``panoptic_seg``).
        source_pixels, num_rare: see :func:`gbw_panoptic.evaluation.scores.semantic_scores`.
        output_dir: where ``<model_name>.json``, ``panels/<model_name>/*.png`` and the layers of the report's
            pictures go; None writes nothing.
        num_panels: pictures of the first images.
        instance_ap: whether to compute the average precision of instances; outputs then need ``instance_scores``.
        precision: in which the training computes, for the result file; None where that is not known.
    """

    def __init__(
        self,
        records: Sequence[Mapping],
        taxonomy: Taxonomy,
        *,
        protocols: Sequence[Protocol],
        task: str = "panoptic",
        dataset_name: str = "",
        model_name: str = "student",
        iteration: int | None = None,
        source_pixels: Sequence[float] | None = None,
        num_rare: int = 0,
        output_dir: str | None = None,
        num_panels: int = 0,
        instance_ap: bool = False,
        precision: str | None = None,
    ) -> None:
        self._records = {record["file_name"]: record for record in records}
        self._panel_names = unique_names(map(_absolute, records))
        self._taxonomy, self._protocols, self._task = taxonomy, tuple(protocols), task
        self._identity = {"model": model_name, "dataset": dataset_name, "iteration": iteration, "precision": precision}
        self._source_pixels, self._num_rare = source_pixels, num_rare
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._num_panels = num_panels if output_dir is not None and comm.is_main_process() else 0
        self._instance_ap = instance_ap
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._accumulator = ScoreAccumulator(self._taxonomy, self._protocols, instance_ap=self._instance_ap)
        self._images: Counter = Counter()
        self._seconds: Counter = Counter()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Adds images.

        Args:
            inputs: model inputs with ``file_name``.
            outputs: :class:`~gbw_panoptic.structures.samples.ModelOutput`; other projects' hold ``segments_info``
                beside the map.
        """
        for file_name, output in zip((i["file_name"] for i in inputs), outputs):
            record = self._records.get(file_name)
            if record is None:
                raise UserError(
                    f"expected an image of {self._identity['dataset']}, found {file_name}: evaluate with its own loader"
                )
            try:
                self._process_one(record, output)
            except UserError as error:
                raise UserError(f"{file_name}: {error}") from None
            self._images[file_name] += 1

    def _process_one(self, record: Mapping, output: Mapping) -> None:
        with self._clock("reading ground truth"):
            truth = maps.read_ground_truth(record, self._taxonomy)
        with self._clock("arg max and copies"):
            labels = maps.predicted_labels(output)
            has_panoptic = self._task == "panoptic" and truth.ids is not None
            panoptic = maps.predicted_panoptic_map(output, self._taxonomy) if has_panoptic else None
        with self._clock("metrics"):
            segments = maps.segments_of(panoptic, self._taxonomy) if has_panoptic else None
            overlaps = self._accumulator.add(truth, labels, segments, maps.predicted_scores(output))
        if len(self._images) < self._num_panels:
            with self._clock("panels"):
                self._save_panel(record, truth, labels, panoptic, overlaps)

    def _save_panel(self, record, truth, labels, panoptic, overlaps) -> None:
        image = files.read_image(record["file_name"])
        panel = panel_of(image, truth, labels, panoptic, self._taxonomy, overlaps=overlaps)
        folder, name = self._output_dir / "panels" / self._identity["model"], self._panel_names[_absolute(record)]
        folder.mkdir(parents=True, exist_ok=True)
        files.write_png(folder / f"{name}.png", panel.picture())
        write_layers(self._output_dir, self._identity["model"], name, panel.layers())

    def evaluate(self) -> OrderedDict:
        """Merges the ranks, logs and writes the results.

        Returns:
            task -> protocol -> metric -> number on the main rank (per class ``<metric>/<class name>``), nothing on
            the others.
        """
        self._gather()
        if not comm.is_main_process():
            return OrderedDict()
        scores = self._accumulator.scores(source_pixels=self._source_pixels, num_rare=self._num_rare)
        self._log(scores)
        if self._output_dir is not None:
            self._output_dir.mkdir(parents=True, exist_ok=True)
            complete = {
                **self._identity, "images": len(self._images), "protocols": [p.name for p in self._protocols],
                "seconds_per_image": self._seconds_per_image(), "scores": scores,
                **({} if self._taxonomy.colors == CITYSCAPES.colors
                   else {"colors": dict(zip(self._taxonomy.names, self._taxonomy.colors))}),
                "confusion": {"classes": self._taxonomy.names,
                              "pixels": self._accumulator.confusion.matrix[: self._taxonomy.num_classes].tolist()},
            }  # fmt: skip
            files.write_json(self._output_dir / f"{self._identity['model']}.json", complete)
        return flatten(scores)

    def _gather(self) -> None:
        """Adds the other ranks' sums to the main rank's."""
        state = {"accumulator": self._accumulator.state(), "images": self._images, "seconds": self._seconds}
        for other in comm.gather(state)[1:]:
            self._accumulator.add_state(other["accumulator"])
            self._images += other["images"]
            self._seconds += other["seconds"]
        repeated = [name for name, count in self._images.items() if count > 1]
        if repeated:
            raise UserError(
                f"expected every image once, found {len(repeated)} several times, first {repeated[0]}: "
                "use Detectron2's InferenceSampler"
            )

    def _log(self, scores: Mapping) -> None:
        """A line for each protocol; the tables are in the report."""
        model, dataset = self._identity["model"], self._identity["dataset"]
        for name in scores["semantic"]:
            of_protocol = {task: values[name] for task, values in scores.items() if name in values}
            line = summary_line(of_protocol.get("panoptic"), of_protocol["semantic"], of_protocol.get("instance"))
            averaged, _ = averaged_classes(of_protocol.get("panoptic") or of_protocol["semantic"])
            logger.info(
                "The %s on %d images of %s, protocol %s, N = %d classes: %s",
                model, len(self._images), dataset, name, len(averaged), line,
            )  # fmt: skip
        times = (f"{name} {1000 * seconds:.1f}" for name, seconds in self._seconds_per_image().items())
        logger.debug("Milliseconds per image: %s", ", ".join(times))

    def _seconds_per_image(self) -> dict[str, float]:
        return {name: seconds / max(len(self._images), 1) for name, seconds in self._seconds.items()}

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - start
