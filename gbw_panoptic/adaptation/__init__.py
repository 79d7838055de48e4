"""Adaptation strategies and their parts."""

from .adversarial import AdversarialAlignment
from .entropy_minimization import EntropyMinimization
from .segment_self_training import SegmentSelfTraining
from .self_training import SelfTraining
from .strategy import SourceOnly, Strategy
from .teacher import MeanTeacher

__all__ = [
    "AdversarialAlignment",
    "EntropyMinimization",
    "MeanTeacher",
    "SegmentSelfTraining",
    "SelfTraining",
    "SourceOnly",
    "Strategy",
]
