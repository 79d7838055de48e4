"""Adaptation strategies and their parts."""

from .adversarial import AdversarialAlignment
from .entropy_minimization import EntropyMinimization
from .mean_teacher.segment_self_training import SegmentSelfTraining
from .mean_teacher.self_training import SelfTraining
from .mean_teacher.teacher import MeanTeacher
from .strategy import SourceOnly, Strategy

__all__ = [
    "AdversarialAlignment",
    "EntropyMinimization",
    "MeanTeacher",
    "SegmentSelfTraining",
    "SelfTraining",
    "SourceOnly",
    "Strategy",
]
