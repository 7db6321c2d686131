"""The command that builds the paper's tables."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

import reproduce
from reproduce.outcomes import read_outcome
from reproduce.plan import Plan
from reproduce.runner import Runner
from reproduce.tables import ROCK, Row, Table
from rock_d2 import model_zoo
from rock_d2.config import load_config
from rock_d2.export.complexity import num_parameters

TINY = (
    *("MODEL.DEVICE", "cpu", "INPUT.SIZE", "[96, 128]", "DATALOADER.NUM_WORKERS", "0"),
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "4", "SOLVER.LOG_PERIOD", "2"),
    *("SOLVER.GRADIENT_CONFLICT_PERIOD", "2", "TEST.NUM_PICTURES", "0"),
)


def command(monkeypatch, capsys, *words: object) -> list[str]:
    """The lines that the tool prints, here in this process."""
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *map(str, words)])
    reproduce.main(reproduce.parse_args())
    return capsys.readouterr().out.splitlines()


def test_a_training_and_its_evaluation_without_decoders(rooms_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    tasks = ("Scene", "Depth", "Normals")
    silent = Row("silent", ROCK.config, against=ROCK.title, switched_off=tasks)
    table = Table("x", "one training", (ROCK, silent))
    plan = Plan([table], dataset="rooms", seeds=[1], output=tmp_path, options=TINY)
    runner = Runner(Path(reproduce.__file__).with_name("train_net.py"))
    runner.run(plan.runs())
    assert runner.failed == {}
    trained, evaluated = (read_outcome(run) for run in plan.runs())
    # What decoders do concerns the detector; the tasks are predicted from the encodings.
    tasks_only = [name for name in trained.metrics if not name.startswith("bbox/")]
    assert len(tasks_only) > 10
    for name in tasks_only:
        assert evaluated.metrics[name] == pytest.approx(trained.metrics[name]), name
    assert set(trained.curve("gradient_cosine/depth")) == {1, 3}
    assert trained.costs.keys() == {"hours", "memory_gb", "images_per_second"}
    assert (tmp_path / "table1_rock/seed1/model_final.pth").is_file()


def test_commands_for_a_scheduler_leave_out_what_is_finished(monkeypatch, capsys, tmp_path):
    words = ("1", "2", "--dataset", "rooms", "--seeds", 2, "--output", tmp_path, *TINY)
    assert len(command(monkeypatch, capsys, *words, "--print-commands")) == 20
    done = tmp_path / "table1_rock" / "seed2"
    done.mkdir(parents=True)
    (done / "results.json").write_text(json.dumps({"bbox": {"AP50": 1.0}}))
    lines = command(monkeypatch, capsys, "--print-commands", *words)
    assert len(lines) == 19 and not any(str(done) in line for line in lines)
    for line in lines:
        parts = shlex.split(line)
        assert parts[:2] == ["python", "tools/train_net.py"] and "--resume" in parts
        assert parts[parts.index("SOLVER.MAX_ITER") + 1] == "4"


def test_an_evaluation_is_commanded_once_its_training_is_finished(monkeypatch, capsys, tmp_path):
    words = ("decoders", "--dataset", "rooms", "--output", tmp_path, "--print-commands")
    (line,) = command(monkeypatch, capsys, *words)
    assert "--eval-only" not in line
    done = tmp_path / "table1_rock" / "seed1"
    done.mkdir(parents=True)
    (done / "results.json").write_text("{}")
    lines = command(monkeypatch, capsys, *words)
    assert len(lines) == 4 and all("--eval-only" in line for line in lines)


def test_collecting_trains_nothing(monkeypatch, capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        command(monkeypatch, capsys, "1", "--dataset", "rooms", "--collect", "--output", tmp_path)
    assert end.value.code == 0
    assert "4 runs are not finished" in (tmp_path / "table1.md").read_text()
    assert not any(file.is_dir() for file in tmp_path.iterdir())


def test_size_and_speed_of_table_4(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("reproduce.complexity_table.ROUNDS", 3)
    with pytest.raises(SystemExit):
        command(monkeypatch, capsys, "4", "--dataset", "rooms", "--output", tmp_path, *TINY)
    text = (tmp_path / "table4.md").read_text()
    baseline, rock = re.findall(r"^\| (?:Detection baseline|ROCK) .*", text, re.MULTILINE)
    sizes = [float(row.split("|")[2]) for row in (baseline, rock)]
    with torch.device("meta"):
        cfg = load_config(model_zoo.get_config_file("rock_rooms.yaml"), ["MODEL.DEVICE", "meta"])
        block = num_parameters(build_model(cfg).neck)
    assert sizes[1] - sizes[0] == pytest.approx(block / 1e6, abs=0.011)
    assert "32.60" in rock and "61.00" in rock


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("7", "--dataset", "rooms"), "reproduce: table 7 joins with its data set, Cityscapes"),
        (("1", "--dataset", "rooms", "SOLVER.SPEED", "9"), "key: SOLVER.SPEED"),
        (("1", "--dataset", "rooms", "SOLVER.MAX_ITER"), "odd length"),
    ],
    ids=["table", "setting", "no value"],
)
def test_what_cannot_be_ends_with_one_line(words, message, monkeypatch, capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        command(monkeypatch, capsys, *words, "--output", tmp_path)
    assert message in end.value.code and "\n" not in end.value.code
