"""Checkpoints: weights of any known layout, read safely; trainings saved whole and resumed."""
