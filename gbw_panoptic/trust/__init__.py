"""What can be known without labels of the target: estimates of its score, a choice among models, signs of collapse; and
which labels of a source are likely to be wrong."""
