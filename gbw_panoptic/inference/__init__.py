"""A trained model on images and videos of any kind, without data sets and without training."""

from .predictor import Prediction, Predictor, build_predictor

__all__ = ["Prediction", "Predictor", "build_predictor"]
