"""How a training ends on the command line: its exit code, its last line, and what is left."""

import json
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from command_line import run_warm

from rock_d2.data.stream import epoch_order

SEED, BATCH_SIZE, NUM_IMAGES = 1, 4, 15
CONFIG = ("--config-file", "configs/quick_schedules/rock_rooms_quick.yaml")
TINY = (
    *("SEED", SEED, "MODEL.DEVICE", "cpu", "INPUT.SIZE", "[96, 128]", "DATASETS.TEST", "()"),
    *("SOLVER.IMS_PER_BATCH", BATCH_SIZE, "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 1),
    *("DATALOADER.RETRIES", 0, "DATALOADER.RESIDENT", False),
)


@pytest.fixture(scope="module")
def broken(rooms_root, tmp_path_factory) -> tuple[Path, Path]:
    """Rooms of which one image is cut short, and that image: it is in the third batch."""
    root = tmp_path_factory.mktemp("broken") / "datasets"
    shutil.copytree(rooms_root, root)
    document = json.loads((root / "rooms/annotations/rooms_train.json").read_text())
    number = epoch_order(SEED, 0, NUM_IMAGES)[2 * BATCH_SIZE]
    image = root / "rooms" / document["images"][number]["file_name"]
    image.write_bytes(image.read_bytes()[:-100])
    return root, image


def train(folder: Path, *settings: object, root: Path, flags: tuple = ()) -> CompletedProcess:
    command = ("tools/train_net.py", *CONFIG, *flags, *TINY, "OUTPUT_DIR", folder, *settings)
    return run_warm(*command, root=root)


def last_line(done: CompletedProcess) -> str:
    return done.stderr.strip().splitlines()[-1]


def test_unreadable_image_ends_it_and_another_training_does_not_go_on(broken, rooms_root, tmp_path):
    root, image = broken
    done = train(tmp_path, root=root)
    assert done.returncode == 65
    assert str(image) in last_line(done)
    assert last_line(done).endswith(f"{tmp_path}/model_0000001.pth")

    other = ("SOLVER.IMS_PER_BATCH", 2)
    refused = train(tmp_path, *other, root=rooms_root, flags=("--resume",))
    assert refused.returncode == 1
    assert "IMS_PER_BATCH was 4 and is 2" in last_line(refused)
    assert last_line(refused).endswith("--resume-anyway")
    anyway = train(tmp_path, *other, root=rooms_root, flags=("--resume-anyway",))
    assert anyway.returncode == 0, anyway.stderr
    steps = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in steps][-1] == 3
    assert "goes on with it anyway" in (tmp_path / "log.txt").read_text()


def test_unreadable_image_may_be_skipped_and_is_counted(broken, tmp_path):
    root, image = broken
    done = train(tmp_path, "DATALOADER.MAX_UNREADABLE", 1, root=root)
    assert done.returncode == 0, done.stderr
    end = (tmp_path / "log.txt").read_text().rpartition("could not be read, others stood in")
    assert end[0].endswith("1 images ") and str(image) in end[2]


def test_divergence_keeps_a_whole_checkpoint(rooms_root, tmp_path):
    fast = ("SOLVER.BASE_LR", 1e30, "SOLVER.WARMUP_ITERS", 0, "SOLVER.CHECKPOINTS_KEPT", 1)
    done = train(tmp_path, *fast, root=rooms_root)
    assert done.returncode == 70
    assert "iteration 1: a loss is not finite" in last_line(done)
    assert last_line(done).endswith(f"{tmp_path}/model_0000000.pth")
    checkpoint = torch.load(tmp_path / "model_0000000.pth", weights_only=True)
    assert checkpoint["trainer"]["iteration"] == 0
    assert all(value.isfinite().all() for value in checkpoint["model"].values())
