"""Contradictions in a configuration, found before anything is built. Each becomes one sentence with its remedy."""

import importlib.util
import os
from typing import Iterator

from detectron2.data import MetadataCatalog

from .active.validation import active_problems
from .adaptation.validation import adaptation_problems
from .config import key_problems
from .errors import UserError
from .files import sha256
from .modeling.backbones.packaged import local_file
from .modeling.validation import architecture_problems, weights_problems
from .taxonomy import PROTOCOLS
from .weighting import STATIC_WEIGHTS, WEIGHTED_KEYS
from .weighting.validation import weighting_problems


def validate(cfg) -> None:
    """Check a configuration whose data sets are registered.

    Raises:
        UserError: naming the key, what was expected, what was found and what to do.
    """
    checks = (key_problems, weighting_problems, _execution, _data_sets, _task, _class_statistics, architecture_problems)
    for check in (*checks, weights_problems, adaptation_problems, active_problems, _protocols, _tracking, _files):
        for problem in check(cfg):
            raise UserError(problem)


def _execution(cfg) -> Iterator[str]:
    if cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.PRECISION == "float16" and cfg.MODEL.DEVICE == "cpu":
        yield (
            "SOLVER.AMP.PRECISION: expected bfloat16 on a CPU, found float16, which has too few operations there; set it to "
            "bfloat16, or SOLVER.AMP.ENABLED False."
        )
    if cfg.SOLVER.REFERENCE_WORLD_SIZE:
        yield (
            f"SOLVER.REFERENCE_WORLD_SIZE: expected 0, found {cfg.SOLVER.REFERENCE_WORLD_SIZE}: it would change batch and "
            "schedule with the machine; set SOLVER.IMS_PER_BATCH, SOLVER.ACCUMULATION_STEPS and SOLVER.REFERENCE_BATCH instead."
        )


def _data_sets(cfg) -> Iterator[str]:
    if not cfg.DATASETS.TRAIN:
        yield "DATASETS.TRAIN: expected at least one labelled source, found none; name one, e.g. synthia_panoptic_train."
    known = set(MetadataCatalog.list())
    for key in ("TRAIN", "TARGET", "TEST"):
        for name in cfg.DATASETS[key]:
            if name not in known or not hasattr(MetadataCatalog.get(name), "taxonomy"):
                ours = sorted(n for n in known if hasattr(MetadataCatalog.get(n), "taxonomy"))
                yield f"DATASETS.{key}: expected one of {', '.join(ours)}, found '{name}'; correct the name."
    for key in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[key]:
            if MetadataCatalog.get(name).get("labelled_classes") == ():
                yield (
                    f"DATASETS.{key}: expected a data set with labels, found '{name}', which is images alone; name it in "
                    "DATASETS.TARGET, or a labelled one here."
                )
    classes = {name: MetadataCatalog.get(name).taxonomy.num_classes for name in cfg.DATASETS.TRAIN + cfg.DATASETS.TEST}
    for name, count in classes.items():
        if count != cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES:
            yield (
                f"MODEL.SEM_SEG_HEAD.NUM_CLASSES: expected {count}, the number of classes of {name}, found "
                f"{cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES}; heads keep all classes, TEST.PROTOCOLS chooses what is averaged."
            )


def _task(cfg) -> Iterator[str]:
    if cfg.MODEL.TASK == "semantic":
        for head in ("CENTER", "OFFSET"):
            if cfg.WEIGHTING[head] != "none":
                yield (
                    f"WEIGHTING.{head}: expected none with MODEL.TASK semantic, which has no such head, found "
                    f"'{cfg.WEIGHTING[head]}'; set it to none or MODEL.TASK to panoptic."
                )
        return
    for name in cfg.DATASETS.TRAIN:
        if not hasattr(MetadataCatalog.get(name), "panoptic_json"):
            yield (
                f"DATASETS.TRAIN: expected a source with instance labels for MODEL.TASK panoptic, found '{name}', which "
                "has semantic labels only; set MODEL.TASK semantic or take another source."
            )


