"""Configs and models by name, in a checkout and in an installed wheel."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rock_d2 import model_zoo

ROOT = Path(__file__).parents[1]


def test_unknown_config_names_those_that_exist():
    with pytest.raises(FileNotFoundError, match=r"rock_nyu\.yaml is no config.*rock_nyuv2\.yaml"):
        model_zoo.get_config("rock_nyu.yaml")


def test_wheel_brings_all_configs(tmp_path):
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("rock_d2", "configs"):
        shutil.copytree(ROOT / folder, source / folder, ignore=ignore)
    for file in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / file, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, source], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    program = (
        "from rock_d2 import model_zoo\n"
        "for file in sorted(model_zoo.CONFIGS.rglob('*.yaml')):\n"
        "    name = file.relative_to(model_zoo.CONFIGS)\n"
        "    print(name, model_zoo.get_config(str(name)).MODEL.NECK.NAME, model_zoo.__file__)\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert str(tmp_path / "site") in run.stdout
    here = sorted(path.relative_to(model_zoo.CONFIGS) for path in model_zoo.CONFIGS.rglob("*.yaml"))
    assert [Path(line.split()[0]) for line in run.stdout.splitlines()] == here
