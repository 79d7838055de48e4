"""From a configuration to a trainer that is ready to run."""

import logging
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping

import torch
from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase, hooks
from detectron2.modeling import build_model
from detectron2.projects.deeplab import build_lr_scheduler
from detectron2.utils import comm
from torch import nn

from .. import modeling  # noqa: F401  (registers the meta-architectures)
from ..active.label_store import LabelStore
from ..adaptation import MeanTeacher, Strategy
from ..adaptation.mean_teacher.teacher import unwrapped
from ..adaptation.style import FourierStyle
from ..config.trainers import has_teacher, trainer_of
from ..data.loader import DomainLoader, build_train_loader
from ..errors import UserError
from ..modeling.health import describe_flat_features
from ..modeling.masks.encoder_only import EncoderOnlyHead
from ..modeling.published.fitting import whole
from .acquisition import (
    AcquisitionHook,
    BoughtLabels,
    build_acquisition,
    build_label_store,
    build_predict,
    build_round_pictures,
)
from .checkpoint import YOUNG_PARTS, SafeCheckpointer, load_weights
from .description import build_model_description
from .evaluation import evaluate
from .execution import build_execution, build_precision, data_parallel, precision_warning, update_description
from .hooks import (
    METRICS,
    ClassWeightLogger,
    CollapseWatch,
    DiscriminatorMonitor,
    Evaluation,
    LearningRate,
    MaskAnnealing,
    ProgressLine,
)
from .reading import or_an_earlier
from .saving import CheckpointSaver, StopSignals, StopTraining, remove_halves
from .settings import build_settings, check_meaning
from .solver import build_optimizer
from .trainer import DomainAdaptationTrainer
from .unsupervised import source_shares
from .writers import build_writers

#: Columns that a class-weight heat map can show; longer runs log their class weights less often.
_WEIGHT_RECORDS = 200
_LOG_PERIOD = 20  # Detectron2's
_MONITOR_WINDOW = 100  # iterations over which a discriminator is judged


def build_trainer(
    cfg,
    *,
    make_loader: Callable[..., DomainLoader] = build_train_loader,
    make_optimizer: Callable[..., torch.optim.Optimizer] = build_optimizer,
) -> DomainAdaptationTrainer:
    """The trainer that TRAINER.NAME names.

    Args:
        make_loader: what is called in place of :func:`build_train_loader`, with its arguments.
        make_optimizer: what is called in place of :func:`build_optimizer`, with its arguments.
    """
    facts, model = trainer_of(cfg), _build_model(cfg)
    strategy = build_strategy(cfg, model)
    store = build_label_store(cfg) if facts.target_labels else None
    first_hooks = _build_acquisition_hooks(cfg, model, store) if store else []
    optimizer = make_optimizer(cfg, model)
    autocast, scaler = build_precision(cfg)
    logger = logging.getLogger("gbw_panoptic")
    logger.info(update_description(cfg))
    if slow := precision_warning(cfg):
        logger.warning(slow)
    trainer = DomainAdaptationTrainer(
        model=data_parallel(model, every_parameter=facts.whole_passes),
        optimizer=optimizer,
        loader=make_loader(cfg, **_build_loader_parts(cfg, store)),
        strategy=strategy,
        seed=cfg.SEED,
        accumulation_steps=cfg.SOLVER.ACCUMULATION_STEPS,
        autocast=autocast,
        scaler=scaler,
        output_dir=cfg.OUTPUT_DIR,
        source_style=_build_source_style(cfg, next(model.parameters()).device),
        labelled_weight=cfg.DATASETS.TARGET_LABELLED.LOSS_WEIGHT,
    )
    models = {"student": model}
    if "teacher" in strategy.modules:
        models["teacher"] = strategy.modules["teacher"]
    parts = {"settings": build_settings(cfg), "description": build_model_description(cfg)}
    parts |= {**strategy.modules, "trainer": trainer}
    trainer.checkpointer = SafeCheckpointer(model, cfg.OUTPUT_DIR, **parts)
    trainer.register_hooks([*first_hooks, *_build_hooks(cfg, trainer, optimizer, models)])
    return trainer


