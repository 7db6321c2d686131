"""NYUv2's own files of nine rendered frames, made once, and the data sets converted from them."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock
from nyuv2prep.convert import FOLDERS
from official_nyuv2.mat import MAT_NAME, SPLITS_NAME, write_official_files
from official_nyuv2.normals import (
    FORWARD_DOWN_RIGHT,
    RIGHT_DOWN_FORWARD,
    RIGHT_FORWARD_UP,
    NormalsTree,
)
from prepare_nyuv2 import main
from roomgen.frame import Frame
from roomgen.render import render_frame

# Frame 5 shows chairs (label 5), which the port leaves out of it; of kitchen_0003 there are two
# frames, which are of two videos, a and b.
SEED = 3
RENDERED = (6, 7, 0, 9, 12, 3, 15, 18, 24)
VIDEO = {0: "a", 1: "b"}
TEST_FRAMES = (2, 5, 7)

# The fourth is left-handed.
NORMALS = {
    "eigen": NormalsTree("eigen", "eigen", RIGHT_FORWARD_UP),
    "ladicky": NormalsTree("ladicky", "ladicky", FORWARD_DOWN_RIGHT),
    "npy": NormalsTree("npy", "npy", RIGHT_DOWN_FORWARD),
    "npy_up_right_back": NormalsTree(
        "npy_up_right_back", "npy", ((0, -1, 0), (1, 0, 0), (0, 0, -1))
    ),
}

# Every layout, axis order and convention at least once.
CONVERSIONS = {
    "eigen": ["--normals", "eigen"],
    "ladicky": ["--normals", "ladicky", "--boxes", "gupta-crop"],
    "npy": ["--normals", "npy", "--boxes", "port"],
    "npy_up_right_back": ["--normals", "npy_up_right_back", "--depth", "raw"],
    "from_depth": ["--min-area", "2000"],
}


@dataclass(frozen=True)
class Official:
    """The input: files as NYUv2 has them and the frames that they were made of."""

    root: Path
    frames: list[Frame]

    @property
    def arguments(self) -> list[str]:
        files = ["--mat", self.root / MAT_NAME, "--splits", self.root / SPLITS_NAME]
        return [*map(str, files), "--val-images", "2", "--jobs", "1"]

    @property
    def videos(self) -> list[str]:
        return [frame.sequence + VIDEO.get(i, "") for i, frame in enumerate(self.frames)]


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
            made = Official(root, frames)
            trees = tuple(NORMALS.values())
            write_official_files(frames, made.videos, TEST_FRAMES, root, normals=trees)
            truth.write_bytes(pickle.dumps(frames))
        frames = pickle.loads(truth.read_bytes())
    return Official(root, frames)


@pytest.fixture(scope="session", params=CONVERSIONS)
def conversion(request, official, shared_folder) -> Conversion:
    options = CONVERSIONS[request.param]
    root = shared_folder / request.param
    given = [str(official.root / text) if text in NORMALS else text for text in options]
    with FileLock(f"{root}.lock"):
        main([*official.arguments, "--root", str(root), *given])
    return Conversion(request.param, root, options)
