"""Training, evaluation and checkpoints: what ties the other parts together."""
