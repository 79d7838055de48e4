"""Metrics, Detectron2 evaluators and the report."""

from .panoptic_quality import PanopticQuality
from .semantic import SemanticConfusion

__all__ = ["PanopticQuality", "SemanticConfusion"]
