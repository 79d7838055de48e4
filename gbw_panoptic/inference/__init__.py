"""A trained model on images and videos of any kind, without data sets and without training."""

from ..structures.predictions import Prediction
from .predictor import Predictor, build_predictor

__all__ = ["Prediction", "Predictor", "build_predictor"]
