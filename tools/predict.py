"""Panoptic predictions for images, folders, globs and videos, without a display.

    python tools/predict.py --run output/demo/adapted --input photo.jpg "frames/*.png" drive.mp4 --output predictions
    python tools/predict.py --config-file FILE --weights model_final.pth --input folder --output output/predictions
    python tools/predict.py --run output/demo/adapted --dataset cityscapes_uda_panoptic_val --num 20 --output out

A run brings its classes along: the data sets of its training need not be there.
OUTPUT holds overlay/, labelIds/ (Cityscapes' format), panoptic/ and panoptic.json (COCO's format) and, for images of
--dataset, panels/ with image, truth, prediction and errors. What cannot be read is named and skipped; the exit code is
then 2.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path

from gbw_panoptic import cli


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config-file", help="of the training; a checkpoint brings its own along")
    parser.add_argument("--weights", help="checkpoint, a local .pth file")
    parser.add_argument("--run", help="OUTPUT_DIR of a run, for its last checkpoint; or a folder of tools/export.py")
    parser.add_argument("--input", nargs="+", help="images, videos, folders (with all below them), globs")
    parser.add_argument("--dataset", help="registered data set: the input if there is no other, and its images' truth")
    parser.add_argument("--num", type=int, help="only the first so many inputs")
    parser.add_argument("--output", required=True, help="folder of the results")
    parser.add_argument("--model", choices=("student", "teacher"), help="default: TEST.MODEL, if it is there")
    parser.add_argument("--resize", type=int, help="short edge that the model sees; 0: the image's own")
    parser.add_argument("--beside", action="store_true", help="show the image to the left of its overlay")
    parser.add_argument(
        "--scores", action="store_true", help="write how sure the model is of each instance beside its number"
    )
    parser.add_argument(
        "--confidence", action="store_true", help="draw how sure the model is of each pixel, in confidence/"
    )
    parser.add_argument("--strict", action="store_true", help="a file or a folder that is left out is an error")
    parser.add_argument("--resume", action="store_true", help="keep what this command wrote before it was stopped")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides, last")
    cli.add_parts(parser)
    arguments = parser.parse_args()
    if not arguments.input and not arguments.dataset:
        parser.error("give --input or --dataset")
    if arguments.num is not None and arguments.num < 1:
        parser.error("--num: give at least 1")
    return arguments


if __name__ == "__main__":
    parse()  # --help and a wrong command line need not wait for the imports below

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.logger import setup_logger

from gbw_panoptic import files
from gbw_panoptic.data import check_datasets, register_all
from gbw_panoptic.engine.setup import adapt_to_machine
from gbw_panoptic.errors import EXIT_CODE, UserError, about
from gbw_panoptic.inference.inputs import Input, find_inputs
from gbw_panoptic.inference.job import Pictures, PredictionJob
from gbw_panoptic.inference.journal import begin
from gbw_panoptic.inference.model import set_edges
from gbw_panoptic.inference.predictor import build_predictor
from gbw_panoptic.inference.result_folder import ResultFolder
from gbw_panoptic.inference.weights import ModelFile, build_model_config
from gbw_panoptic.locks import exclusive
from gbw_panoptic.places import unknown_data_set
from gbw_panoptic.searching import Skipped
from gbw_panoptic.validation import validate_model


def main() -> int:
    arguments = parse()
    cli.import_parts(arguments.imports)
    setup_logger(name="gbw_panoptic")
    root = Path(arguments.output)
    file = model_file(arguments)
    cfg = prepare(arguments, file)
    records = records_of(arguments.dataset, cfg.DATASETS)
    truths = {real_path(record["file_name"]): record for record in records}
    skipped = Skipped()
    inputs, problems = find_inputs(arguments.input or [record["file_name"] for record in records], root, skipped)
    if arguments.strict:
        skipped.require_none()
    inputs = named_as_in_truth(inputs, truths)[: arguments.num]
    if not inputs:
        raise UserError(problems[0])
    if skipped:
        print(f"warning: {skipped.sentence()}", file=sys.stderr)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    pictures = Pictures(arguments.beside, arguments.scores, arguments.confidence)
    options = {"scores": pictures.scores, "confidence": pictures.confidence}
    predictor, name = build_predictor(cfg, file, arguments.model, **options)
    weights = file.path
    del file  # and with it the optimizer and the other models in it
    settings = {"weights": files.sha256(weights), "model": name, "configuration": configuration_digest(cfg)}
    settings["pictures"] = str(pictures)
    try:
        with exclusive(root / ".lock", what="prediction", remedy="give another --output"):
            journal = begin(root, settings, inputs, resume=arguments.resume)
            folder = ResultFolder(root, predictor.taxonomy, panoptic=cfg.MODEL.TASK == "panoptic")
            job = PredictionJob(predictor, folder, journal, truths=truths, pictures=pictures)
            failed = predict(job, inputs)
            folder.close()
    except OSError as error:
        raise UserError(
            f"expected to write below {root}, found: {error}; mend that and run this command again with --resume."
        ) from error
    print(f"The {name} of {weights} predicted {len(inputs) - failed} of {len(inputs)} inputs: {root}")
    return EXIT_CODE if failed or problems else 0


def predict(job: PredictionJob, inputs: list[Input]) -> int:
    """All inputs; how many could not be done (whole)."""
    failed = 0
    with cli.progress(len(inputs), "Predicting") as bar:

        def on_frame(expected: int | None) -> None:
            nonlocal counted
            if not counted:  # a video counts as its frames, where their number is known
                bar.total += (expected or 1) - 1
                counted = True
            bar.update()

        for item in inputs:
            counted = False
            try:
                if item.is_video:
                    job.video(item, on_frame)
                else:
                    job.image(item)
            except UserError as error:
                failed += 1
                sentence = str(error) if str(item.path) in str(error) else f"{item.path}: {error}"
                bar.write(f"error: {sentence}", file=sys.stderr)
            if not counted:
                bar.update()
    return failed


def model_file(arguments: argparse.Namespace) -> ModelFile:
    """Weights and perhaps their configuration, given one by one or by --run."""
    found = ModelFile.find(arguments.run) if arguments.run else ModelFile("")
    path = arguments.weights or found.path
    if not path:
        raise UserError(
            "expected a model, found no --weights; give --run with a run's OUTPUT_DIR, or --weights (and "
            "--config-file)."
        )
    if not Path(path).is_file():
        raise UserError(f"--weights: expected a local .pth file, found nothing at {path}; correct the path.")
    config_file = arguments.config_file or found.config_file
    return ModelFile(path, config_file) if config_file else ModelFile.find(path)


def prepare(arguments: argparse.Namespace, file: ModelFile):
    """The checked configuration, with the sizes that --resize asks for."""
    cfg = build_model_config(file, arguments.opts)
    adapt_to_machine(cfg)
    cfg.OUTPUT_DIR = arguments.output
    with about("--resize"):
        set_edges(cfg.INPUT, arguments.resize)
    validate_model(cfg)
    return cfg


def records_of(dataset: str | None, data_sets: CfgNode) -> list[dict]:
    """Records with labels of a registered data set."""
    if dataset is None:
        return []
    register_all(custom=data_sets.CUSTOM, taxonomy=data_sets.TAXONOMY)
    if dataset not in DatasetCatalog:
        raise UserError(f"--dataset: {unknown_data_set(dataset)}")
    if not MetadataCatalog.get(dataset).get("labelled_classes"):
        raise UserError(
            f"--dataset: expected a data set with labels, found {dataset}, which is images alone; give them as --input."
        )
    check_datasets((dataset,))
    return DatasetCatalog.get(dataset)


def named_as_in_truth(inputs: list[Input], truths: dict[Path, dict]) -> list[Input]:
    """Inputs that are images of the data set under their ids there, by which evaluators find the truth."""
    records = [truths.get(real_path(item.path)) for item in inputs]
    renamed = [replace(item, name=str(r["image_id"])) if r else item for item, r in zip(inputs, records)]
    if len({item.name for item in renamed}) < len(renamed):
        raise UserError(
            "expected other inputs to be named unlike images of --dataset, found a clash; predict them apart."
        )
    return renamed


def real_path(path: str | Path) -> Path:
    """Without links; a loop of links, which pathlib does not survive, stays as it is."""
    return Path(os.path.realpath(path))


def configuration_digest(cfg) -> str:
    """Of all keys on which a prediction depends, and the machine does not change."""
    model = cfg.MODEL.clone()
    model.DEVICE = ""
    return hashlib.sha256((model.dump() + cfg.INPUT.dump()).encode()).hexdigest()


if __name__ == "__main__":
    cli.run(main)
