"""NYUv2's official files, damaged: a kind of input for tools/fuzz.py."""

from pathlib import Path

import numpy as np
from roomgen.frame import Frame, RoomObject
from roomgen.nyuv2_mat import MAT_NAME, SPLITS_NAME, write_nyuv2_mat

from nyuv2prep.boxes import category_table, frame_objects
from nyuv2prep.mat_reader import LabeledMat
from nyuv2prep.splits import make_splits
from rock_d2.data.datasets.nyuv2 import IMAGE_SIZE
from fuzz.mutations import Generator, changed_bytes
from fuzz.target import Target

# The fewest that leave two for training and one for testing.
NUM_FRAMES = 3


def plain_frame(index: int) -> Frame:
    """A wall with a chair before it: so plain that most bytes of its file are HDF5's own."""
    height, width = IMAGE_SIZE
    depth = np.full(IMAGE_SIZE, 3.0, np.float32)
    instances = np.ones(IMAGE_SIZE, np.uint16)
    depth[100:300, 200:400], instances[100:300, 200:400] = 2.0, 2
    normals = np.zeros((height, width, 3), np.float32)
    normals[..., 2] = -1
    return Frame(
        image=np.full((height, width, 3), 90, np.uint8),
        depth=depth,
        normals=normals,
        instances=instances,
        objects=(RoomObject("wall", height * width), RoomObject("chair", 40_000)),
        scene_type="kitchen",
        sequence=f"kitchen_{index:04d}",
        intrinsics=np.eye(3),
        camera_to_world=np.eye(4),
    )


class OfficialFiles(Target):
    """The labelled frames and their division, one of them damaged."""

    name = "nyuv2_files"

    def __init__(self, folder: Path):
        super().__init__(folder)
        frames = [plain_frame(index) for index in range(NUM_FRAMES)]
        write_nyuv2_mat(frames, NUM_FRAMES, folder, seed=0, normals=())
        self.files = [folder / MAT_NAME, folder / SPLITS_NAME]
        self.originals = [file.read_bytes() for file in self.files]

    def change(self, rng: Generator) -> str:
        damaged = 0 if rng.random() < 0.8 else 1
        for file, content in zip(self.files, self.originals, strict=True):
            file.write_bytes(content)
        what, content = changed_bytes(rng, self.originals[damaged])
        self.files[damaged].write_bytes(content)
        return f"{self.files[damaged].name}: {what}"

    def use(self) -> None:
        mat_file, splits_file = self.files
        with LabeledMat(mat_file) as mat:
            make_splits(splits_file, mat.scenes, num_val=1, val_scenes_file=None)
            categories = category_table(mat.names)
            for index in range(mat.num_frames):
                frame = mat.frame(index)
                frame_objects(
                    frame.labels,
                    frame.instances,
                    categories,
                    convention="full",
                    index=index,
                    min_area=0,
                )
