"""Train and evaluate, with Detectron2's own flags.

    python tools/train_net.py --config-file configs/streets/self_training_gbw.yaml
    python tools/train_net.py --config-file FILE --resume
    python tools/train_net.py --config-file FILE --eval-only MODEL.WEIGHTS output/model_final.pth
    python tools/train_net.py --config-file FILE --dry-run
    python tools/train_net.py --list
    python tools/train_net.py --import mine/parts.py --config-file FILE     (CONTRIBUTING.md)

On many GPUs (docs/getting_started.md): torchrun --nproc-per-node 4 tools/train_net.py ..., or --num-gpus 4.
"""

import os
import sys

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # a program that runs this file by its path has not
import _environment  # noqa: E402, F401  (first: says what is missing)

import argparse
import logging

from gbw_panoptic import cli
from gbw_panoptic.config_files import check_config_file, listing


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Detectron2's flags (a test compares them with its ``default_argument_parser``, which takes seconds to import) and
    ours."""
    parser = cli.described_parser(__doc__)
    parser.add_argument(
        "--config-file", default="", metavar="FILE", help="of the training; --list names those of this project"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in OUTPUT_DIR; with --eval-only: evaluate it"
    )
    parser.add_argument(
        "--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS (or, with --resume, OUTPUT_DIR's last)"
    )
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on this machine, one for each GPU")
    parser.add_argument("--num-machines", type=int, default=1, help="machines of this job")
    parser.add_argument("--machine-rank", type=int, default=0, help="number of this machine, from 0")
    port = 2**15 + 2**14 + hash(os.getuid() if sys.platform != "win32" else 1) % 2**14
    parser.add_argument("--dist-url", default=f"tcp://127.0.0.1:{port}", help="where the machines of a job meet")
    parser.add_argument("--dry-run", action="store_true", help="two iterations, one evaluation, one save")
    parser.add_argument("--overwrite", action="store_true", help="delete the files of an earlier run in OUTPUT_DIR")
    parser.add_argument("--list", action="store_true", help="list the configurations and exit")
    cli.add_parts(parser)
    parser.add_argument(
        "opts", default=None, nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides, at the end"
    )
    arguments = parser.parse_args(words)
    if not arguments.config_file and not arguments.list:
        parser.error("expected --config-file FILE, found none; --list names the configurations that there are")
    return arguments


def list_configs() -> None:
    rows = list(listing())
    width = max(len(path) for path, _ in rows)
    for path, first in rows:
        print(f"{path:{width}s}  {first}")


if __name__ == "__main__":  # --help, --list and a wrong command line need not wait for the imports below
    _arguments = parse()
    if _arguments.list or not os.path.isfile(_arguments.config_file):
        cli.run(list_configs if _arguments.list else lambda: check_config_file(_arguments.config_file))

import torch
from detectron2.engine import hooks
from detectron2.utils import comm

from gbw_panoptic.config.trainers import trainer_of, unread_keys
from gbw_panoptic.data.register import check_datasets
from gbw_panoptic.engine.acquisition import AcquisitionHook
from gbw_panoptic.engine.build import (
    build_models,
    build_trainer,
    check_resumable,
    load_for_evaluation,
    resume_or_load,
)
from gbw_panoptic.engine.evaluation import evaluate
from gbw_panoptic.engine.hooks import METRICS, append_metrics
from gbw_panoptic.engine.launch import launch
from gbw_panoptic.engine.logs import RunLog, quiet_explained_errors
from gbw_panoptic.engine.memory import described_peak
from gbw_panoptic.engine.output_dir import Purpose, claimed
from gbw_panoptic.engine.saving import stoppable
from gbw_panoptic.engine.settings import build_settings
from gbw_panoptic.engine.setup import load_config, prepare_config, record_run, seed_run
from gbw_panoptic.errors import UserError
from gbw_panoptic.machine import keep_freed_memory
from gbw_panoptic.reporting import write_report
from gbw_panoptic.reporting.run_folder import RunFolder
from gbw_panoptic.validation import validate

DRY_RUN_ITERATIONS = 2
DRY_RUN_IMAGES = 2


def main(args: argparse.Namespace) -> None:
    cli.import_parts(args.imports)  # a process that was spawned has imported nothing of them
    with RunLog(comm.get_rank()) as log:
        quiet_explained_errors()
        cfg = prepare_config(args)
        if args.dry_run:
            cfg.OUTPUT_DIR = os.path.join(cfg.OUTPUT_DIR, "dry_run")
        validate(cfg)
        for name in unread_keys(cfg, args.opts[::2]):  # of the command line alone: what a file inherits is not meant
            logging.getLogger("gbw_panoptic").warning("%s is set, and %s does not read it.", name, cfg.TRAINER.NAME)
        check_datasets((*(() if args.eval_only else read_in_training(cfg)), *cfg.DATASETS.TEST))
        if args.resume and not args.eval_only:
            check_resumable(cfg.OUTPUT_DIR)
        cfg.freeze()
        purpose = purpose_of(args, cfg)
        with claimed(cfg.OUTPUT_DIR, purpose):
            run(cfg, args, purpose, log)


def purpose_of(args: argparse.Namespace, cfg) -> Purpose:
    buys = trainer_of(cfg).target_labels and bool(cfg.ACTIVE.ITERATIONS) and not cfg.ACTIVE.LABELS
    return Purpose(
        resume=args.resume,
        eval_only=args.eval_only,
        overwrite=args.overwrite or args.dry_run,
        weights=cfg.MODEL.WEIGHTS,
        buys_labels=buys and not args.eval_only,
    )


def run(cfg, args: argparse.Namespace, purpose: Purpose, log: RunLog) -> None:
    """All that a run does in OUTPUT_DIR; whatever may refuse the command comes before its first trace there."""
    seed_run(cfg, eval_only=args.eval_only)
    if args.eval_only:
        models = build_models(cfg)
        settings = build_settings(cfg).values
        load_for_evaluation(models, cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, resume=args.resume, settings=settings)
        record_run(cfg, args, purpose, log)
        with stoppable("in the evaluation; run the same command again"):
            evaluate(cfg, models, iteration=-1)
    else:
        if cfg.MODEL.DEVICE == "cpu":
            keep_freed_memory()
        trainer = build_trainer(cfg)
        resume_or_load(trainer, cfg.MODEL.WEIGHTS, resume=args.resume)
        check_end(cfg, trainer)
        record_run(cfg, args, purpose, log)
        if args.dry_run:
            return dry_run(cfg, trainer)
        train(cfg, trainer)
    if comm.is_main_process():
        print(f"Report: {write_report(cfg.OUTPUT_DIR)}")


def read_in_training(cfg) -> tuple[str, ...]:
    """The data sets whose files a training opens."""
    active = trainer_of(cfg).target_labels
    sources = () if active and cfg.ACTIVE.SOURCE_FREE else cfg.DATASETS.TRAIN
    annotators = (cfg.ACTIVE.ANNOTATOR,) if active and cfg.ACTIVE.ITERATIONS else ()
    return (*sources, *cfg.DATASETS.TARGET, *annotators)


def check_end(cfg, trainer) -> None:
    """
    Raises:
        UserError: the checkpoint is from behind the end.
    """
    if trainer.start_iter > cfg.SOLVER.MAX_ITER:
        raise UserError(
            f"--resume: expected SOLVER.MAX_ITER of at least {trainer.start_iter}, the iterations of the checkpoint in "
            f"{cfg.OUTPUT_DIR}, found {cfg.SOLVER.MAX_ITER}; raise it, or take another OUTPUT_DIR."
        )


def train(cfg, trainer) -> None:
    """Up to SOLVER.MAX_ITER, from wherever the trainer stands."""
    start, end = trainer.start_iter, cfg.SOLVER.MAX_ITER
    if start < end:
        trainer.train(start, end)
    elif RunFolder.read(cfg.OUTPUT_DIR).is_finished:
        logging.getLogger("gbw_panoptic").info(
            "The run in %s has had its %d iterations and their evaluation: only the report is written again. To go on "
            "training, raise SOLVER.MAX_ITER.", cfg.OUTPUT_DIR, end,
        )  # fmt: skip
    else:  # killed after its last step: only the evaluation is missing
        with stoppable("in the evaluation; run the same command again"):
            results = evaluate(cfg, models_of(trainer), iteration=start)
        if comm.is_main_process():
            append_metrics(os.path.join(cfg.OUTPUT_DIR, METRICS), start, results)


def models_of(trainer) -> dict:
    """What is evaluated: the student, and the teacher where there is one."""
    modules = trainer.strategy.modules
    return {"student": trainer.checkpointer.model, **({"teacher": modules["teacher"]} if "teacher" in modules else {})}


def dry_run(cfg, trainer) -> None:
    """Two iterations, one evaluation and one save with the very configuration, in OUTPUT_DIR/dry_run, and the memory
    that a step needs; no label is bought."""
    trainer._hooks = [hook for hook in trainer._hooks if not isinstance(hook, (hooks.EvalHook, AcquisitionHook))]
    models = models_of(trainer)
    with described_peak(torch.device(cfg.MODEL.DEVICE), *models.values()) as said:
        trainer.train(0, DRY_RUN_ITERATIONS)
    evaluate(cfg, models, iteration=DRY_RUN_ITERATIONS, max_images=DRY_RUN_IMAGES)
    logging.getLogger("gbw_panoptic").info(
        "Dry run passed: training, evaluation and checkpoint in %s; %s.", cfg.OUTPUT_DIR, said[0]
    )


def entry() -> None:
    args = parse()
    cli.import_parts(args.imports)
    launch(main, args, device=load_config(args.config_file, args.opts).MODEL.DEVICE)


if __name__ == "__main__":
    cli.run(entry)
