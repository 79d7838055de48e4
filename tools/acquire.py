"""Choose target pixels whose labels are worth most: one round of active learning (RIPU, CBDA), and have them labelled.

    python tools/acquire.py --config-file configs/streets/active_ripu.yaml --round 1 --budget "300 clicks" \\
        --for browser MODEL.WEIGHTS output/model_final.pth ACTIVE.UNIT click
    python tools/acquire.py --config-file configs/streets/active_ripu.yaml --method cbda --budget 5% --round 1 \\
        MODEL.WEIGHTS output/model_final.pth

With --for, humans answer: what they need is in batches/<round>/ of ACTIVE.LABELS (by default active/ in OUTPUT_DIR).
tools/import_labels.py takes what comes back. No labels need to be there. Without --for, the labels of ACTIVE.ANNOTATOR
answer at once: labels, picks and a manifest go to ACTIVE.LABELS, overlays (ACTIVE.NUM_OVERLAYS) to its folder
overlays/<round>, bars of the classes by round to its classes.png.
A killed round is continued by the same command. Train on the labels with ActiveTrainer, that ACTIVE.LABELS,
ACTIVE.ITERATIONS "()". docs/labelling.md has more.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import logging
from pathlib import Path

from gbw_panoptic import cli

#: --method -> ACTIVE.SCORE and whether CBDA's two switches are on.
METHODS = {"random": ("random", False), "entropy": ("entropy", False), "ripu": ("ripu", False), "cbda": ("ripu", True)}


#: What --for may name.
TOOLS = ("browser", "cvat", "label-studio", "labelme", "coco")


def parse() -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--method", choices=METHODS, help="default: what ACTIVE.* of the configuration says")
    parser.add_argument(
        "--budget",
        help="of all rounds: 5%% of the target's pixels, pixels, or '300 clicks' (regions, images, seconds); default: "
        "ACTIVE.BUDGET",
    )
    parser.add_argument("--round", type=int, required=True, help="1 for the first")
    parser.add_argument("--rounds", type=int, default=5, help="that share the budget (default %(default)s)")
    parser.add_argument(
        "--for",
        action="append",
        choices=TOOLS,
        default=[],
        dest="tools",
        help="what humans label with; may be repeated",
    )
    parser.add_argument(
        "opts", nargs="*", default=[], metavar="KEY VALUE", help="overrides, such as MODEL.WEIGHTS FILE"
    )
    cli.add_parts(parser)
    return parser.parse_args()


if __name__ == "__main__":
    parse()  # --help and a wrong command line need not wait for the imports below

import numpy as np
from detectron2.utils.logger import setup_logger

from gbw_panoptic.active.acquisition import Acquisition
from gbw_panoptic.config.checks.strategies import acquisition_problems
from gbw_panoptic.data.register import check_datasets
from gbw_panoptic.engine.acquisition import (
    build_acquisition, build_asked, build_label_store, build_predict, draw_round, is_drawn,
)  # fmt: skip
from gbw_panoptic.engine.build import build_models, load_for_evaluation
from gbw_panoptic.engine.settings import build_settings
from gbw_panoptic.engine.setup import prepare_config
from gbw_panoptic.errors import UserError
from gbw_panoptic.inference.predictor import Predictor
from gbw_panoptic.labelling.asking import ask
from gbw_panoptic.labelling.batch import write_batch
from gbw_panoptic.labelling.asking import duration
from gbw_panoptic.locks import exclusive


def main() -> None:
    arguments = parse()
    cli.import_parts(arguments.imports)
    setup_logger(name="gbw_panoptic")
    cfg = build_config(arguments)
    with exclusive(build_label_store(cfg).folder / ".lock", what="acquisition", remedy="give another ACTIVE.LABELS"):
        acquire(cfg, arguments)


def acquire(cfg, arguments: argparse.Namespace) -> None:
    acquisition = build_acquisition(cfg, build_label_store(cfg), arguments.rounds, humans=bool(arguments.tools))
    if arguments.tools:
        return ask_humans(cfg, arguments, acquisition)
    rounds, (_, taxonomy) = acquisition.store.rounds, build_asked(cfg)
    if rounds and arguments.round == len(rounds) and not is_drawn(acquisition.store):
        print(
            f"Round {arguments.round} was bought before, and stopped while its pictures were drawn: they are drawn now."
        )
        entry = rounds[-1]
    else:
        entry = acquisition.run(arguments.round, build_predict(cfg, loaded_model(cfg)))
    draw_round(acquisition.store, acquisition.records, taxonomy, cfg.ACTIVE.NUM_OVERLAYS)
    print(summary(entry, acquisition))


def ask_humans(cfg, arguments: argparse.Namespace, acquisition: Acquisition) -> None:
    """The round is chosen, and what humans need is written."""
    model, (_, taxonomy), store = loaded_model(cfg), build_asked(cfg), acquisition.store
    acquisition.choose(arguments.round, build_predict(cfg, model))
    facts, allowed = acquisition.facts(), acquisition.allowed(arguments.round)
    batch = write_batch(store, arguments.round, acquisition.records, taxonomy, allowed=allowed, facts=facts)
    edges = {"short_edge": cfg.INPUT.MIN_SIZE_TEST, "max_size": cfg.INPUT.MAX_SIZE_TEST}
    predictor = Predictor(model, taxonomy=taxonomy, image_format=cfg.INPUT.FORMAT, **edges)

    def predict(image: np.ndarray) -> np.ndarray:
        """Of what is in no segment, the likeliest class, if it has no instances."""
        found = predictor(image)
        classes = found.labels.astype(np.int32) * taxonomy.label_divisor
        if found.panoptic is None:
            return classes
        return np.where((found.panoptic < 0) & ~np.isin(found.labels, taxonomy.thing_ids), classes, found.panoptic)

    parts, clicks, seconds = ask(
        batch, store, arguments.tools, predict, num_overlays=cfg.ACTIVE.NUM_OVERLAYS, progress=cli.progress
    )
    print(
        f"Round {arguments.round} asks for {parts} parts ({batch.unit}) in {len(batch.images)} images: about {clicks} "
        f"clicks, {duration(seconds)}.\nFor {', '.join(arguments.tools)}: {batch.folder} (begin with instructions.md)\n"
        f"Then: python tools/import_labels.py {store.folder} ANSWERS"
    )


def loaded_model(cfg):
    """The student, with MODEL.WEIGHTS."""
    models = {"student": build_models(cfg)["student"]}
    load_for_evaluation(models, cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, resume=False, settings=build_settings(cfg).values)
    return models["student"]


def build_config(arguments: argparse.Namespace):
    """The checked configuration, with what the command line says of ACTIVE."""
    cfg = prepare_config(arguments)
    if arguments.method is not None:
        cfg.ACTIVE.SCORE, cbda = METHODS[arguments.method]
        cfg.ACTIVE.CLASS_BALANCE = cfg.ACTIVE.DYNAMIC_BUDGET = cbda
    if arguments.budget is not None:
        cfg.ACTIVE.BUDGET = arguments.budget
    for problem in acquisition_problems(cfg, humans=bool(arguments.tools)):
        raise UserError(problem)
    check_datasets(build_asked(cfg)[0])
    if not cfg.MODEL.WEIGHTS or not Path(cfg.MODEL.WEIGHTS).is_file():
        raise UserError(
            f"expected the checkpoint of a model in MODEL.WEIGHTS, found {cfg.MODEL.WEIGHTS or 'none'}; train one "
            "first, e.g. with configs/streets/source_only.yaml, and append MODEL.WEIGHTS FILE"
        )
    cfg.freeze()
    return cfg


def summary(entry: dict, acquisition: Acquisition) -> str:
    """What the round bought, by class, and what is left."""
    store = acquisition.store
    total = dict(zip(store.class_names, store.class_counts().tolist()))
    lines = [f"{'class':16s} {'this round':>12s} {'all rounds':>12s}"]
    lines += [f"{name:16s} {pixels:12d} {total[name]:12d}" for name, pixels in entry["classes"].items()]
    lines += [
        f"{'void':16s} {entry['void']:12d} {sum(e['void'] for e in store.rounds):12d}",
        f"Spent {store.spent} of {acquisition.measured.text(entry['allowed'])} allowed up to round {entry['round']} "
        f"({acquisition.budget} in all), which would take a human {entry.get('clicks', 'unknown')} clicks; class "
        f"imbalance {entry['imbalance']:.3f} (0 = all classes alike, 1 = one alone).",
        f"Labels: {store.folder}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    logging.getLogger("fvcore").setLevel(logging.WARNING)
    cli.run(main)