def build_strategy(cfg, model: nn.Module) -> Strategy:
    """How the trainer adapts ``model``, by its row of the table."""
    builder = trainer_of(cfg).builder
    return (pkgutil.resolve_name(builder) if isinstance(builder, str) else builder)(cfg, model)


def build_models(cfg) -> dict[str, nn.Module]:
    """Student, and teacher where the trainer has one: what --eval-only loads a checkpoint into."""
    model = _build_model(cfg)
    if has_teacher(cfg):
        return {"student": model, "teacher": MeanTeacher(model, decay=cfg.SELF_TRAINING.EMA_DECAY).model}
    return {"student": model}


def _build_model(cfg) -> nn.Module:
    torch.manual_seed(cfg.SEED)  # the same initial weights on every rank, whatever ran before
    return build_execution(cfg, build_model(cfg))


def _build_loader_parts(cfg, store: LabelStore | None) -> dict:
    """What the loader cannot know of the configuration alone."""
    if store is None:
        return {}
    labels = BoughtLabels(store, MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).ignore_label)
    return {"target_labels": labels, "source": not cfg.ACTIVE.SOURCE_FREE}


def _build_acquisition_hooks(cfg, model: nn.Module, store: LabelStore) -> list[HookBase]:
    """They come before checkpoints: those of an iteration go with the labels that it has bought."""
    if not cfg.ACTIVE.ITERATIONS:
        return []
    acquisition = build_acquisition(cfg, store, len(cfg.ACTIVE.ITERATIONS))
    return [AcquisitionHook(acquisition, build_predict(cfg, model), cfg.ACTIVE.ITERATIONS, build_round_pictures(cfg))]


def _build_source_style(cfg, device: torch.device) -> FourierStyle | None:
    return FourierStyle(cfg.INPUT.FOURIER.BETA, device) if cfg.INPUT.FOURIER.ENABLED else None


def load_for_evaluation(
    models: dict[str, nn.Module],
    weights: str,
    output_dir: str,
    *,
    resume: bool,
    settings: Mapping[str, object] | None = None,
) -> None:
    """Load ``weights`` (with ``resume``: OUTPUT_DIR's last checkpoint) into ``models``; drop a teacher that it does not
    hold.

    Args:
        settings: with which the models are evaluated, to be compared with those of the checkpoint.

    Raises:
        UserError: there is nothing to load, or it is not every tensor of the models: scores of others would mean
            nothing.
    """
    checkpointer = SafeCheckpointer(models["student"], output_dir)
    if resume:
        weights = checkpointer.get_checkpoint_file()
    if not weights:
        raise UserError(
            "--eval-only: expected a checkpoint in MODEL.WEIGHTS (with --resume: in OUTPUT_DIR), found none; name one, "
            "or give --resume for OUTPUT_DIR's last."
        )
    contents = checkpointer.load(weights, fit=whole)
    check_meaning(settings or {}, contents, weights)
    for name in set(models) - {"student"}:
        if name in contents:
            load_weights(models[name], contents, f"{weights} ({name})", part=name)
        else:
            logging.getLogger("gbw_panoptic").warning("%s holds no %s: it is not evaluated.", weights, name)
            del models[name]


