"""A training that is interrupted and resumed is, bit for bit, the one that never was."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trainings import few_rooms, new_trainer, stored

from rock_d2.engine.random_state import compute_the_same, random_state, set_random_state
from fuzz.chaos import differing, metrics

# All that has a state: averaged weights, a best metric, losses summed over several steps, parts of
# batches; 15 images in batches of 4, so that passes end within batches.
FULL = (
    *("MODEL_EMA.ENABLED", True, "SOLVER.ACCUMULATE", 2),
    *("DATASETS.TEST", ("few_val",), "TEST.EVAL_PERIOD", 4, "TEST.BEST_METRIC", "depth/rmse"),
)


@pytest.fixture(scope="module", autouse=True)
def _rooms(rooms_root):
    with few_rooms(rooms_root):
        yield


@pytest.fixture(scope="module")
def straight(rooms_root, tmp_path_factory) -> Path:
    """Six iterations without interruption, and a checkpoint after each."""
    folder = tmp_path_factory.mktemp("straight")
    new_trainer(folder, *FULL).train()
    return folder


def interrupted(straight: Path, folder: Path, after: int) -> Path:
    """What is there if the process dies at the end, having saved after ``after`` iterations."""
    shutil.copytree(straight, folder)
    name = f"model_{after - 1:07d}.pth"
    (folder / "last_checkpoint").write_text(name)
    (folder / "model_final.pth").unlink()
    return folder


@pytest.mark.parametrize(
    ("after", "workers", "resident", "augment_on"),
    [
        (1, 0, False, "auto"),
        (2, 2, False, "auto"),
        (2, 0, True, "device"),
        (3, 0, True, "host"),
        (4, 0, False, "auto"),
        (5, 1, True, "auto"),
    ],
)
def test_resumed_training_is_the_uninterrupted_one(
    straight, tmp_path, after, workers, resident, augment_on
):
    folder = interrupted(straight, tmp_path / "run", after)
    data = (
        *("DATALOADER.NUM_WORKERS", workers),
        *("DATALOADER.RESIDENT", resident, "DATALOADER.AUGMENT_ON", augment_on),
    )
    new_trainer(folder, *FULL, *data, resume=True).train()
    expected, found = stored(straight), stored(folder)
    assert expected["trainer"].keys() >= {"iteration", "hooks", "step", "average"}
    for content in (expected, found):
        del content["identity"]["others"]
    assert differing(expected, found) == []
    assert metrics(folder) == metrics(straight)
    assert [line["iteration"] for line in metrics(folder)] == [2, 3, 5, 6]
    # TensorBoard shows each value once, too.
    events = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Scalars("total_loss")] == [2, 5]
    assert [event.step for event in events.Scalars("depth/rmse")] == [3, 6]


def test_drawn_seed_is_kept(tmp_path):
    seed = ("SEED", -1)
    first = new_trainer(tmp_path, *seed)
    first.train()
    second = new_trainer(tmp_path, *seed, "SOLVER.MAX_ITER", 7, resume=True)
    assert second.data_loader.dataset.seed == first.data_loader.dataset.seed
    assert second.start_iter == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("SEED", 2), "SEED was 1 and is 2"),
        (("SOLVER.IMS_PER_BATCH", 2), "SOLVER.IMS_PER_BATCH was 4 and is 2"),
        (("MODEL.NECK.NAME", "FlatMTL"), "MODEL.NECK.NAME was ROCK and is FlatMTL.*shapes of"),
        (("DATASETS.TRAIN_FRACTION", 0.6), "training images was 15 and is 9; their ids was"),
        (("DATASETS.TRAIN", ("few_val",)), "annotations of few_train was [0-9a-f]{16} and is not"),
    ],
    ids=["seed", "batch", "model", "subset", "data"],
)
def test_another_training_is_not_continued(straight, settings, message):
    with pytest.raises(ValueError, match=rf"model_final.pth is of another training: .*{message}"):
        new_trainer(straight, *FULL, *settings, resume=True)


def test_settings_that_decide_nothing_are_told(straight, tmp_path, heard):
    folder = interrupted(straight, tmp_path / "run", after=5)
    settings = ("SOLVER.CHECKPOINT_PERIOD", 3, "DATALOADER.NUM_WORKERS", 1)
    assert new_trainer(folder, *FULL, *settings, resume=True).start_iter == 5
    assert "SOLVER.CHECKPOINT_PERIOD was 1 and is 3" in heard.text
    assert "NUM_WORKERS" not in heard.text


def test_anyway_goes_on_with_what_fits(straight, tmp_path, heard):
    folder = interrupted(straight, tmp_path / "run", after=5)
    settings = ("MODEL.NECK.NAME", "IdentityNeck", "SEED", 3, "TEST.BEST_METRIC", "bbox/AP50")
    trainer = new_trainer(folder, *FULL, *settings, resume=True, anyway=True)
    assert "SEED was 1 and is 3; shapes of the weights was" in heard.text
    assert trainer.start_iter == 5
    expected = stored(folder, "model_0000004")["model"]
    for name, value in trainer.checkpointer.model.backbone.state_dict().items():
        assert torch.equal(value, expected[f"backbone.{name}"]), name
    trainer.train()


def test_resume_without_a_checkpoint_starts_and_says_so(straight, tmp_path, heard):
    # What a process leaves that was killed before its first checkpoint.
    shutil.copy(straight / "metrics.json", tmp_path)
    trainer = new_trainer(tmp_path, *FULL, "SOLVER.CHECKPOINT_PERIOD", 9, resume=True)
    assert "has no checkpoint: --resume starts from scratch" in heard.text
    trainer.train()
    assert [line["iteration"] for line in metrics(tmp_path)] == [2, 3, 5, 6]


def test_torn_checkpoint_is_gone_on_from_the_one_before(straight, tmp_path, heard):
    folder = interrupted(straight, tmp_path / "run", after=5)
    os.truncate(folder / "model_0000004.pth", 100_000)
    assert new_trainer(folder, *FULL, resume=True).start_iter == 4
    assert "model_0000004.pth is damaged" in heard.text


@pytest.fixture
def _deterministic(monkeypatch) -> Iterator[None]:
    # It is set for good; this takes it back.
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    compute_the_same(True)
    yield
    compute_the_same(False)


@pytest.mark.usefixtures("_deterministic")
def test_deterministic_training_is_the_same_on_a_cpu(straight, tmp_path):
    new_trainer(tmp_path, *FULL, "SOLVER.DETERMINISTIC", True).train()
    expected, found = stored(straight), stored(tmp_path)
    for content in (expected, found):
        del content["identity"]
    assert differing(expected, found) == []


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
PRECISIONS = {
    "fp32": ("SOLVER.AMP.ENABLED", False),
    "bf16": ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "bf16"),
    "fp16": ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "fp16"),
}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_resumed_training_in_half_precision_is_the_uninterrupted_one(precision, tmp_path):
    """With fp16 the scale of the loss goes on, too."""
    straight = tmp_path / "straight"
    # CPUs are slow at it.
    settings = (*PRECISIONS[precision], "SOLVER.IMS_PER_BATCH", 2)
    new_trainer(straight, *settings).train()
    folder = interrupted(straight, tmp_path / "run", after=3)
    new_trainer(folder, *settings, resume=True).train()
    expected, found = stored(straight), stored(folder)
    assert bool(found["trainer"]["step"]["scaler"]) == (precision == "fp16")
    assert differing(expected, found) == []
    assert metrics(folder) == metrics(straight)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.usefixtures("_deterministic")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_resumed_training_on_a_gpu_is_the_uninterrupted_one(precision, tmp_path):
    settings = (*FULL, "MODEL.DEVICE", "cuda", *PRECISIONS[precision])
    straight = tmp_path / "straight"
    new_trainer(straight, *settings).train()
    folder = interrupted(straight, tmp_path / "run", after=3)
    new_trainer(folder, *settings, resume=True).train()
    expected, found = stored(straight), stored(folder)
    assert differing(expected, found) == []
    assert metrics(folder) == metrics(straight)
    assert "cuda" in found["processes"][0]["random"]
    scaler = found["trainer"]["step"]["scaler"]
    # It counts the steps since it last changed its scale; other precisions need none.
    assert ("_growth_tracker" in scaler) == (precision == "fp16")
    assert stored(straight, "model_0000002")["trainer"]["step"]["scaler"] != scaler or not scaler


@pytest.mark.gpu
@needs_gpu
def test_random_numbers_of_a_gpu_go_on_where_they_were():
    torch.rand(3, device="cuda")
    state = random_state()
    first = torch.rand(3, device="cuda")
    torch.cuda.manual_seed(1)
    set_random_state(state)
    assert torch.equal(torch.rand(3, device="cuda"), first)
