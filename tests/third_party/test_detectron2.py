"""Detectron2 as third_party/detectron2 builds and installs it."""

import os
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "third_party" / "detectron2"


def run(*args: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *args]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def scripts():
    """The modules install and build_wheel."""
    sys.path.insert(0, str(FOLDER))
    import build_wheel
    import install

    yield install, build_wheel
    sys.path.remove(str(FOLDER))


def test_install_leaves_an_existing_detectron2_alone(tmp_path):
    init = tmp_path / "detectron2" / "__init__.py"
    init.parent.mkdir()
    init.write_text("__version__ = '0.6'\n")
    # Any use of pip would fail.
    result = run(str(FOLDER / "install.py"), PYTHONPATH=str(tmp_path), PIP_NO_INDEX="1")
    assert result.returncode == 0, result.stderr
    assert f"already installed in {init.parent}" in result.stdout


def test_archive_with_another_content_is_refused(scripts, tmp_path):
    install, _ = scripts
    archive = tmp_path / "pb1-detectron2-0.6.tar.gz"
    archive.write_bytes(b"forged")
    with pytest.raises(SystemExit, match=sha256(b"forged").hexdigest()):
        install.unpack(archive, tmp_path)


@pytest.fixture
def wheel(scripts, tmp_path):
    """The files of a wheel built from a small source."""
    _, build_wheel = scripts
    sources = {
        "detectron2/layers/masks.py": "x.astype(np.bool), np.bool_, y.LINEAR, Image.LINEAR\n",
        "detectron2/model_zoo/configs/a.yaml": "A: np.bool\n",
        **{f"{project}/__init__.py": f"# {project}\n" for project in build_wheel.PROJECTS},
        "detectron2/layers/csrc/vision.cpp": "not for the wheel",
        "LICENSE": "Apache",
    }
    for name, old, _ in build_wheel.CHANGES:
        sources[name] = sources.get(name, "# before\n") + old
    for name, text in sources.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with zipfile.ZipFile(build_wheel.build_wheel(tmp_path / "source", tmp_path)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_wheel_changes_only_lines_that_its_table_names(scripts, wheel):
    _, build_wheel = scripts
    note = build_wheel.NOTE
    assert wheel["detectron2/model_zoo/configs/a.yaml"] == b"A: np.bool\n"
    assert wheel["detectron2/layers/masks.py"].decode() == (
        f"{note}x.astype(bool), np.bool_, y.LINEAR, Image.BILINEAR\n"
    )
    for name, _, new in build_wheel.CHANGES:
        text = wheel[name].decode()
        assert text.startswith(f"{note}# before\n") and new in text
    with pytest.raises(ValueError, match=r"model_zoo\.py: not the file of Detectron2 v0\.6"):
        build_wheel.changed("detectron2/model_zoo/model_zoo.py", "import os\n")
