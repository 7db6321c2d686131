"""The command that builds the paper's tables."""

import importlib.util
import json
import shlex
from pathlib import Path

import pytest
from command_line import ROOT

from reproduce.outcomes import read_outcome
from reproduce.plan import Plan
from reproduce.runner import Runner
from reproduce.tables import ROCK, Row, Table
from rock_d2 import model_zoo
from rock_d2.config import load_config
from rock_d2.export.complexity import num_parameters

# The package `reproduce` has the name of the tool.
SPEC = importlib.util.spec_from_file_location("reproduce_tool", ROOT / "tools" / "reproduce.py")
reproduce_tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reproduce_tool)

TINY = (
    *("MODEL.DEVICE", "cpu", "INPUT.SIZE", "[96, 128]", "DATALOADER.NUM_WORKERS", "0"),
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "4", "SOLVER.LOG_PERIOD", "2"),
    *("TEST.NUM_PICTURES", "0"),
)


@pytest.fixture
def command(capsys):
    """Run the tool in this process; return its exit code and the lines that it prints."""

    def run(*words: object) -> tuple[int, list[str]]:
        code = reproduce_tool.main(list(map(str, words)))
        return code, capsys.readouterr().out.splitlines()

    return run


def test_a_training_and_its_evaluation_without_decoders(rooms_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    tasks = ("Scene", "Depth", "Normals")
    silent = Row("silent", ROCK.config, against=ROCK.title, switched_off=tasks)
    table = Table("x", "one training", (ROCK, silent))
    plan = Plan([table], dataset="rooms", seeds=[1], output=tmp_path, options=TINY)
    runner = Runner(ROOT / "tools" / "train_net.py")
    runner.run(plan.runs())
    assert runner.failed == {}
    trained, evaluated = (read_outcome(run) for run in plan.runs())
    # What decoders do concerns the detector; the tasks are predicted from the encodings.
    tasks_only = [name for name in trained.metrics if not name.startswith("bbox/")]
    assert len(tasks_only) > 10
    for name in tasks_only:
        assert evaluated.metrics[name] == pytest.approx(trained.metrics[name]), name
    assert trained.costs().keys() == {"hours", "memory_gb", "images_per_second"}
    assert (tmp_path / "table1_rock/seed1/model_final.pth").is_file()


def test_commands_for_a_scheduler_leave_out_what_is_finished(command, tmp_path):
    words = ("1", "2", "--dataset", "rooms", "--seeds", 2, "--output", tmp_path, *TINY)
    assert len(command(*words, "--print-commands")[1]) == 20
    finish(tmp_path / "table1_rock" / "seed2")
    _, lines = command("--print-commands", *words)
    assert len(lines) == 19 and not any("table1_rock/seed2" in line for line in lines)
    for line in lines:
        parts = shlex.split(line)
        assert parts[0] == "python" and parts[1].endswith("tools/train_net.py")
        assert "--resume" in parts and parts[parts.index("SOLVER.MAX_ITER") + 1] == "4"


def finish(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"bbox": {"AP50": 1.0}}))


def test_an_evaluation_is_commanded_once_its_training_is_finished(command, tmp_path):
    words = ("decoders", "--dataset", "rooms", "--output", tmp_path, "--print-commands")
    _, (line,) = command(*words)
    assert "--eval-only" not in line
    finish(tmp_path / "table1_rock" / "seed1")
    _, lines = command(*words)
    assert len(lines) == 4 and all("--eval-only" in line for line in lines)


def test_collecting_trains_nothing(command, tmp_path):
    code, files = command("1", "--dataset", "rooms", "--collect", "--output", tmp_path)
    assert code == 0 and str(tmp_path / "table1.md") in files
    assert "4 runs are not finished" in (tmp_path / "table1.md").read_text()
    assert not any(file.is_dir() for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("7", "--dataset", "rooms"), "table 7 needs Cityscapes"),
        (("1", "--dataset", "rooms", "SOLVER.SPEED", "9"), "key: SOLVER.SPEED"),
        (("1", "--dataset", "rooms", "SOLVER.MAX_ITER"), "odd length"),
    ],
    ids=["table", "setting", "no value"],
)
def test_wrong_words_are_named(words, message, command, tmp_path):
    with pytest.raises(ValueError, match=message):
        command(*words, "--output", tmp_path)
