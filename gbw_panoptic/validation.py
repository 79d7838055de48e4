"""Contradictions in a configuration, found before anything is built. Each becomes one sentence with its remedy."""

import importlib.util
import os
import re
from typing import Iterator

from detectron2.data import MetadataCatalog

from .active.validation import active_problems
from .adaptation.validation import adaptation_problems
from .config import key_problems
from .errors import UserError
from .files import sha256
from .modeling.published.packaged import local_file
from .modeling.validation import architecture_problems, weights_problems
from .taxonomy import PROTOCOLS
from .weighting import STATIC_WEIGHTS, WEIGHTED_KEYS
from .weighting.validation import weighting_problems


def validate_model(cfg) -> None:
    """Check what a trained model is built from, and how it predicts; nothing of the data sets of its training.

    Raises:
        UserError: as :func:`validate`.
    """
    for check in (key_problems, _images, architecture_problems, _files):
        for problem in check(cfg):
            raise UserError(problem)


def validate(cfg) -> None:
    """Check a configuration whose data sets are registered.

    Raises:
        UserError: naming the key, what was expected, what was found and what to do.
    """
    checks = (
        key_problems, weighting_problems, _execution, _solver, _images, _data_sets, _task, _class_statistics,
        architecture_problems, weights_problems, adaptation_problems, active_problems, _protocols, _tracking, _files,
    )  # fmt: skip
    for check in checks:
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


def _solver(cfg) -> Iterator[str]:
    if cfg.SOLVER.OPTIMIZER == "SGD" and cfg.SOLVER.NESTEROV and not cfg.SOLVER.MOMENTUM:
        yield "SOLVER.NESTEROV: expected False with SOLVER.MOMENTUM 0, found True; set one of them."


def _images(cfg) -> Iterator[str]:
    for key, edges in (
        ("INPUT.MIN_SIZE_TRAIN", cfg.INPUT.MIN_SIZE_TRAIN),
        ("INPUT.TARGET.MIN_SIZE_TRAIN", cfg.INPUT.TARGET.MIN_SIZE_TRAIN),
    ):
        ranged = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range"
        if ranged and len(edges) == 1:
            continue
        if ranged and (len(edges) != 2 or edges[0] > edges[1]):
            yield (
                f"{key}: expected the two ends of a range, the smaller one first, with INPUT.MIN_SIZE_TRAIN_SAMPLING range, found "
                f"{tuple(edges)}; correct them, or set the sampling to choice."
            )
    if cfg.INPUT.MIN_SIZE_TEST and not cfg.INPUT.MAX_SIZE_TEST:
        yield (
            f"INPUT.MAX_SIZE_TEST: expected at least 1 pixel with INPUT.MIN_SIZE_TEST {cfg.INPUT.MIN_SIZE_TEST}, found 0; set "
            "MIN_SIZE_TEST 0, too, for images of their own size."
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
    names.append(cfg.WEIGHTING.PRIOR)
    needing = [name for name in names if name in (*STATIC_WEIGHTS, "logit_adjustment", "frequencies")]
    for source in cfg.DATASETS.TRAIN:
        if needing and MetadataCatalog.get(source).get("class_statistics") is None:
            yield (
                f"DATASETS.TRAIN: expected sources with class statistics for {needing[0]}, found '{source}' without; "
                "take another source, or a comparator that needs none."
            )


def _protocols(cfg) -> Iterator[str]:
    if cfg.TEST.INSTANCE_AP and cfg.MODEL.TASK != "panoptic":
        yield (
            f"TEST.INSTANCE_AP: expected False with MODEL.TASK {cfg.MODEL.TASK}, which predicts no instances, found True; set "
            "it to False."
        )
    if not cfg.DATASETS.TEST:  # nothing is averaged
        return
    missing = _unlabelled_classes(cfg)
    usable = ", ".join(repr(name) for name in PROTOCOLS if not missing[name])
    for name in cfg.TEST.PROTOCOLS:
        if missing[name]:
            yield (
                f"TEST.PROTOCOLS: expected some of {usable}, over classes that the source labels, found '{name}', which averages "
                f"over {', '.join(missing[name])} that {', '.join(cfg.DATASETS.TRAIN)} does not label; choose among them."
            )
    if not any(cfg.MODEL.TASK in PROTOCOLS[name].tasks for name in cfg.TEST.PROTOCOLS):
        usable = ", ".join(name for name, names in missing.items() if not names and cfg.MODEL.TASK in PROTOCOLS[name].tasks)
        yield (
            f"TEST.PROTOCOLS: expected at least one protocol for MODEL.TASK {cfg.MODEL.TASK}, found "
            f"{', '.join(cfg.TEST.PROTOCOLS)} (semantic only); add one of {usable}."
        )


def _unlabelled_classes(cfg) -> dict[str, list[str]]:
    """Protocol -> its classes that no source labels."""
    labelled = set()
    for name in cfg.DATASETS.TRAIN:
        labelled.update(MetadataCatalog.get(name).labelled_classes)
    names = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy.names
    missing = {name: [names[c] for c in protocol.class_ids if c not in labelled] for name, protocol in PROTOCOLS.items()}
    # 19 is allowed on a source of 16: it then says what three classes of zero do to the average
    return {**missing, "19": []}


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
            f"MODEL.WEIGHTS: expected a local .pth file, found nothing at {cfg.MODEL.WEIGHTS}; {_origin(path)}correct the path, "
            "or set it to '' to start from random weights."
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


def _origin(path: str) -> str:
    """Where a file of torchvision's, by its name, can be had."""
    name = os.path.basename(path)
    known = re.fullmatch(r"[a-z0-9_]+-[0-9a-f]{8}\.pth", name)
    return f"download https://download.pytorch.org/models/{name} (torchvision's), " if known else ""
