"""Training and evaluation through the command line."""

import json
import math
import re
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from command_line import run, run_warm
from detectron2.engine import default_argument_parser
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rock_d2.config import load_config
from rock_d2.engine.writers import describe_run
from rock_d2.engine.setup import setup_config
from rock_d2.engine.trainer import Evaluation

CONFIG = ("--config-file", "configs/rock_rooms.yaml")
TINY = (
    *("SEED", 1, "MODEL.DEVICE", "cpu", "INPUT.SIZE", "[96, 128]", "DATALOADER.NUM_WORKERS", 0),
    *("SOLVER.IMS_PER_BATCH", 4, "SOLVER.MAX_ITER", 4, "SOLVER.STEPS", "()"),
    # Whatever schedule the rooms have.
    *("SOLVER.BASE_LR", 1e-3, "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR"),
    *("SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.LOG_PERIOD", 1, "SOLVER.WARMUP_ITERS", 3),
    *("TEST.EVAL_PERIOD", 2, "TEST.NUM_PICTURES", 2, "MODEL_EMA.ENABLED", True),
)
LOSSES = {"loss_cls", "loss_box_reg", "loss_scene", "loss_depth", "loss_normals"}


def train_net(*arguments: object, root: Path) -> CompletedProcess:
    return run_warm("tools/train_net.py", *CONFIG, *arguments, root=root)


@pytest.fixture(scope="module")
def training(rooms_root, tmp_path_factory) -> CompletedProcess:
    """Four iterations, evaluated after two and after all; it tells what it imports."""
    command = ("-X", "importtime", "tools/train_net.py", *CONFIG, *TINY)
    done = run(*command, "OUTPUT_DIR", tmp_path_factory.mktemp("trained"), root=rooms_root)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def trained(training) -> Path:
    """Its output folder."""
    return Path(training.args[-1])


def test_a_training_does_without_pytorchs_compiler(training):
    """It takes as long to import as PyTorch, and several libraries would import it in passing."""
    told = [line for line in training.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rsplit("|", 1)[1].strip() for line in told}
    assert "rock_d2.engine.trainer" in imported
    assert not imported & {"sympy", "torch._dynamo", "torch._inductor"}


def lines(folder: Path, key: str) -> list[dict[str, float]]:
    found = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [line for line in found if key in line]


def test_every_iteration_is_recorded(trained):
    steps = lines(trained, "total_loss")
    assert [step["iteration"] for step in steps] == [0, 1, 2, 3]
    for step in steps:
        assert step.keys() >= LOSSES | {"lr", "images_per_second", "memory_gb", "eta_seconds"}
        assert sum(step[name] for name in LOSSES) == pytest.approx(step["total_loss"])
    # Warm-up from a thousandth to all of 1e-3, evenly over three iterations.
    assert [step["lr"] for step in steps] == pytest.approx([1e-6, 3.34e-4, 6.67e-4, 1e-3])


def test_every_evaluation_is_recorded_and_the_last_one_is_the_result(trained):
    evaluations = lines(trained, "bbox/AP50")
    assert len(evaluations) == 2
    results = json.loads((trained / "results.json").read_text())
    assert results.keys() == {"bbox", "scene", "depth", "normals"}
    for task, metrics in results.items():
        for name, value in metrics.items():
            recorded = evaluations[-1][f"{task}/{name}"]
            assert recorded == value or (value is None and math.isnan(recorded))


def test_tensorboard_has_all_scalars_and_pictures_of_each_evaluation(trained):
    events = EventAccumulator(str(trained)).Reload()
    scalars = set(events.Tags()["scalars"])
    assert scalars >= LOSSES | {"total_loss", "lr", "images_per_second", "memory_gb"}
    assert scalars >= {"bbox/AP50", "depth/rmse", "normals/mean_angle", "scene/acc"}
    images = events.Tags()["images"]
    assert len(images) == 2
    assert [len(events.Images(name)) for name in images] == [2, 2]
    # Image, depth and normals of 480 x 360 beside each other, at least.
    assert all(picture.width >= 3 * 480 for picture in events.Images(images[0]))


