"""Mask2Former's head, what it is trained on and with, and segments from its masks."""
