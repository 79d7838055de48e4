"""Trainers, checkpoints, evaluation runs."""

from .build import build_models, build_strategy, build_trainer
from .trainer import DomainAdaptationTrainer

__all__ = ["DomainAdaptationTrainer", "build_models", "build_strategy", "build_trainer"]