def test_log_opens_with_a_header_and_closes_with_a_table(trained):
    log = (trained / "log.txt").read_text()
    assert re.search(r"rooms_train +train +15 +\d+\n", log)
    assert re.search(r"rooms_val +test +9 +\d+\n", log)
    parts = dict(re.findall(r"^(backbone|neck\.\w+|head|total) +([\d,]+)$", log, re.MULTILINE))
    numbers = {name: int(number.replace(",", "")) for name, number in parts.items()}
    assert numbers.pop("total") == sum(numbers.values())
    assert len(numbers) == 5
    assert re.search(r"MODEL\.RESNETS\.DEPTH +18 +50\n", log)
    assert re.search(r"MODEL_EMA\.ENABLED +True +False\n", log)
    # The rooms are kept in memory, which changes no batch.
    assert "DATALOADER.RESIDENT" not in log
    # The same in both.
    assert not re.search(r"MODEL\.NECK\.NAME +\w+ +\w+\n", log)
    assert re.search(r"4/4  eta 0:00:00  loss [\d.]+ \(cls ", log)
    results = json.loads((trained / "results.json").read_text())
    table = log[log.rindex("| metric ") :]
    assert re.search(rf"\| depth/rmse +\| +{results['depth']['rmse']:.3f} \|", table)
    assert "| bookshelf " in table


def test_run_describes_itself(trained):
    assert "EVAL_PERIOD: 2" in (trained / "config.yaml").read_text()
    environment = (trained / "environment.txt").read_text()
    assert re.search(r"^commit: ([0-9a-f]{40}|unknown)", environment, re.MULTILINE)
    assert re.search(r"^machine: .+, \d+ threads, torch \d", environment, re.MULTILINE)
    assert "detectron2" in environment and "train_net.py" in environment


def test_evaluation_describes_itself_unless_its_folder_is_a_trainings(tmp_path):
    cfg, file = load_config(CONFIG[1], ["OUTPUT_DIR", str(tmp_path)]), tmp_path / "config.yaml"
    for seed, trains, described in ((1, False, 1), (2, False, 2), (3, True, 3), (4, False, 3)):
        cfg.SEED = seed
        describe_run(cfg, trains=trains)
        assert f"\nSEED: {described}\n" in file.read_text()
        if trains:
            (tmp_path / "metrics.json").touch()


def test_evaluation_of_the_stored_model_gives_the_trainings_last_results(
    trained, rooms_root, tmp_path
):
    options = ("MODEL.WEIGHTS", trained / "model_final.pth", "OUTPUT_DIR", tmp_path)
    done = train_net("--eval-only", *TINY, *options, root=rooms_root)
    assert done.returncode == 0, done.stderr
    found, expected = (
        json.loads((folder / "results.json").read_text()) for folder in (tmp_path, trained)
    )
    assert found == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("SOLVER.OPTIMIZER", "Adamax"), "SOLVER.OPTIMIZER: 'Adamax' is none of Adam, AdamW, SGD"),
        (("MODEL.WEIGHTS", "nowhere.pth"), "nowhere.pth: is no file; set MODEL.WEIGHTS"),
    ],
    ids=["optimizer", "weights"],
)
def test_what_cannot_be_ends_with_one_line(options, message, rooms_root, tmp_path):
    done = train_net(*TINY, "OUTPUT_DIR", tmp_path, *options, root=rooms_root)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("train_net: ") and message in last
    assert "Traceback" not in done.stderr
    # What describes the run that this folder may have is not touched.
    assert not (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("MODEL.DEVICE", "cpu", "SOLVER.OPTIMISER", "Adam"), "key: SOLVER.OPTIMISER"),
        (("MODEL.DEVICE",), "odd length"),
        (("DATASETS.TRAIN", "('room_train',)"), "DATASETS.TRAIN: 'room_train' is not registered"),
        (("--num-gpus", "2", "--dist-url", "there", "MODEL.DEVICE", "cpu"), "--dist-url is there"),
    ],
    ids=["unknown key", "no value", "unknown data set", "no address"],
)
def test_impossible_config_is_refused_before_anything_starts(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        setup_config(default_argument_parser().parse_args([*CONFIG, *arguments]))


def test_evaluation_needs_weights(tmp_path):
    cfg = load_config(CONFIG[1], ["OUTPUT_DIR", str(tmp_path)])
    with pytest.raises(ValueError, match=r"MODEL.WEIGHTS is empty"):
        Evaluation(cfg).resume_or_load()


def test_missing_data_are_named(tmp_path):
    done = train_net(*TINY, "OUTPUT_DIR", tmp_path / "out", root=tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("train_net: ") and "rooms_train.json" in last
    assert "Traceback" not in done.stderr
