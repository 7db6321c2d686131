"""NYUv2's official files, damaged: a kind of input for tools/fuzz.py."""

from contextlib import closing
from pathlib import Path

import numpy as np
from fuzz.mutations import Generator, changed_bytes
from fuzz.target import Target
from nyuv2prep.boxes import category_table, frame_objects
from nyuv2prep.mat_reader import LabeledMat
from nyuv2prep.splits import make_splits
from roomgen.frame import Frame, RoomObject

from official_nyuv2.mat import MAT_NAME, SPLITS_NAME, write_official_files
from rock_d2.data.datasets.nyuv2 import IMAGE_SIZE


class OfficialFiles(Target):
    """NYUv2's labelled frames and their splits, one of them damaged."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        # A wall with a chair before it: so plain that most bytes of the file are HDF5's own.
        instances = np.ones(IMAGE_SIZE, np.uint16)
        instances[100:300, 200:400] = 2
        frame = Frame(
            image=np.full((*IMAGE_SIZE, 3), 90, np.uint8),
            depth=np.full(IMAGE_SIZE, 3.0, np.float32),
            normals=np.tile(np.float32([0, 0, -1]), (*IMAGE_SIZE, 1)),
            instances=instances,
            objects=(RoomObject("wall", 267_200), RoomObject("chair", 40_000)),
            scene_type="kitchen",
            sequence="kitchen",
            intrinsics=np.eye(3),
            camera_to_world=np.eye(4),
        )
        videos = ["kitchen_0001", "kitchen_0002", "kitchen_0003"]
        write_official_files([frame] * 3, videos, (2,), folder)
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
        with closing(LabeledMat(self.files[0])) as mat:
            make_splits(self.files[1], mat.scenes, num_val=1, val_scenes_file=None)
            categories = category_table(mat.names)
            for index in range(mat.num_frames):
                frame = mat.frame(index)
                options = {"convention": "full", "index": index, "min_area": 0}
                frame_objects(frame.labels, frame.instances, categories, **options)
