"""Two processes train as one does on the same batches, however they are started and interrupted."""

import importlib
from pathlib import Path

import pytest
from command_line import run
from trainings import SETTINGS, metrics, new_trainer, stored

# Batch normalization sees another batch in each process; without it the two must agree. SGD, since
# Adam makes a step of full length out of rounding errors of a gradient that is 0.
AGREEING = (
    *("MODEL.RESNETS.NORM", "FrozenBN", "MODEL.SSD.NORM", "GN", "MODEL.ROCK.NORM", "GN"),
    *("MODEL.SSD.EXTRA_CHANNELS", [64], "SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", 1e-3),
    *("SOLVER.WARMUP_ITERS", 0, "SOLVER.MAX_ITER", 3, "SOLVER.STEPS", (), "SOLVER.LOG_PERIOD", 1),
    *("DATASETS.TEST", ("rooms_val",), "MODEL.BALANCING.NAME", "Asking"),
)
# A part of one's own, which asks all processes to end in their second step.
PART = """
import os, signal, threading
from rock_d2.modeling.balancing import BALANCER_REGISTRY, Balancer

@BALANCER_REGISTRY.register()
class Asking(Balancer):
    steps = 0

    def backward(self, losses, **options):
        super().backward(losses, **options)
        self.steps += 1
        if self.steps == 2 and "ASKING" in os.environ and os.environ["LOCAL_RANK"] == "1":
            # The launcher passes the signal on, and this step does not end before.
            arrived, note = threading.Event(), signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda *received: (arrived.set(), note(*received)))
            os.kill(os.getppid(), signal.SIGTERM)
            arrived.wait()
"""
PROGRAM = """
import asking
from rock_d2.engine import main

main()
"""


def command_line(folder: Path, *flags: object) -> list[object]:
    config = ("--config-file", "configs/quick_schedules/rock_rooms_quick.yaml")
    return [
        *config,
        *flags,
        *SETTINGS,
        *AGREEING,
        "SOLVER.CHECKPOINT_PERIOD",
        9,
        "OUTPUT_DIR",
        folder,
    ]


def test_two_processes_are_one_even_after_an_interruption(rooms_root, tmp_path, monkeypatch):
    part, program, folder = tmp_path / "asking.py", tmp_path / "program.py", tmp_path / "two"
    part.write_text(PART)
    program.write_text(PROGRAM)
    done = run(program, *command_line(folder, "--num-gpus", 2), root=rooms_root, ASKING="")
    assert done.returncode == 75, done.stderr
    assert [path.name for path in folder.glob("*.pth")] == ["model_0000001.pth"], done.stderr
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    tool = (*torchrun, "tools/train_net.py", "--import", part)
    done = run(*tool, *command_line(folder, "--resume"), root=rooms_root)
    assert done.returncode == 0, done.stderr
    assert len(stored(folder)["processes"]) == 2

    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("asking")
    new_trainer(tmp_path / "one", *AGREEING).train()
    steps = {}
    for name in ("one", "two"):
        lines = [line for line in metrics(tmp_path / name) if "total_loss" in line]
        steps[name] = [{k: v for k, v in line.items() if "loss" in k} for line in lines]
    assert len(steps["one"]) == 3 and len(steps["one"][0]) == 6
    assert abs(steps["one"][0]["total_loss"] / steps["one"][2]["total_loss"] - 1) > 0.02
    for one, two in zip(steps["one"], steps["two"], strict=True):
        assert two == pytest.approx(one, rel=2e-4)
