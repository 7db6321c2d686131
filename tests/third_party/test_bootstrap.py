"""third_party/bootstrap.py: when `.venv` counts as ready."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "third_party" / "bootstrap.py"
INPUTS = (
    "setup.py",
    "pyproject.toml",
    "third_party/bootstrap.py",
    "third_party/detectron2/install.py",
)


@pytest.fixture(scope="module")
def bootstrap():
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(bootstrap, tmp_path):
    """A checkout whose `.venv` is current."""
    for name in INPUTS:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    environment = bootstrap.Environment(tmp_path)
    environment.python.parent.mkdir(parents=True)
    environment.python.symlink_to(sys.executable)
    environment.stamp.write_text(environment.fingerprint())
    return environment


@pytest.mark.parametrize("name", [*INPUTS, "third_party/detectron2/new.py"])
def test_change_of_an_input_makes_the_environment_stale(environment, name):
    assert environment.is_current()
    (environment.root / "README.md").write_text("new")
    assert environment.is_current()
    (environment.root / name).write_text("changed")
    assert not environment.is_current()


def test_removed_python_makes_the_environment_stale(environment):
    environment.python.unlink()
    environment.python.symlink_to(environment.root / "removed")
    assert not environment.is_current()
    assert not environment.is_usable()


def test_python_of_another_version_is_not_usable(environment):
    environment.python.unlink()
    # Answers as a Python of another version does to the question of is_usable.
    environment.python.write_text("#!/bin/sh\nexit 1\n")
    environment.python.chmod(0o755)
    assert not environment.is_usable()


def test_failed_step_names_it_and_leaves_no_stamp(environment, bootstrap, monkeypatch):
    monkeypatch.setattr(environment, "is_usable", lambda: True)
    # Stands for a pip that fails.
    environment.python = Path(sys.executable).parent / "python-that-is-not-there"
    monkeypatch.setattr(bootstrap.subprocess, "call", lambda *args, **kwargs: 1)
    with pytest.raises(bootstrap.SetupError, match="could not install rock_d2"):
        environment.update()
    assert not environment.stamp.exists()
