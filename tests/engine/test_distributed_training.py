"""Two processes train as one does on the same global batch, however they are started."""

import json
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from command_line import run, run_warm

from rock_d2.data.stream import epoch_order

SEED = 3
TRAINING = (
    *("tools/train_net.py", "--config-file", "configs/rock_rooms.yaml"),
    *("SEED", SEED, "INPUT.SIZE", "[64, 96]", "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"),
    # BatchNorm sees another batch on each process; without it the two must agree. SGD, since Adam
    # makes a step of full length out of rounding errors of a gradient that is 0.
    *("MODEL.RESNETS.NORM", "FrozenBN", "MODEL.SSD.NORM", "GN", "MODEL.ROCK.NORM", "GN"),
    *("MODEL.SSD.EXTRA_CHANNELS", "[64]", "SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", 1e-4),
    *("SOLVER.IMS_PER_BATCH", 4, "SOLVER.MAX_ITER", 3, "SOLVER.STEPS", "()"),
    *("SOLVER.WARMUP_ITERS", 0, "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR"),
    *("SOLVER.AMP.ENABLED", False, "SOLVER.LOG_PERIOD", 1, "TEST.NUM_PICTURES", 1),
)


@pytest.fixture(scope="module")
def partly_labelled_root(rooms_root, tmp_path_factory) -> Path:
    """Rooms whose images have no label but boxes where the second of two processes reads them."""
    root = tmp_path_factory.mktemp("partly")
    shutil.copytree(rooms_root / "rooms", root / "rooms")
    file = root / "rooms" / "annotations" / "rooms_train.json"
    document = json.loads(file.read_text())
    images = document["images"]
    labels = [key for key in images[0] if key.endswith("_file_name") or key == "scene_id"]
    assert len(labels) == 3
    order = epoch_order(SEED, 0, len(images))
    second = [order[position] for position in range(12) if position % 4 >= 2]
    for index in second:
        for label in labels:
            del images[index][label]
    file.write_text(json.dumps(document))
    return root


def losses(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if "loss" in name}
        for line in lines
        if "total_loss" in line
    ]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_two_processes_train_to_the_losses_of_one(partly_labelled_root, tmp_path):
    root = partly_labelled_root
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    machines = ("--num-machines", 2, "--dist-url", f"tcp://127.0.0.1:{free_port()}")
    commands = {
        "two": [
            (*TRAINING[:3], *machines, "--machine-rank", rank, *TRAINING[3:]) for rank in (0, 1)
        ],
        # Half the learning rate of a whole batch would show as well as a wrong mean.
        "parts": [(*torchrun, *TRAINING, "SOLVER.ACCUMULATE", 2)],
    }
    alone = run_warm(*TRAINING, "OUTPUT_DIR", tmp_path / "one", root=root)
    assert alone.returncode == 0, alone.stderr
    for name, started in commands.items():
        with ThreadPoolExecutor() as side_by_side:
            ends = [
                side_by_side.submit(run, *command, "OUTPUT_DIR", tmp_path / name, root=root)
                for command in started
            ]
        for end in ends:
            assert end.result().returncode == 0, end.result().stderr
    expected = losses(tmp_path / "one")
    assert len(expected) == 3
    assert len(expected[0]) == 6
    assert abs(expected[0]["total_loss"] / expected[2]["total_loss"] - 1) > 0.02
    for name in ("two", "parts"):
        for found, wanted in zip(losses(tmp_path / name), expected, strict=True):
            assert found == pytest.approx(wanted, rel=2e-4)
    results = [
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two")
    ]
    assert results[0].keys() == results[1].keys()
    # Weights that differ by rounding may swap detections of nearly equal scores, which AP counts
    # in whole steps; means over pixels and images follow the weights.
    for task in results[0].keys() - {"bbox"}:
        assert results[1][task] == pytest.approx(results[0][task], rel=1e-2, abs=1e-2)
