"""Configs and models by name, in a checkout and in an installed wheel."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli import COMMANDS
from safetensors.torch import load_file

from rock_d2 import Predictor, model_zoo

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder into which the project's wheel is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source, site = folder / "source", folder / "site"
    for name in ("rock_d2", "configs", "tools", "reproduce", "benchmarks", "datasets"):
        rendered = ("rooms*", "nyuv2", "nyuv2_*") if name == "datasets" else ()
        ignore = shutil.ignore_patterns("__pycache__", *rendered)
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for file in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / file, source)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([*pip, "wheel", *options, source], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    return site


def run(site: Path, folder: Path, *command: object) -> str:
    """Return the output of a command that has no other copy of the project than the installed."""
    environment = {k: v for k, v in os.environ.items() if k != "DETECTRON2_DATASETS"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *map(str, command)],
        env=environment | {"PYTHONPATH": str(site)},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_brings_all_configs(site, tmp_path):
    program = (
        "from rock_d2 import model_zoo\n"
        "for file in sorted(model_zoo.CONFIGS.rglob('*.yaml')):\n"
        "    name = file.relative_to(model_zoo.CONFIGS)\n"
        "    print(name, model_zoo.get_config(str(name)).MODEL.NECK.NAME, model_zoo.__file__)\n"
    )
    output = run(site, tmp_path, "-c", program)
    assert str(site) in output
    here = sorted(path.relative_to(model_zoo.CONFIGS) for path in model_zoo.CONFIGS.rglob("*.yaml"))
    assert [Path(line.split()[0]) for line in output.splitlines()] == here


def test_wheel_brings_the_program_of_every_command(site):
    # With all that the programs import from each other.
    folders = [ROOT / name for name in ("tools", "datasets", "reproduce", "benchmarks")]
    files = [path.relative_to(ROOT) for folder in folders for path in folder.rglob("*.py")]
    assert {Path(command.split()[0]) for command in COMMANDS.values()} <= set(files)
    assert [file for file in files if not (site / "rock_d2_tools" / file).is_file()] == []


def test_wheel_predicts_with_the_trained_weights(site, tmp_path, rooms_root):
    """Of a room that it has not seen, without arguments and without any data set."""
    annotations = json.loads((rooms_root / "rooms/annotations/rooms_val.json").read_text())
    photo = annotations["images"][0]["file_name"]
    shutil.copy(rooms_root / "rooms" / photo, tmp_path / "photo.png")
    assert (site / "rock_d2/model_zoo/examples/kitchen.jpg").is_file()
    printed = run(site, tmp_path, site / "bin/rock-d2", "predict", "photo.png", "--json")
    assert "1 images drawn in output/predictions" in printed
    picture = tmp_path / "output/predictions/photo.png"
    found = json.loads(picture.with_suffix(".json").read_text())
    names = {category["name"] for category in annotations["categories"]}
    assert {thing["category"] for thing in found["instances"]} <= names
    assert found["instances"] and not any(name.startswith("class ") for name in found["scene"])


def test_trained_weights_come_by_name():
    (file,) = (Path(model_zoo.__file__).parent / "trained").glob("*.safetensors")
    assert file.stat().st_size < 15e6
    stored = load_file(file)
    for name in ("rock_rooms", "rock/rock_rooms.yaml"):
        state = model_zoo.get(name, trained=True).state_dict()
        assert all(torch.equal(state[key], stored[key].to(state[key].dtype)) for key in state)
    assert len(Predictor("rock_rooms").metadata.thing_classes) == 19
