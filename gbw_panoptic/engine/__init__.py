"""Trainers, checkpoints, evaluation runs."""

from .build import TRAINERS, SelfTrainingTrainer, SourceOnlyTrainer, build_models, build_trainer
from .trainer import DomainAdaptationTrainer

__all__ = [
    "TRAINERS",
    "DomainAdaptationTrainer",
    "SelfTrainingTrainer",
    "SourceOnlyTrainer",
    "build_models",
    "build_trainer",
]
