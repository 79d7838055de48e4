"""Self-training with a mean teacher: of dense predictions and of segments."""
