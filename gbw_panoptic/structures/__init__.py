"""What travels between the rooms, typed: samples and batches, losses, predictions, segments, instances, names of
metrics.

Nothing is exported here: readers of metrics need no torch.
"""
