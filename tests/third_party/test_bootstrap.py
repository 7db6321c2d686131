"""third_party/bootstrap.py: when `.venv` counts as ready, and what a failure says."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "third_party" / "bootstrap.py"
INPUTS = (
    "setup.py",
    "pyproject.toml",
    "third_party/bootstrap.py",
    "third_party/detectron2/install.py",
    "third_party/detectron2/additions/_C.py",
)


@pytest.fixture(scope="module")
def bootstrap():
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(bootstrap, tmp_path):
    """A checkout whose `.venv` has a python, but no stamp."""
    for name in INPUTS:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    environment = bootstrap.Environment(tmp_path)
    environment.python.parent.mkdir(parents=True)
    environment.python.symlink_to(sys.executable)
    return environment


def pip(*args: str) -> list[str]:
    """Output of the real pip, deaf to this machine's settings."""
    command = [sys.executable, "-m", "pip", "download", "--isolated", "--no-deps", *args]
    nothing = {"PIP_CONFIG_FILE": os.devnull}
    result = subprocess.run(
        command,
        env=os.environ | nothing,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert result.returncode != 0
    return result.stdout.splitlines()


def test_environment_without_stamp_is_not_trusted(environment):
    assert not environment.is_current()
    environment.write_stamp(environment.fingerprint())
    assert environment.is_current()


@pytest.mark.parametrize("name", INPUTS)
def test_change_of_an_input_makes_the_environment_stale(environment, name):
    environment.write_stamp(environment.fingerprint())
    (environment.root / name).write_text("changed")
    assert not environment.is_current()


def test_new_addition_makes_the_environment_stale_and_other_files_do_not(environment):
    environment.write_stamp(environment.fingerprint())
    (environment.root / "README.md").write_text("new")
    assert environment.is_current()
    (environment.root / "third_party/detectron2/additions/new.py").write_text("new")
    assert not environment.is_current()


def test_removed_python_makes_the_environment_stale(environment):
    environment.write_stamp(environment.fingerprint())
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


def test_file_changed_during_the_update_calls_for_another(environment, monkeypatch):
    monkeypatch.setattr(environment, "is_usable", lambda: True)
    setup = environment.root / "setup.py"
    monkeypatch.setattr(environment, "run", lambda what, command: setup.write_text("changed"))
    environment.update()
    assert environment.stamp.exists()
    assert not environment.is_current()


@pytest.mark.parametrize("successes", [0, 1])
def test_update_that_is_cut_short_leaves_no_stamp(environment, monkeypatch, bootstrap, successes):
    environment.write_stamp(environment.fingerprint())
    monkeypatch.setattr(environment, "is_usable", lambda: True)
    steps = []

    def run(what, command):
        steps.append(what)
        if len(steps) > successes:
            raise KeyboardInterrupt

    monkeypatch.setattr(environment, "run", run)
    with pytest.raises(KeyboardInterrupt):
        environment.update()
    assert len(steps) == successes + 1
    assert not environment.stamp.exists()


def test_unreachable_index_is_reported_as_no_network(bootstrap, tmp_path):
    unreachable = "--index-url=http://127.0.0.1:9/"  # the discard port: nobody listens
    output = pip("--retries=1", unreachable, f"--dest={tmp_path}", "rock-d2-test")
    assert bootstrap.explain("install rock_d2", output, "log").startswith("no network: ")


def test_failing_package_is_named(bootstrap, tmp_path):
    output = pip("--no-index", f"--dest={tmp_path}", "rock-d2-test")
    assert bootstrap.explain("install rock_d2", output, "log") == (
        "could not install rock_d2: No matching distribution found for rock-d2-test (see log); "
        "mend that, then run make again"
    )


def test_full_disk_is_reported_whatever_else_failed(bootstrap):
    output = [
        "WARNING: Connection refused",
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    ]
    assert bootstrap.explain("install rock_d2", output, "log").startswith("the disk is full: ")


def test_failed_step_raises_one_line_and_keeps_the_output(environment, bootstrap):
    command = [sys.executable, "-c", "print('first'); raise SystemExit('ERROR: no such thing')"]
    with pytest.raises(bootstrap.SetupError, match="could not try: no such thing") as error:
        environment.run("try", command)
    assert "\n" not in str(error.value)
    assert environment.log.read_text().splitlines() == ["first", "ERROR: no such thing"]


def test_script_parses_on_python_3_6():
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))


def test_old_python_without_a_newer_one_says_what_to_install(bootstrap, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap, "OLDEST", (99, 0))
    assert bootstrap.main() == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "needs Python 3.10 to 3.13" in message
    assert "make PYTHON=" in message


@pytest.mark.skipif(os.name == "nt", reason="the waiting message is flock's")
def test_second_process_waits_for_the_first(bootstrap, tmp_path):
    path = tmp_path / "lock"
    enter = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import pathlib, bootstrap\n"
        f"with bootstrap.locked(pathlib.Path({str(path)!r})): print('inside')"
    )
    with bootstrap.locked(path):
        second = subprocess.Popen(
            [sys.executable, "-c", enter], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert "waiting" in second.stderr.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=0.5)
    assert second.communicate(timeout=60)[0] == "inside\n"
