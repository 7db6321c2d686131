"""A training that is interrupted and resumed is, bit for bit, the one that never was."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.engine.hooks import CallbackHook
from trainings import differences, metrics, new_trainer, stored

# Everything that has a state: averaged weights, a best metric, learnt weights of losses, parts of
# batches; and images of two sets, with and without boxes, which take turns.
FULL = (
    *("DATASETS.TRAIN", ("rooms_train", "rooms_val"), "DATASETS.REPEAT", [2, 1]),
    *("DATASETS.KEEP_LABELS", ["all", "depth"]),
    *("DATASETS.BOXED_FRACTION", 0.4, "DATALOADER.BOXED_SHARE", 0.5),
    *("MODEL_EMA.ENABLED", True, "SOLVER.ACCUMULATE", 2),
    *("MODEL.BALANCING.NAME", "UncertaintyWeights"),
    *("DATASETS.TEST", ("rooms_val",), "TEST.EVAL_PERIOD", 4, "TEST.BEST_METRIC", "depth/rmse"),
)
GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.fixture(autouse=True)
def _rooms(rooms_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def straight(rooms_root, tmp_path_factory) -> Path:
    """Six iterations without interruption, and a checkpoint after each."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(rooms_root))
        new_trainer(folder, *FULL).train()
    return folder


def interrupted(straight: Path, folder: Path, after: int) -> Path:
    """Return the folder as it is if the process dies in the next iteration after ``after``."""
    folder.mkdir()
    for path in sorted(straight.glob("model_0*.pth"))[:after]:
        shutil.copy2(path, folder)
    return folder


@pytest.mark.parametrize(("after", "workers"), [(1, 0), (3, 2), (4, 0)])
def test_resumed_training_is_the_uninterrupted_one(straight, tmp_path, after, workers):
    folder = interrupted(straight, tmp_path / "run", after)
    new_trainer(folder, *FULL, "DATALOADER.NUM_WORKERS", workers, resume=True).train()
    assert stored(folder)["trainer"].keys() >= {"iteration", "hooks", "step", "average"}
    assert differences(straight, folder) == []
    # The losses of an interrupted period are means over the rest of it.
    last = [line for line in metrics(straight) if line["iteration"] > 3]
    assert [line["iteration"] for line in last] == [5, 6]
    assert [line for line in metrics(folder) if line["iteration"] > 3] == last or after > 3


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_resumed_training_in_half_precision_is_the_uninterrupted_one(precision, device, tmp_path):
    """With fp16 the scale of the loss is resumed, too."""
    straight = tmp_path / "straight"
    # CPUs are slow at it.
    settings = ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", precision, "MODEL.DEVICE", device)
    settings += ("SOLVER.IMS_PER_BATCH", 2)
    torch.use_deterministic_algorithms(True)
    new_trainer(straight, *settings).train()
    folder = interrupted(straight, tmp_path / "run", after=3)
    new_trainer(folder, *settings, resume=True).train()
    assert bool(stored(folder)["trainer"]["step"]["scaler"]) == (precision == "fp16")
    assert ("random_gpu" in stored(folder)["processes"][0]) == (device == "cuda")
    assert differences(straight, folder) == []


def test_resumed_detector_of_detectron2_is_the_uninterrupted_one(tmp_path):
    """RetinaNet averages the number of objects in an attribute."""
    straight, file = tmp_path / "straight", "rooms_scratch/retinanet_rock_rooms.yaml"
    new_trainer(straight, "SOLVER.CHECKPOINT_PERIOD", 3, file=file).train()
    folder = interrupted(straight, tmp_path / "run", after=1)
    new_trainer(folder, "SOLVER.CHECKPOINT_PERIOD", 3, file=file, resume=True).train()
    assert differences(straight, folder) == []


@pytest.fixture
def heeds_hang_up() -> Iterator[None]:
    """Let SIGHUP be heeded, which nohup has a test run ignore."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("heeds_hang_up")
def test_signal_ends_the_training_after_its_iteration_and_it_resumes(straight, tmp_path):
    def ask(trainer) -> None:
        if trainer.iter == 1:
            os.kill(os.getpid(), signal.SIGHUP)

    # Two processes get SIGTERM in test_processes.py.
    handler = signal.getsignal(signal.SIGHUP)
    trainer = new_trainer(tmp_path, *FULL, "SOLVER.CHECKPOINT_PERIOD", 100)
    trainer.register_hooks([CallbackHook(before_step=ask)])
    with pytest.raises(SystemExit) as end:
        trainer.train()
    assert end.value.code == 75
    assert signal.getsignal(signal.SIGHUP) is handler
    assert [path.name for path in tmp_path.glob("*.pth")] == ["model_0000001.pth"]
    new_trainer(tmp_path, *FULL, "SOLVER.CHECKPOINT_PERIOD", 100, resume=True).train()
    assert differences(straight, tmp_path) == []


def test_the_average_of_the_weights_is_stored_as_the_model(rooms_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    one = ("SOLVER.MAX_ITER", 1, "SOLVER.STEPS", ())
    new_trainer(tmp_path / "first", *one).train()
    start = stored(tmp_path / "first")["model"]
    options = ("MODEL.WEIGHTS", str(tmp_path / "first/model_final.pth"), "MODEL_EMA.ENABLED", True)
    new_trainer(tmp_path / "second", *options, *one, "SEED", 2).train()
    content = stored(tmp_path / "second")
    learnt, updates = (content["trainer"]["average"][key] for key in ("weights", "num_updates"))
    assert updates == 1
    for name, value in content["model"].items():
        if value.is_floating_point():
            # The first decay is 1 / 10.
            torch.testing.assert_close(value, 0.1 * start[name] + 0.9 * learnt[name])
    assert any(not torch.equal(learnt[name], start[name]) for name in start)
