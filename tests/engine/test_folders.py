"""A training takes no other training's folder by itself."""

from multiprocessing import get_context

import pytest
from detectron2.config import get_cfg

from rock_d2.engine.folders import claim, in_own_folder


@pytest.fixture
def cfg(tmp_path):
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    return cfg


def leave_training(folder) -> None:
    (folder / "inference").mkdir(parents=True)
    for name in ("metrics.json", "model_0000099.pth", "last_checkpoint", "inference/boxes.json"):
        (folder / name).write_text("")


def name_of(cfg, folder, *, resume=False, overwrite=False, was_restarted=False) -> str:
    options = {"resume": resume, "overwrite": overwrite, "was_restarted": was_restarted}
    chosen = in_own_folder(cfg, **options).OUTPUT_DIR
    assert chosen.startswith(str(folder))
    return chosen.removeprefix(f"{folder}/")


def test_used_folders_are_left_alone(cfg, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("")
    assert name_of(cfg, tmp_path) == "run"
    for used, free in (("run", "run-2"), ("run-2", "run-3")):
        leave_training(tmp_path / used)
        assert name_of(cfg, tmp_path) == free
    assert name_of(cfg, tmp_path, resume=True) == "run"


def test_restarted_processes_find_their_folder(cfg, tmp_path):
    leave_training(tmp_path / "run")
    # Killed before and after the first checkpoint.
    assert name_of(cfg, tmp_path) == name_of(cfg, tmp_path, was_restarted=True) == "run-2"
    (tmp_path / "run-2" / "model_0000000.pth").write_text("")
    assert name_of(cfg, tmp_path, was_restarted=True) == "run-2"
    # Those of another torchrun were somewhere else.
    (tmp_path / "run-2" / ".lock").write_text("1")
    assert name_of(cfg, tmp_path, was_restarted=True) == "run-3"
    assert name_of(cfg, tmp_path, overwrite=True, was_restarted=True) == "run"
    assert (tmp_path / "run" / "metrics.json").exists()


def test_overwriting_deletes_the_training_and_nothing_else(cfg, tmp_path):
    leave_training(tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("")
    assert name_of(cfg, tmp_path, overwrite=True, resume=True) == "run"
    cfg.MODEL.WEIGHTS = f"{tmp_path}/run/model_0000099.pth"
    with pytest.raises(ValueError, match=r"MODEL.WEIGHTS is in .*run, which --overwrite would"):
        name_of(cfg, tmp_path, overwrite=True)
    assert (tmp_path / "run" / "model_0000099.pth").exists()
    cfg.MODEL.WEIGHTS = ""
    assert name_of(cfg, tmp_path, overwrite=True) == "run"
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"notes.txt", ".lock"}


def claim_until(event, folder, claimed) -> None:
    if claim(folder):
        claimed.set()
    event.wait(60)


def test_a_folder_is_taken_as_long_as_its_process_lives(cfg, tmp_path):
    context = get_context("fork")
    end, claimed = context.Event(), context.Event()
    other = context.Process(target=claim_until, args=(end, tmp_path / "run", claimed))
    other.start()
    assert claimed.wait(60)
    # Before it has left anything.
    assert name_of(cfg, tmp_path) == "run-2"
    for options in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(ValueError, match=r"run: another process is training there"):
            name_of(cfg, tmp_path, **options)
    end.set()
    other.join()
    assert name_of(cfg, tmp_path, resume=True) == "run"
