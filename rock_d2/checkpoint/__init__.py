"""Checkpoints: weights of any known layout, read safely; trainings saved whole and resumed."""

from rock_d2.checkpoint.downloads import PackageHandler
