"""The study of active learning: :mod:`active_study` starts it."""
