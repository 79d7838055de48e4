"""Estimates of the score on images without labels, at an evaluation."""

import logging
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation.evaluator import inference_context
from detectron2.utils import comm
from torch import Tensor, nn

from .. import cli
from ..adaptation.mean_teacher.augmentation import StrongAugmentation
from ..data.chosen_records import build_source_validation
from ..data.loader import build_test_loader
from ..evaluation.evaluators import DomainAdaptationEvaluator, source_pixels
from ..evaluation.maps import read_ground_truth
from ..structures.predictions import DensePrediction, likeliest_classes
from ..structures.samples import Record
from ..trust.estimation import Counts, Estimation
from ..trust.seen import SAMPLES, Calibration, Output, Reference, Seen, calibrate, grid_step, spaced

logger = logging.getLogger(__name__)
#: Of the augmented view, which is mirrored, too (DACS, arXiv 2007.08702, jitters as much).
_JITTER = 0.2
_PARTNER = {"student": "teacher", "teacher": "student"}
#: Labelled pixels of an image that confidence is calibrated on.
_CALIBRATION_PIXELS = 1024


def estimate(cfg, models: Mapping[str, nn.Module], *, iteration: int, max_images: int | None = None) -> dict:
    """Looks at images of TEST.UNSUPERVISED with each model, logs what it costs and writes the estimates' files.

    Args:
        iteration, max_images: as of :func:`~.evaluation.evaluate`.

    Returns:
        ``{"unsupervised": {model: {name: percent}}}`` on the main rank; nothing on others, and without data sets.
    """
    records = _images(cfg.TEST.UNSUPERVISED, cfg.TEST.UNSUPERVISED_IMAGES)[:max_images]
    if not records:
        return {}
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(inference_context(model))
        stack.enter_context(torch.no_grad())
        checked = {name: _on_source(cfg, name, model, max_images) for name, model in models.items()}
        references = {name: _reference(cfg, calibration) for name, (calibration, _) in checked.items()}
        counts = _count(cfg, models, records, references)
    gathered = comm.gather(counts)
    results = {}
    for name in models if comm.is_main_process() else ():
        for other in gathered[1:]:
            gathered[0][name].extend(other[name])
        of_model = gathered[0][name]
        found = Estimation.of(name, iteration, of_model, references[name], checked[name][1])
        found.save(cfg.OUTPUT_DIR)
        _log(found, of_model.seconds)
        results[name] = found.flat()
    return {"unsupervised": results} if results else {}


def _images(names: Sequence[str], count: int) -> list[Record]:
    """``count`` images of all data sets, evenly spaced; without a key that leads to a label."""
    records = [record for name in names for record in DatasetCatalog.get(name)]
    chosen = spaced(len(records), count or len(records))
    return [{key: records[i][key] for key in ("file_name", "image_id")} for i in chosen.tolist()]


def _reference(cfg, calibration: Calibration | None) -> Reference:
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    names = tuple(metadata.taxonomy.names)
    return Reference(names, metadata.label_divisor, source_shares(cfg.DATASETS.TRAIN, names), calibration)


def source_shares(data_sets: Sequence[str], class_names: Sequence[str]) -> np.ndarray | None:
    """[C] shares of classes in the labels of sources; None where one has no class statistics."""
    pixels = source_pixels(data_sets, class_names)
    return None if pixels is None else pixels / max(pixels.sum(), 1)


def _count(
    cfg, models: Mapping[str, nn.Module], records: Sequence[Record], references: Mapping[str, Reference]
) -> dict[str, Counts]:
    """Of this rank's images."""
    augmentation = StrongAugmentation(_JITTER, 1.0, 1.0, cfg.INPUT.FORMAT)
    loader, counts = build_test_loader(cfg, records), {name: Counts() for name in models}
    with cli.progress(len(loader), "Estimating without labels") as line:
        for (record,) in loader:
            own, views = {}, {}
            augmented = {**record, "image": _augmented(record, augmentation)}
            for name, model in models.items():
                start = time.perf_counter()
                own[name] = _output(model, record)
                views[name] = _output(model, augmented, mirrored=True)
                counts[name].seconds["both passes of the model"] += time.perf_counter() - start
            for name in models:
                seen = Seen(own[name], own.get(_PARTNER.get(name, "")), views[name])
                counts[name].add(record["image_id"], seen, references[name])
            line.update()
    return counts


def _augmented(record: Mapping, augmentation: StrongAugmentation) -> Tensor:
    """float32 [3, H, W], the same whenever and by whomever the image is looked at."""
    generator = np.random.default_rng(zlib.crc32(record["image_id"].encode()))
    return augmentation(record["image"].float(), generator).flip(-1)


