"""Trained models as graphs for other runtimes: image in, panoptic map out, nothing left to be written by the user."""
