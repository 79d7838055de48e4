"""Merge trained models into one, without data; then, if asked to, re-estimate its batch-norm statistics on the target.

    python tools/merge_checkpoints.py --anchor output/a/model_final.pth --others output/b/model_final.pth --output merged.pth
    python tools/merge_checkpoints.py --schedule uniform --anchor run/model_0000299.pth --others run/model_final.pth --output soup.pth
    python tools/merge_checkpoints.py --anchor A --others B --output merged.pth \\
        --config-file configs/streets/self_training_gbw.yaml --batch-norm-batches 100

Layer-wise (arXiv 2409.15813): early layers of the backbone are averaged, later ones lean to the anchor, whose heads are kept;
the schedules are ours. `uniform` averages everything. Evaluate with train_net.py --eval-only MODEL.WEIGHTS merged.pth.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse

SCHEDULES = ("linear", "cosine", "uniform")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--anchor", required=True, help="checkpoint whose heads are kept")
    parser.add_argument("--others", required=True, nargs="+", help="checkpoints that are merged into it")
    parser.add_argument("--output", required=True, help="file to write")
    parser.add_argument("--schedule", choices=SCHEDULES, default="linear")
    parser.add_argument("--model", choices=("student", "teacher"), default="student", help="whose weights are merged")
    parser.add_argument("--batch-norm-batches", type=int, default=0, metavar="N", help="batches of target images; 0: keep")
    parser.add_argument("--config-file", default="", help="of the anchor, for --batch-norm-batches")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for the configuration")
    return parser.parse_args()


if __name__ == "__main__":
    parse()  # --help and a wrong command line need not wait for the imports below

import torch
from detectron2.modeling import build_model
from detectron2.utils.logger import setup_logger

from gbw_panoptic import cli, files
from gbw_panoptic.data import check_datasets
from gbw_panoptic.data.loader import build_train_loader
from gbw_panoptic.engine.checkpoint import read_checkpoint
from gbw_panoptic.engine.merging import merge_layer_wise, merge_uniformly, reestimate_batch_norm
from gbw_panoptic.engine.setup import prepare_config
from gbw_panoptic.errors import UserError
from gbw_panoptic.inference.weights import load_state
from gbw_panoptic.validation import validate


def main() -> None:
    arguments = parse()
    setup_logger(name="gbw_panoptic")
    if arguments.batch_norm_batches and not arguments.config_file:
        raise UserError(
            "--batch-norm-batches: expected --config-file, which names the model and the target images, found none; give one."
        )
    anchor, *others = (load(path, arguments.model) for path in (arguments.anchor, *arguments.others))
    if arguments.schedule == "uniform":
        state = merge_uniformly([anchor, *others])
    else:
        state = merge_layer_wise(anchor, others, arguments.schedule)
    print(f"Merged {len(others) + 1} models, {arguments.schedule}.")
    if arguments.batch_norm_batches:
        state = with_target_statistics(state, arguments)
    with files.replacing(arguments.output) as temporary:
        torch.save({"model": state}, temporary)
    print(f"Written to {arguments.output}")


def load(path: str, model: str) -> dict:
    """The student's or teacher's state in a checkpoint."""
    contents = read_checkpoint(path)
    key = "model" if model == "student" else model
    if key not in contents:
        raise UserError(f"Expected a {model} in {path}, found {', '.join(sorted(contents))}; choose another --model.")
    return contents[key]


def with_target_statistics(state: dict, arguments: argparse.Namespace) -> dict:
    """The state with batch-norm statistics of unlabelled target images."""
    cfg = prepare_config(arguments)
    validate(cfg)
    if not cfg.DATASETS.TARGET:
        raise UserError(
            "DATASETS.TARGET: expected unlabelled images for --batch-norm-batches, found none; name a data set, e.g. "
            "cityscapes_uda_images_train."
        )
    check_datasets((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TARGET))
    model = build_model(cfg)
    load_state(model, state, arguments.anchor)
    batches = (batch.target for batch in build_train_loader(cfg))
    layers = reestimate_batch_norm(model, batches, arguments.batch_norm_batches)
    print(f"Batch-norm statistics of {layers} layers from {arguments.batch_norm_batches} batches of target images.")
    return {**state, **{name: value for name, value in model.state_dict().items() if name in state}}


if __name__ == "__main__":
    cli.run(main)
