"""NYUv2's own files of nine rendered frames, made once, and what the converter makes of them."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock
from nyuv2prep.convert import FOLDERS
from prepare_nyuv2 import main
from roomgen.frame import Frame
from roomgen.nyuv2_mat import write_nyuv2_mat
from roomgen.nyuv2_normals import (
    FORWARD_DOWN_RIGHT,
    RIGHT_DOWN_FORWARD,
    RIGHT_FORWARD_UP,
    EigenNormals,
    LadickyNormals,
    NpyNormals,
)
from roomgen.render import render_frame

# Frame 5 shows chairs (label 5), which the port leaves out of it; of kitchen_0003 there are two
# frames, so that its scene has two videos, a and b.
SEED = 3
RENDERED = (6, 7, 0, 9, 12, 3, 15, 18, 24)

# None is like another; the fourth is left-handed, the last faces away from the camera.
AXES = {
    "eigen": EigenNormals("eigen", RIGHT_FORWARD_UP),
    "ladicky": LadickyNormals("ladicky", FORWARD_DOWN_RIGHT),
    "npy": NpyNormals("npy", RIGHT_DOWN_FORWARD),
    "npy_up_right_back": NpyNormals("npy_up_right_back", ((0, -1, 0), (1, 0, 0), (0, 0, -1))),
    "eigen_outward": EigenNormals("eigen_outward", ((0, 0, -1), (-1, 0, 0), (0, -1, 0))),
}

# Every layout, axis order and convention at least once.
CONVERSIONS = {
    "eigen": ["--normals", "eigen"],
    "ladicky": ["--normals", "ladicky", "--boxes", "gupta-crop"],
    "npy": ["--normals", "npy", "--boxes", "port"],
    "npy_up_right_back": ["--normals", "npy_up_right_back", "--depth", "raw"],
    "eigen_outward": ["--normals", "eigen_outward", "--boxes", "gupta-crop", "--depth", "raw"],
    "from_depth": ["--min-area", "2000"],
}


@dataclass(frozen=True)
class Official:
    """The input: files as NYUv2 has them and the frames that they were made of."""

    root: Path
    frames: list[Frame]

    @property
    def arguments(self) -> list[str]:
        names = {"mat": "nyu_depth_v2_labeled.mat", "splits": "splits.mat"}
        files = [text for key, name in names.items() for text in (f"--{key}", self.root / name)]
        return [*map(str, files), "--val-images", "2", "--jobs", "1"]


@dataclass(frozen=True)
class Conversion:
    """One finished conversion."""

    name: str
    root: Path
    options: list[str]

    @property
    def tree(self) -> Path:
        return self.root / FOLDERS[self.option("--boxes", "full")]

    def option(self, name: str, default: str) -> str:
        return dict(zip(self.options[::2], self.options[1::2], strict=True)).get(name, default)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Path:
    """The same for all of pytest's workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "nyuv2"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def official(shared_folder) -> Official:
    root, truth = shared_folder / "official", shared_folder / "frames.pickle"
    with FileLock(f"{root}.lock"):
        if not truth.exists():
            frames = [render_frame(SEED, index, 480, 640) for index in RENDERED]
            write_nyuv2_mat(frames, len(frames), root, SEED, normals=tuple(AXES.values()))
            truth.write_bytes(pickle.dumps(frames))
        frames = pickle.loads(truth.read_bytes())
    return Official(root, frames)


@pytest.fixture(scope="session", params=CONVERSIONS)
def conversion(request, official, shared_folder) -> Conversion:
    options = CONVERSIONS[request.param]
    root = shared_folder / request.param
    given = [str(official.root / text) if text in AXES else text for text in options]
    with FileLock(f"{root}.lock"):
        assert main([*official.arguments, "--root", str(root), *given]) == 0
    return Conversion(request.param, root, options)
