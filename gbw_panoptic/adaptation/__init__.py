"""Adaptation strategies and their parts."""

from .adversarial import AdversarialAlignment
from .entropy_minimization import EntropyMinimization
from .self_training import SelfTraining
from .strategy import SourceOnly, Strategy
from .teacher import MeanTeacher

__all__ = ["AdversarialAlignment", "EntropyMinimization", "MeanTeacher", "SelfTraining", "SourceOnly", "Strategy"]
