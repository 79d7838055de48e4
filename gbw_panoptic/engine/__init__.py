"""Trainers, checkpoints, evaluation runs."""

from .build import (
    TRAINERS,
    AdversarialTrainer,
    EntropyMinimizationTrainer,
    SelfTrainingTrainer,
    SourceOnlyTrainer,
    build_models,
    build_trainer,
)
from .trainer import DomainAdaptationTrainer

__all__ = [
    "TRAINERS",
    "AdversarialTrainer",
    "DomainAdaptationTrainer",
    "EntropyMinimizationTrainer",
    "SelfTrainingTrainer",
    "SourceOnlyTrainer",
    "build_models",
    "build_trainer",
]
