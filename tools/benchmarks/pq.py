"""Panoptic quality against panopticapi (no PNG on either side) and against Detectron2's evaluator, end to end."""

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import panopticapi.evaluation
import torch
from panopticapi.utils import id2rgb
from PIL import Image

from gbw_panoptic.evaluation import PanopticQuality, maps
from gbw_panoptic.taxonomy import CITYSCAPES

from .scenes import imperfect, street, with_segments
from .timing import Comparison, compare

_CATEGORIES = [{"id": c, "isthing": int(thing)} for c, thing in enumerate(CITYSCAPES.is_thing)]
_DATASET = "benchmark_pq"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--things", type=int, default=40, help="instances per image, beside about ten stuff segments")
    parser.add_argument("--images", type=int, default=4)


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    size = tuple(arguments.size)
    truths = [street(size, things=arguments.things, seed=arguments.seed + i) for i in range(arguments.images)]
    predictions = [imperfect(truth, seed=arguments.seed + i) for i, truth in enumerate(truths)]
    counts = [len(with_segments(m)[1]) for m in truths + predictions]
    title = f"{arguments.images} images of {size[0]}x{size[1]} with {min(counts)} to {max(counts)} segments"
    yield _maps_alone(truths, predictions, title, arguments)
    yield _end_to_end(truths, predictions, title, arguments)


def _maps_alone(truths, predictions, title: str, arguments: argparse.Namespace) -> Comparison:
    """Id maps and segments in memory on both sides: panopticapi decodes neither PNG nor colours."""
    pairs = [(*with_segments(p), *with_segments(t)) for p, t in zip(predictions, truths)]
    pairs = [(p.astype(np.int32), p_info, t.astype(np.int32), t_info) for p, p_info, t, t_info in pairs]

    def ours() -> dict:
        quality = PanopticQuality(_CATEGORIES)
        for pair in pairs:
            quality.update(*pair)
        return quality.state()

    stored = {f"{kind}/{i}": pair[k] for i, pair in enumerate(pairs) for kind, k in (("pred", 0), ("gt", 2))}
    annotations = [
        tuple({"image_id": i, "file_name": str(i), "segments_info": [dict(s) for s in info]} for info in (gt, pred))
        for i, (_, pred, _, gt) in enumerate(pairs)
    ]

    def theirs() -> dict:
        stub = SimpleNamespace(open=lambda path: stored[path])
        with (
            mock.patch.multiple(panopticapi.evaluation, Image=stub, rgb2id=lambda ids: ids),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            stat = panopticapi.evaluation.pq_compute_single_core(
                0, annotations, "gt", "pred", {c["id"]: c for c in _CATEGORIES}
            )
        return {key: np.array([getattr(stat[c["id"]], key) for c in _CATEGORIES]) for key in ("tp", "fp", "fn", "iou")}

    return compare(
        f"PQ of id maps in memory, per image: {title}", reference=("panopticapi", theirs), ours=ours,
        same=partial(_same, keys=("tp", "fp", "fn", "iou")), arguments=arguments, units=len(truths), goal=5,
    )  # fmt: skip


def _end_to_end(truths, predictions, title: str, arguments: argparse.Namespace) -> Comparison:
    """From the model's output on one side and PNG files of the truth on the other to the scores."""
    with tempfile.TemporaryDirectory() as folder:
        records = write_truth(truths, Path(folder))
        outputs = [{"panoptic_seg": (torch.from_numpy(p), None)} for p in predictions]

        def theirs() -> dict:
            return _detectron2(records, outputs)

        def ours() -> dict:
            quality = PanopticQuality(_CATEGORIES)
            for record, output in zip(records, outputs):
                truth = maps.read_ground_truth(record, CITYSCAPES)
                predicted = maps.predicted_panoptic_map(output, CITYSCAPES)
                quality.update(*maps.segments_of(predicted, CITYSCAPES), truth.ids, truth.segments)
            return quality.compute()["All"]

        return compare(
            f"PQ from model output and label files, per image: {title}",
            reference=("Detectron2's COCOPanopticEvaluator", theirs), ours=ours,
            same=partial(_same, keys=("PQ", "SQ", "RQ")), arguments=arguments, units=len(truths), goal=5,
        )  # fmt: skip


def _detectron2(records: Sequence[dict], outputs: Sequence[dict]) -> dict:
    """Detectron2's evaluator on one core: its panopticapi would start a process per core, and leave it."""
    from detectron2.evaluation import COCOPanopticEvaluator

    single = panopticapi.evaluation.pq_compute_single_core
    evaluator = COCOPanopticEvaluator(_DATASET)
    evaluator.reset()
    evaluator.process(records, [{"panoptic_seg": (o["panoptic_seg"][0].clone(), None)} for o in outputs])
    with mock.patch.object(panopticapi.evaluation, "pq_compute_multi_core", lambda *args: single(0, *args)):
        return evaluator.evaluate()["panoptic_seg"]


def write_truth(truths: Sequence[np.ndarray], folder: Path) -> list[dict]:
    """Label PNGs and JSON in ``folder``; registers the data set for Detectron2 and returns its records."""
    from detectron2.data import MetadataCatalog

    records = []
    for i, truth in enumerate(truths):
        ids, segments = with_segments(truth)
        Image.fromarray(id2rgb(ids)).save(folder / f"{i}.png")
        record = {"file_name": f"{i}.png", "image_id": i, "pan_seg_file_name": str(folder / f"{i}.png")}
        records.append({**record, "segments_info": segments})
    keys = ("file_name", "image_id", "segments_info")
    annotations = [{key: record[key] for key in keys} for record in records]
    truth = {"images": [], "annotations": annotations, "categories": _CATEGORIES}
    (folder / "truth.json").write_text(json.dumps(truth))
    MetadataCatalog.pop(_DATASET, None)
    MetadataCatalog.get(_DATASET).set(
        panoptic_json=str(folder / "truth.json"), panoptic_root=str(folder), label_divisor=CITYSCAPES.label_divisor,
        thing_dataset_id_to_contiguous_id={c: c for c in CITYSCAPES.thing_ids},
        stuff_dataset_id_to_contiguous_id={c: c for c in CITYSCAPES.stuff_ids},
    )  # fmt: skip
    return records


def _same(expected: dict, found: dict, keys: Sequence[str]) -> bool:
    return all(np.allclose(found[key], expected[key], rtol=0, atol=1e-9) for key in keys)
