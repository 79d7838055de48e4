"""The study of class weighting: :mod:`weighting_study` starts it."""
