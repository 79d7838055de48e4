"""Adaptation strategies and their parts."""

from .self_training import SelfTraining
from .strategy import SourceOnly, Strategy
from .teacher import MeanTeacher

__all__ = ["MeanTeacher", "SelfTraining", "SourceOnly", "Strategy"]