def _build_hooks(cfg, trainer: DomainAdaptationTrainer, optimizer, models: dict[str, nn.Module]) -> list:
    names = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy.names
    period = max(_LOG_PERIOD, cfg.SOLVER.MAX_ITER // _WEIGHT_RECORDS)
    result = [
        hooks.IterationTimer(),
        LearningRate(optimizer, build_lr_scheduler(cfg, optimizer)),
        ClassWeightLogger(trainer.model, trainer.strategy, names, period=period),
        DiscriminatorMonitor(period=_MONITOR_WINDOW, window=_MONITOR_WINDOW),
    ]
    head = getattr(unwrapped(trainer.model), "mask_head", None)
    if isinstance(head, EncoderOnlyHead):
        result.append(MaskAnnealing(head, iterations=cfg.SOLVER.MAX_ITER))
    saver = None
    if comm.is_main_process():
        # before evaluation: a crash there costs no training
        saver = CheckpointSaver(
            trainer.checkpointer, period=cfg.SOLVER.CHECKPOINT_PERIOD, keep=cfg.SOLVER.CHECKPOINTS_KEPT
        )
        result.append(saver)
    stop = StopSignals(saver)

    def evaluate_models() -> dict:
        # Detectron2's hook evaluates behind a last step that failed
        ended = stop.agreed or sys.exc_info()[0] is not None
        return {} if ended else evaluate(cfg, models, iteration=trainer.storage.iter)

    metrics = os.path.join(cfg.OUTPUT_DIR, METRICS)
    result += [stop, Evaluation(cfg.TEST.EVAL_PERIOD, evaluate_models, metrics)]
    if comm.is_main_process():
        if cfg.TEST.UNSUPERVISED:
            shares = source_shares(cfg.DATASETS.TRAIN, names)
            result.append(CollapseWatch(None if shares is None else dict(zip(names, shares.tolist())), metrics))
        result += [*build_writers(cfg), ProgressLine()]
    return [*result, StopTraining(stop)]


def check_resumable(output_dir: str) -> None:
    """A run can be resumed from the moment on when it has a metrics.json: before its first checkpoint, from the
    beginning.

    Raises:
        UserError: no run has begun there.
    """
    if not any(os.path.isfile(os.path.join(output_dir, name)) for name in ("last_checkpoint", METRICS)):
        raise UserError(
            f"--resume: expected a checkpoint in {output_dir}, found none, nor a run that has begun; drop --resume or "
            "give the OUTPUT_DIR of the run to be continued."
        )


def resume_or_load(trainer: DomainAdaptationTrainer, weights: str, *, resume: bool) -> None:
    """Resume from OUTPUT_DIR's last checkpoint, or start from ``weights`` (empty: from random initialisation).

    Raises:
        UserError: the checkpoint does not fit to the configuration. Whether there is a run to be resumed is for
            :func:`check_resumable` to say, before a trainer is built.
    """
    checkpointer, logger = trainer.checkpointer, logging.getLogger("gbw_panoptic")
    if comm.is_main_process():
        remove_halves(checkpointer.save_dir)
    if not resume:
        _start_from(trainer, weights)
        return
    trainer.resumed = True
    if not checkpointer.has_checkpoint():
        logger.warning("The run in %s has no checkpoint yet: it begins again.", checkpointer.save_dir)
        _start_from(trainer, weights)
        return
    path = checkpointer.get_checkpoint_file()
    if weights:
        logger.warning("Resuming from %s: MODEL.WEIGHTS %s is ignored.", path, weights)
    expected, found = _resume(trainer)
    if found:
        raise UserError(
            f"--resume: expected a checkpoint with {expected}, found {found} in {path}, of a run with other settings "
            "or of an older version, or damaged; resume with that run's, or start anew with it as "
            f"MODEL.WEIGHTS{or_an_earlier(path)}."
        )
    if "settings" not in checkpointer.contents:
        logger.warning(
            "%s, of an older version, holds no settings: whether they are those of this run was not checked.", path
        )


def _start_from(trainer: DomainAdaptationTrainer, weights: str) -> None:
    contents = trainer.checkpointer.resume_or_load(weights, resume=False)
    check_meaning(trainer.checkpointer.checkpointables["settings"].values, contents, weights)
    if weights and (fault := describe_flat_features(trainer.checkpointer.model.backbone)):
        logging.getLogger("gbw_panoptic").warning("MODEL.WEIGHTS %s: %s", weights, fault)


def _resume(trainer: DomainAdaptationTrainer) -> tuple[str, str]:
    """Load the last checkpoint. What was expected of it and what was found instead, for a sentence; empty if it
    fits."""
    checkpointer = trainer.checkpointer
    try:
        checkpointer.resume_or_load("", resume=True)
    # states of other shapes, names or forms
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        return "the states of this configuration", " ".join(str(error).split("\n\t")[:2]).rstrip(".")
    missing = sorted(set(checkpointer.checkpointables) - checkpointer.contents - set(YOUNG_PARTS))
    if missing:
        return ", ".join(missing), "none"
    if checkpointer.misfits:
        return (
            "the model of this configuration",
            f"another {checkpointer.misfits[0]} ({len(checkpointer.misfits)} in all)",
        )
    return "", ""
