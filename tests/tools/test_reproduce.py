"""The command that builds the paper's tables."""

import importlib.util
import shlex
from pathlib import Path

import pytest
from command_line import ROOT

from reproduce.outcomes import read_outcome
from reproduce.plan import Plan
from reproduce.rock_tables import ROCK
from reproduce.table import Table
from rock_d2.engine import main

# The package `reproduce` has the name of the tool.
SPEC = importlib.util.spec_from_file_location("reproduce_tool", ROOT / "tools" / "reproduce.py")
reproduce_tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reproduce_tool)

TINY = (
    *("MODEL.DEVICE", "cpu", "INPUT.SIZE", "[48, 64]", "DATALOADER.NUM_WORKERS", "0"),
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "4", "TEST.NUM_PICTURES", "0"),
)


@pytest.fixture
def command(capsys):
    """Run the tool in this process; return the lines that it prints."""

    def run(*words: object) -> list[str]:
        assert reproduce_tool.main(list(map(str, words))) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_a_training_leaves_an_outcome(rooms_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    table = Table("x", "one training", (ROCK,))
    plan = Plan([table], dataset="rooms", seeds=[1], output=tmp_path, options=TINY)
    (run,) = plan.runs()
    # The runner starts the same command in a process of its own.
    options, pairs = run.arguments()
    main([*options, *pairs])
    outcome = read_outcome(run)
    assert len([name for name in outcome.metrics if not name.startswith("bbox/")]) > 10
    assert outcome.costs().keys() == {"hours", "memory_gb", "images_per_second"}
    assert (tmp_path / "table1_rock/seed1/model_final.pth").is_file()


def finish(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text("{}")


def test_commands_for_a_scheduler_are_those_that_can_run_now(command, tmp_path):
    words = ("1", "decoders", "--dataset", "rooms", "--seeds", 2, "--output", tmp_path, *TINY)
    lines = command(*words, "--print-commands", "--import", "json", "--import", "shlex")
    assert len(lines) == 8
    for line in lines:
        parts = shlex.split(line)
        assert parts[0] == "python" and parts[1].endswith("tools/train_net.py")
        assert parts[2:6] == ["--import", "json", "--import", "shlex"]
        assert "--resume" in parts and parts[parts.index("SOLVER.MAX_ITER") + 1] == "4"
    finish(tmp_path / "table1_rock" / "seed2")
    lines = command("--print-commands", *words)
    # Seven trainings are left, and four evaluations of the one that is finished can run.
    assert ["--eval-only" in line for line in lines] == [False] * 7 + [True] * 4
