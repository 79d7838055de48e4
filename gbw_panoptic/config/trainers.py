"""The one table of facts about trainers: what checks, loader and engine must know of each TRAINER.NAME.

A trainer of your own is one more row, ``TRAINERS["MyTrainer"] = Trainer(builder=...)`` (CONTRIBUTING.md).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..weighting import BRANCHES
from .checks import strategies as problems
from .kinds import value_of


@dataclass(frozen=True)
class Trainer:
    """
    Attributes:
        builder: (cfg, model) -> its strategy. Those of the project are paths, ``module:function``, into a package above
            this one: only the engine follows them.
        needs_target: whether it looks at the images of DATASETS.TARGET.
        target_labels: whether labels of the target are bought (ACTIVE.*) and it is trained on them.
        teacher: whether it has a mean teacher, or the key of the switch that says so.
        branches: those of ``weighting.BRANCHES`` whose losses have labels.
        unlabelled_loss: whether WEIGHTING.TARGET weights a loss of its.
        whole_passes: whether all parameters of the model have a part in each of its backward passes.
        section: of the configuration, which it reads and others do not; SELF_TRAINING belongs to all with a teacher.
        problems: cfg -> a sentence for each setting that contradicts it.
    """

    builder: str | Callable[[Any, Any], Any]
    needs_target: bool = True
    target_labels: bool = False
    teacher: bool | str = False
    branches: tuple[str, ...] = ("source",)
    unlabelled_loss: bool = False
    whole_passes: bool = False
    section: str = ""
    problems: Callable[[Any], Iterable[str]] = lambda cfg: ()


_BUILDERS = "gbw_panoptic.engine.strategies"
TRAINERS: dict[str, Trainer] = {
    "SourceOnlyTrainer": Trainer(f"{_BUILDERS}:build_source_only", needs_target=False, whole_passes=True),
    "SelfTrainingTrainer": Trainer(
        f"{_BUILDERS}:build_self_training", teacher=True, branches=("source", "mixed", "masked"),
        problems=problems.self_training_problems,
    ),
    "AdversarialTrainer": Trainer(
        f"{_BUILDERS}:build_adversarial_alignment", unlabelled_loss=True, section="ADVERSARIAL",
        problems=problems.adversarial_problems,
    ),
    "EntropyMinimizationTrainer": Trainer(
        f"{_BUILDERS}:build_entropy_minimization", unlabelled_loss=True, section="ENTROPY",
        problems=problems.entropy_problems,
    ),
    "ActiveTrainer": Trainer(
        f"{_BUILDERS}:build_active_training", target_labels=True, teacher="ACTIVE.SELF_TRAINING", branches=BRANCHES,
        section="ACTIVE",
        problems=problems.active_problems,
    ),
}  # fmt: skip


def trainer_of(cfg) -> Trainer:
    """The facts about TRAINER.NAME."""
    return TRAINERS[cfg.TRAINER.NAME]


def branches_of(cfg) -> tuple[str, ...]:
    """Branches whose losses have labels: those of the trainer, and that of DATASETS.TARGET_LABELLED."""
    branches, labelled = trainer_of(cfg).branches, cfg.DATASETS.TARGET_LABELLED
    return branches if "target" in branches or not (labelled.FILES or labelled.SHARE) else (*branches, "target")


def has_teacher(cfg) -> bool:
    """Whether the trainer has a mean teacher."""
    teacher = trainer_of(cfg).teacher
    return value_of(cfg, teacher) if isinstance(teacher, str) else teacher


def unread_keys(cfg, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that belong to trainers, and not to this one."""
    owned = {trainer.section for trainer in TRAINERS.values() if trainer.section} | {"SELF_TRAINING"}
    read = {trainer_of(cfg).section} | ({"SELF_TRAINING"} if has_teacher(cfg) else set())
    return [name for name in names if name.partition(".")[0] in owned - read]
