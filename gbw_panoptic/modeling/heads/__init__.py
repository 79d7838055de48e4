"""Heads of Panoptic-DeepLab: features in, predictions and losses as sums per class out."""
