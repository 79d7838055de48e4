"""Merge trained models into one, without data; or write one model alone, as a small file for evaluation and prediction.

    python tools/merge_checkpoints.py --anchor output/a/model_final.pth --others output/b/model_final.pth --output
    merged.pth python tools/merge_checkpoints.py --schedule uniform --anchor run/model_0000299.pth --others
    run/model_final.pth --output soup.pth python tools/merge_checkpoints.py --anchor run/model_final.pth --model teacher
    --output small.pth python tools/merge_checkpoints.py --anchor A --others B --output merged.pth \\
        --config-file configs/streets/self_training_gbw.yaml --batch-norm-batches 100

Layer-wise (arXiv 2409.15813): early layers of the backbone are averaged, later ones lean to the anchor, whose heads are
kept; the schedules are ours. `uniform` averages everything. Without --others the model is written as it is: a
checkpoint without the other models and the optimizer, which take most of its size. --batch-norm-batches re-estimates
the batch-norm statistics on the target. Evaluate with train_net.py --eval-only MODEL.WEIGHTS merged.pth, predict with
predict.py --weights merged.pth.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
from dataclasses import dataclass
from pathlib import Path

from gbw_panoptic import cli

SCHEDULES = ("linear", "cosine", "uniform")


def parse() -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    parser.add_argument("--anchor", required=True, help="checkpoint whose heads are kept")
    parser.add_argument(
        "--others", nargs="+", default=[], help="checkpoints that are merged into it; none: it is written alone"
    )
    parser.add_argument("--output", required=True, help="file to write")
    parser.add_argument("--schedule", choices=SCHEDULES, default="linear")
    parser.add_argument("--model", choices=("student", "teacher"), default="student", help="whose weights are merged")
    parser.add_argument(
        "--batch-norm-batches", type=int, default=0, metavar="N", help="batches of target images; 0: keep"
    )
    parser.add_argument("--config-file", default="", help="of the anchor, for --batch-norm-batches")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs for the configuration")
    cli.add_parts(parser)
    return parser.parse_args()


if __name__ == "__main__":
    parse()  # --help and a wrong command line need not wait for the imports below

import torch
from detectron2.modeling import build_model
from detectron2.utils.logger import setup_logger

from gbw_panoptic.data import check_datasets
from gbw_panoptic.data.loader import build_train_loader
from gbw_panoptic.engine.checkpoint import write_synced
from gbw_panoptic.engine.merging import merge_layer_wise, merge_uniformly, reestimate_batch_norm
from gbw_panoptic.engine.reading import read_checkpoint
from gbw_panoptic.engine.settings import check_meaning, checked
from gbw_panoptic.engine.setup import prepare_config
from gbw_panoptic.errors import UserError
from gbw_panoptic.modeling.published.fitting import finite, load_whole, unwrapped_names
from gbw_panoptic.validation import validate


def main() -> None:
    arguments = parse()
    cli.import_parts(arguments.imports)
    setup_logger(name="gbw_panoptic")
    if arguments.batch_norm_batches and not arguments.config_file:
        raise UserError(
            "--batch-norm-batches: expected --config-file, which names the model and the target images, found none; "
            "give one."
        )
    folder = Path(arguments.output).parent
    if not folder.is_dir():
        raise UserError(
            f"--output: expected a folder that exists, found none at {folder}; make it or correct the path."
        )
    anchor, *others = (load(path, arguments.model) for path in (arguments.anchor, *arguments.others))
    for other in others:
        check_meaning(anchor.settings, {"settings": other.settings}, other.path)
    state = merged([model.state for model in (anchor, *others)], arguments.schedule)
    if arguments.batch_norm_batches:
        state = with_target_statistics(state, arguments)
    contents = {"model": state, **({"settings": anchor.settings} if anchor.settings else {}), **anchor.described}
    remedy = "then run the command again"
    write_synced(arguments.output, lambda file: torch.save(contents, file), remedy=remedy)
    print(f"Written to {arguments.output}: {Path(arguments.output).stat().st_size / 2**20:.1f} MB")


def merged(states: list[dict], schedule: str) -> dict:
    """One state of all; the first is the anchor."""
    if len(states) == 1:
        return states[0]
    print(f"Merged {len(states)} models, {schedule}.")
    return merge_uniformly(states) if schedule == "uniform" else merge_layer_wise(states[0], states[1:], schedule)


@dataclass(frozen=True)
class Model:
    """A model of a checkpoint, the settings with which it was trained and the description of its classes (none in files
    of older versions)."""

    path: str
    state: dict
    settings: dict
    described: dict


def load(path: str, model: str) -> Model:
    """The student or teacher in a checkpoint."""
    contents = read_checkpoint(path)
    key = "model" if model == "student" else model
    if key not in contents:
        raise UserError(f"Expected a {model} in {path}, found {', '.join(sorted(contents))}; choose another --model.")
    described = {part: contents[part] for part in ("description",) if part in contents}
    return Model(
        path, dict(finite(unwrapped_names(contents[key]), path)), checked(contents.get("settings", {})), described
    )


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
    load_whole(model, state, arguments.anchor)
    batches = (batch.target for batch in build_train_loader(cfg))
    layers = reestimate_batch_norm(model, batches, arguments.batch_norm_batches)
    print(f"Batch-norm statistics of {layers} layers from {arguments.batch_norm_batches} batches of target images.")
    return {**state, **{name: value for name, value in model.state_dict().items() if name in state}}


if __name__ == "__main__":
    cli.run(main)