def _class_statistics(cfg) -> Iterator[str]:
    names = [cfg.WEIGHTING[head] for head in WEIGHTED_KEYS] + [cfg.MODEL.SEM_SEG_HEAD.LOSS_TYPE]
    needing = [name for name in names if name in (*STATIC_WEIGHTS, "logit_adjustment")]
    for source in cfg.DATASETS.TRAIN:
        if needing and MetadataCatalog.get(source).get("class_statistics") is None:
            yield (
                f"DATASETS.TRAIN: expected sources with class statistics for {needing[0]}, found '{source}' without; "
                "take another source, or a comparator that needs none."
            )


def _protocols(cfg) -> Iterator[str]:
    if not cfg.TEST.PROTOCOLS:
        yield f"TEST.PROTOCOLS: expected at least one of {', '.join(PROTOCOLS)}, found none; name one."
    labelled = set()
    for name in cfg.DATASETS.TRAIN:
        labelled.update(MetadataCatalog.get(name).labelled_classes)
    names = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy.names
    for name in cfg.TEST.PROTOCOLS:
        if name not in PROTOCOLS:
            yield f"TEST.PROTOCOLS: expected names among {', '.join(PROTOCOLS)}, found '{name}'; correct it."
        missing = [names[c] for c in PROTOCOLS[name].class_ids if c not in labelled]
        # 19 is allowed on a source of 16: it then says what three classes of zero do to the average
        if missing and name != "19":
            yield (
                f"TEST.PROTOCOLS: expected a protocol over classes that the source labels, found '{name}', which averages "
                f"over {', '.join(missing)} that {', '.join(cfg.DATASETS.TRAIN)} does not label; choose another protocol."
            )
    if cfg.TEST.INSTANCE_AP and cfg.MODEL.TASK != "panoptic":
        yield (
            f"TEST.INSTANCE_AP: expected False with MODEL.TASK {cfg.MODEL.TASK}, which predicts no instances, found True; set "
            "it to False."
        )
    if not any(cfg.MODEL.TASK in PROTOCOLS[name].tasks for name in cfg.TEST.PROTOCOLS):
        yield (
            f"TEST.PROTOCOLS: expected at least one protocol for MODEL.TASK {cfg.MODEL.TASK}, found "
            f"{', '.join(cfg.TEST.PROTOCOLS)} (semantic only); add 19, 16 or 16-ignore."
        )


def _tracking(cfg) -> Iterator[str]:
    found = importlib.util.find_spec("wandb") if cfg.TRACKING.WANDB else None
    if cfg.TRACKING.WANDB and (found is None or found.origin is None):  # no origin: a folder that wandb has written
        yield (
            "TRACKING.WANDB: expected the package wandb, found none; `pip install wandb`, or set it to False (metrics.json "
            "and TensorBoard are written either way)."
        )


def _files(cfg) -> Iterator[str]:
    path = local_file(cfg.MODEL.WEIGHTS)
    if path and not os.path.isfile(path):
        yield (
            f"MODEL.WEIGHTS: expected a local .pth file, found nothing at {cfg.MODEL.WEIGHTS}; correct the path, or set it "
            "to '' to start from random weights."
        )
    elif path and cfg.MODEL.WEIGHTS_SHA256:
        found = sha256(path)
        if found != cfg.MODEL.WEIGHTS_SHA256.lower():
            yield (
                f"MODEL.WEIGHTS_SHA256: expected {cfg.MODEL.WEIGHTS_SHA256}, found {found} of {cfg.MODEL.WEIGHTS}; fetch "
                "the file again from a source that you trust, or correct the hash."
            )
    folder = os.path.abspath(cfg.OUTPUT_DIR)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        yield f"OUTPUT_DIR: expected a folder that can be written, found {cfg.OUTPUT_DIR}; choose another one."
