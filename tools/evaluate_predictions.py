"""Score panoptic predictions in PNG files and a JSON (panopticapi's format, and Cityscapes'), without a model.

    python tools/evaluate_predictions.py output/predictions/panoptic.json --dataset cityscapes_uda_panoptic_val
    python tools/evaluate_predictions.py pred.json --folder pngs --truth val.json --truth-folder val_pngs --protocols 16

The PNG files lie in the folder of the JSON's name (pred.json: pred/) unless --folder says otherwise. Areas are counted
from the maps. Tables by protocol are printed, and the results written as tools/train_net.py writes them.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from gbw_panoptic import cli, files
from gbw_panoptic.data.preparation.parallel import default_workers, ordered_map
from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation import saved
from gbw_panoptic.evaluation.accumulator import ScoreAccumulator
from gbw_panoptic.reporting.page import protocol_texts
from gbw_panoptic.taxonomy import Taxonomy


def main() -> None:
    arguments = parse()
    taxonomy, classes, truths = (
        registered(arguments.dataset, arguments.custom, arguments.taxonomy)
        if arguments.dataset
        else from_files(arguments)
    )
    protocols = saved.choose_protocols(taxonomy, arguments.protocols)
    path = Path(arguments.predictions)
    predictions = saved.read_annotations(path, arguments.folder or path.with_suffix(""))
    pairs = saved.pair_up(truths, saved.contiguous(predictions, classes, path))
    total, start = ScoreAccumulator(taxonomy, protocols), time.perf_counter()
    score = partial(saved.score, taxonomy=taxonomy, protocols=protocols)
    for state in ordered_map(score, pairs, workers=min(arguments.workers, len(pairs)), title="Scoring"):
        total.add_state(state)
    scores = total.scores()
    if len(predictions) > len(pairs):
        print(f"left out: {len(predictions) - len(pairs)} predictions of images that the ground truth does not have")
    print(f"{len(pairs)} images of {arguments.dataset or arguments.truth}:")
    for text in protocol_texts(scores):
        print(f"\n{text}")
    output = Path(arguments.output or path.with_name(f"{path.stem}_scores.json"))
    output.parent.mkdir(parents=True, exist_ok=True)
    complete = {
        "model": path.stem, "dataset": arguments.dataset or Path(arguments.truth).stem, "iteration": None,
        "images": len(pairs), "protocols": [protocol.name for protocol in protocols],
        "seconds_per_image": {"scoring": (time.perf_counter() - start) / len(pairs)}, "scores": scores,
        "confusion": {"classes": taxonomy.names, "pixels": total.confusion.matrix[: taxonomy.num_classes].tolist()},
    }  # fmt: skip
    files.write_json(output, complete)
    print(f"\nResults: {output}")


def registered(name: str, custom: str | None, space: str | None) -> tuple[Taxonomy, Mapping[int, int], dict]:
    """Taxonomy, category id -> contiguous id and records by image id of a registered data set."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from gbw_panoptic.data import check_datasets, register_all

    register_all(custom=custom, taxonomy=space)
    check_datasets((name,))
    taxonomy, records = MetadataCatalog.get(name).taxonomy, DatasetCatalog.get(name)
    if "pan_seg_file_name" not in records[0]:
        raise UserError(f"--dataset: expected panoptic labels, found none in {name}; name a panoptic data set")
    return taxonomy, taxonomy.contiguous_id, {record["image_id"]: record for record in records}


def from_files(arguments: argparse.Namespace) -> tuple[Taxonomy, Mapping[int, int], dict]:
    """The same of a ground-truth JSON with its PNG files."""
    path = Path(arguments.truth)
    taxonomy, classes = saved.read_categories(path)
    records = saved.read_annotations(path, arguments.truth_folder or path.with_suffix(""))
    return taxonomy, classes, saved.contiguous(records, classes, path)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("predictions", metavar="JSON", help="annotations of the predictions")
    parser.add_argument("--folder", help="of the predicted PNG files; default: the JSON's name without .json")
    truth = parser.add_mutually_exclusive_group(required=True)
    truth.add_argument("--dataset", metavar="NAME", help="registered data set with the ground truth")
    truth.add_argument("--truth", metavar="JSON", help="annotations of the ground truth, with categories")
    parser.add_argument("--custom", metavar="FILE", help="of --dataset: description of your own data sets")
    parser.add_argument("--taxonomy", metavar="FILE", help="of --dataset: its classes, as DATASETS.TAXONOMY")
    parser.add_argument("--truth-folder", help="of the true PNG files; default: the JSON's name without .json")
    parser.add_argument("--protocols", nargs="+", default=[], help="default: all that suit the classes")
    parser.add_argument("--output", metavar="FILE", help="default: JSON's name with _scores")
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes (default %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