def _output(model: nn.Module, record: Mapping, *, mirrored: bool = False) -> Output:
    """What estimators see of a model's output; ``mirrored`` lays it back on an image that was mirrored for it."""
    prediction = model.predict([record])
    result = model.output(prediction, record)
    dense = isinstance(prediction, DensePrediction)
    scores = None if dense or "panoptic_seg" not in result else _mask_confidence(model, prediction, record)
    step = grid_step(tuple(result["sem_seg"].shape[-2:]))
    labels = result["labels"] if "labels" in result else likeliest_classes(result["sem_seg"])
    panoptic = result["panoptic_seg"][0].int() if "panoptic_seg" in result else None

    def laid_back(values: Tensor | None, step: int = 1) -> np.ndarray | None:
        if values is None:
            return None
        return (values.flip(-1) if mirrored else values)[..., ::step, ::step].cpu().numpy()

    return Output(
        logits=laid_back(result["sem_seg"].float(), step),
        labels=laid_back(labels.int()),
        panoptic=laid_back(panoptic),
        confidence=laid_back(scores, step),
        heat=laid_back(prediction.center[0, 0].float()) if dense and prediction.center is not None else None,
        features=_sampled(prediction.hidden) if dense and prediction.hidden is not None else None,
    )


def _mask_confidence(model: nn.Module, prediction: object, record: Mapping) -> Tensor:
    """[H, W] of a mask model: probability of a segment's class times that of its mask (MC-PanDA, arXiv 2407.14110)."""
    return model.post_processing(prediction, 0, (record["height"], record["width"])).region_confidence


def _sampled(hidden: Tensor) -> np.ndarray:
    """[SAMPLES, K] of [1, K, h, w]."""
    cells = hidden[0].flatten(1)
    return cells[:, torch.from_numpy(spaced(cells.shape[1], SAMPLES)).to(cells.device)].T.float().cpu().numpy()


def _on_source(
    cfg, model_name: str, model: nn.Module, max_images: int | None
) -> tuple[Calibration | None, dict[str, float]]:
    """Calibration and scores on the source's images that training has not seen; neither where none are held out."""
    records = build_source_validation(cfg)[:max_images]
    if not records:
        return None, {}
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    taxonomy, name = metadata.taxonomy, cfg.TEST.PROTOCOLS[0]
    evaluator = DomainAdaptationEvaluator(
        records, taxonomy, protocols=[taxonomy.protocols[name]], task=cfg.MODEL.TASK, model_name=model_name,
        dataset_name=f"{', '.join(cfg.DATASETS.TRAIN)} (held out)",
    )  # fmt: skip
    pairs = []
    for (record,) in build_test_loader(cfg, records):
        result = model.output(model.predict([record]), record)
        evaluator.process([record], [result])
        pairs.append(_labelled_pixels(result["sem_seg"], read_ground_truth(record, taxonomy).labels))
    every = [pair for of_rank in comm.all_gather(pairs) for pair in of_rank]
    calibration = calibrate(*(np.concatenate(parts, axis=-1) for parts in zip(*every)))
    return calibration, dict(_headlines(evaluator.evaluate(), name))


def _labelled_pixels(logits: Tensor, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [C, N] and int64 [N] of some pixels that have a class."""
    places = np.flatnonzero(labels < len(logits))
    places = places[spaced(len(places), _CALIBRATION_PIXELS)]
    chosen = logits.flatten(1)[:, torch.from_numpy(places).to(logits.device)]
    return chosen.float().cpu().numpy(), labels.ravel()[places].astype(np.int64)


def _headlines(scores: Mapping, protocol: str) -> Iterator[tuple[str, float]]:
    for task, metric in (("panoptic", "PQ"), ("semantic", "mIoU")):
        if protocol in scores.get(task, {}):
            yield f"source_{metric}", float(scores[task][protocol][metric])


def _log(found: Estimation, seconds: Mapping[str, float]) -> None:
    """Two lines: what is estimated, and what it cost."""
    values = ", ".join(f"{name} {value:.1f}" for name, value in found.values.items())
    logger.info("Estimates without labels, the %s on %d images: %s", found.model, len(found.images), values)
    costs = (
        f"{name} {1000 * time / len(found.images):.1f}" for name, time in sorted(seconds.items(), key=lambda i: -i[1])
    )
    logger.info("Their cost in milliseconds per image: %s", ", ".join(costs))
