"""Pictures of what a model is fed: one page per training step, and the sampling of the source.

    python tools/browse_data.py --config-file configs/streets/self_training_gbw.yaml --output output/browse --num 4
    python tools/browse_data.py --run output/demo/adapted --output output/browse  # goes on from its last checkpoint

The steps are true ones: the trainer trains in memory, and the samples are taken from the calls of its model. Without a
checkpoint these are the first steps of a run, where the teacher knows nothing yet; with one, those behind it.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import tempfile
from pathlib import Path

from gbw_panoptic import cli


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config-file", help="of a training")
    parser.add_argument("--weights", help="checkpoint of such a training, to go on from there")
    parser.add_argument("--run", help="OUTPUT_DIR of a run, for its configuration and its last checkpoint")
    parser.add_argument("--output", required=True, help="folder of the pages")
    parser.add_argument("--num", type=int, default=4, help="steps, one page each")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides, last")
    cli.add_parts(parser)
    arguments = parser.parse_args()
    if bool(arguments.config_file) == bool(arguments.run):
        parser.error("give --config-file or --run")
    if arguments.num < 1:
        parser.error("--num: give at least 1")
    return arguments


if __name__ == "__main__":
    parse()  # --help and a wrong command line need not wait for the imports below

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.utils.logger import setup_logger
from recording import RecordedStep, record_steps
from torch import Tensor

from gbw_panoptic import files
from gbw_panoptic.data import check_datasets
from gbw_panoptic.data.samplers import RareClassSampler
from gbw_panoptic.data.statistics import ClassStatistics
from gbw_panoptic.engine.build import build_trainer, resume_or_load
from gbw_panoptic.engine.checkpoint import YOUNG_PARTS
from gbw_panoptic.engine.logs import quiet_explained_errors
from gbw_panoptic.engine.setup import adapt_to_machine, load_config, register_data_sets
from gbw_panoptic.engine.trainer import DomainAdaptationTrainer
from gbw_panoptic.errors import UserError
from gbw_panoptic.inference.weights import find_run
from gbw_panoptic.structures.segments import SegmentTargets
from gbw_panoptic.taxonomy import Taxonomy
from gbw_panoptic.validation import validate
from gbw_panoptic.visualization.plots import class_bars
from gbw_panoptic.visualization.samples import make_page, sample_cells


def main() -> None:
    arguments = parse()
    cli.import_parts(arguments.imports)
    setup_logger(name="gbw_panoptic")
    quiet_explained_errors()
    output = Path(arguments.output)
    if arguments.run:
        arguments.config_file, last = find_run(arguments.run)
        arguments.weights = arguments.weights or last
    cfg = load_config(arguments.config_file, arguments.opts)
    register_data_sets(cfg)
    adapt_to_machine(cfg)
    cfg.TRACKING.WANDB = False
    if arguments.weights:
        cfg.MODEL.WEIGHTS = ""  # with which that run began
    with tempfile.TemporaryDirectory() as folder:
        cfg.OUTPUT_DIR = folder
        validate(cfg)
        check_datasets((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TARGET))
        output.mkdir(parents=True, exist_ok=True)
        trainer = build_trainer(cfg)
        origin = load(trainer, arguments.weights, cfg.MODEL.WEIGHTS)
        sampling = write_sampling(trainer, cfg.DATASETS.TRAIN, output / "sampling.png")
        pages = Pages(
            output,
            taxonomy_of(cfg.DATASETS.TRAIN).of_labels,
            bgr=cfg.INPUT.FORMAT == "BGR",
            origin=origin,
        )
        with cli.progress(arguments.num, "Pages", unit="step") as bar:

            def on_step(step: RecordedStep) -> None:
                pages.write(step, sampling)
                bar.update()

            record_steps(trainer, arguments.num, on_step, max_iter=cfg.SOLVER.MAX_ITER)
    print(f"Pages: {output}")


def load(trainer: DomainAdaptationTrainer, checkpoint: str | None, initial_weights: str) -> str:
    """Take the trainer to where the checkpoint was written; words for where that is."""
    if not checkpoint:
        resume_or_load(trainer, initial_weights, resume=False)
        return "of a new run"
    parts = sorted(set(trainer.checkpointer.checkpointables) - set(YOUNG_PARTS))  # other settings are what is looked at
    try:
        trainer.checkpointer.load(checkpoint, parts)
        missing = sorted(set(parts) - trainer.checkpointer.contents)
        found = f"none of {', '.join(missing)}" if missing else ""
    except UserError:  # not even weights of another source
        found = "weights that do not fit"
    except (RuntimeError, ValueError, KeyError) as error:  # states of other shapes
        found = " ".join(str(error).split("\n\t")[:2])
    if found:
        raise UserError(
            f"--weights: expected a checkpoint of a run with this configuration, found {found.rstrip('.')} in "
            f"{checkpoint}; give that run's configuration, or set MODEL.WEIGHTS to begin a run with it."
        )
    return f"behind {checkpoint}"


def write_sampling(trainer: DomainAdaptationTrainer, sources: tuple[str, ...], path: Path) -> dict[int, float]:
    """Class -> probability of being drawn, and their picture; nothing without rare-class sampling."""
    sampler = trainer.loader.source_sampler
    if sampler is None:
        raise UserError(
            "expected a training on a source, found ACTIVE.SOURCE_FREE True; set it to False to look at pairs."
        )
    if not isinstance(sampler, RareClassSampler):
        return {}
    probabilities = dict(zip(sampler.class_ids, sampler.probabilities.tolist()))
    taxonomy = taxonomy_of(sources)
    pixels = sum(ClassStatistics.load(MetadataCatalog.get(name).class_statistics).pixels for name in sources)
    picture = class_bars(
        [taxonomy.names[c] for c in probabilities],
        [100 * p for p in probabilities.values()],
        [taxonomy.colors[c] for c in probabilities],
        label="probability that an image is drawn for the class (%)",
        baseline=[100 * pixels[c] / pixels.sum() for c in probabilities],
        baseline_name="share of source pixels",
    )
    files.atomic_write(path, picture)
    return probabilities


class Pages:
    """Writes ``<iteration>.png``: for each place in the batch, source, target and what is made of both, a row each."""

    def __init__(self, output: Path, taxonomy: Taxonomy, *, bgr: bool, origin: str) -> None:
        """
        Args:
            bgr: whether the samples' images are in that channel order.
            origin: of the first step, for the title.
        """
        self.output = output
        self.taxonomy = taxonomy
        self.bgr = bgr
        self.origin = origin

    def write(self, step: RecordedStep, sampling: dict[int, float]) -> None:
        """
        Args:
            sampling: class -> probability of being drawn.
        """
        rows = [row for index in range(len(step.draws)) for row in self._rows(step, index, sampling)]
        drawn = [(heading, sample_cells(arrays, self.taxonomy)) for heading, arrays in rows]
        keys = ("sem_seg", "segment_classes")
        labels = [np.unique(arrays[key]) for _, arrays in rows for key in keys if key in arrays]
        classes = [c for c in np.unique(np.concatenate(labels)).tolist() if c < self.taxonomy.num_classes]
        page = make_page(f"Iteration {step.iteration} {self.origin}", drawn, classes, self.taxonomy)
        files.write_png(self.output / f"{step.iteration:07d}.png", page)

    def _rows(self, step: RecordedStep, index: int, sampling: dict[int, float]) -> list[tuple[str, dict]]:
        """Headings and samples of one place in the batch: source, target, whatever else was fed."""
        source, drawn_for = Path(step.batch.source[index]["file_name"]).name, step.draws[index].class_id
        if drawn_for is not None:
            source += f", drawn for {self.taxonomy.names[drawn_for]} (P = {sampling[drawn_for]:.3f})"
        rows = []
        for branch, samples in step.fed:
            for sample in samples[index : index + 1]:
                name = source if branch == "source" else Path(sample.get("file_name", "")).name
                heading = f"Pair {index + 1}: {branch}, as fed" + (f": {name}" if name else "")
                rows.append((heading, self._arrays(sample)))
        for target, pseudo in zip(step.batch.target[index : index + 1], step.pseudo[index : index + 1]):
            heading = f"Pair {index + 1}: target, with the teacher's labels: {Path(target['file_name']).name}"
            rows.insert(1, (heading, self._arrays({**pseudo, "valid_mask": target["valid_mask"]})))
        return rows

    def _arrays(self, sample: dict) -> dict[str, np.ndarray]:
        if "segment_ids" in sample:
            segments = SegmentTargets.of_labels(sample["segment_ids"], sample["segment_classes"])
            sample = {"image": sample["image"], "segments": segments}
        values = {**_segment_keys(sample["segments"]), **sample} if "segments" in sample else sample
        arrays = {key: value.detach().cpu().numpy() for key, value in values.items() if isinstance(value, Tensor)}
        image = np.clip(np.rint(arrays["image"].transpose(1, 2, 0)), 0, 255).astype(np.uint8)
        arrays["image"] = np.ascontiguousarray(image[..., ::-1] if self.bgr else image)
        return arrays


def _segment_keys(segments: SegmentTargets) -> dict[str, Tensor]:
    """What a picture shows of segments."""
    numbers = torch.arange(1, len(segments.classes) + 1, device=segments.masks.device).view(-1, 1, 1)
    return {
        "segment_ids": (segments.masks * numbers).sum(dim=0),
        "segment_classes": segments.classes,
        "segment_weights": segments.weights,
        "segment_confidence": segments.confidence,
        "valid_mask": segments.valid,
    }


def taxonomy_of(sources: tuple[str, ...]) -> Taxonomy:
    return MetadataCatalog.get(sources[0]).taxonomy


if __name__ == "__main__":
    cli.run(main)
