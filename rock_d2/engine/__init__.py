"""Training and evaluation."""

from rock_d2.engine.main import main
from rock_d2.engine.trainer import RockTrainer
