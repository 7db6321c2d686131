"""check_dataset against labels that are well-formed and wrong; right ones give no line."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from check_dataset import DatasetReport, check_dataset, shared_pictures
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from rock_d2 import register_multitask_coco
from rock_d2.tasks import Depth, Normals, Scene

TASKS = [Scene(), Depth(), Normals()]
DEPTH, NORMALS = "depth_file_name", "normals_file_name"


class Rooms:
    """A copy of the rooms that a test may spoil."""

    def __init__(self, root: Path, split: str):
        self.root = root
        self.json_file = root / f"annotations/rooms_{split}.json"
        self.document = json.loads(self.json_file.read_text())
        self.images = self.document["images"]
        register_multitask_coco(
            f"spoilt_{split}",
            str(self.json_file),
            str(root),
            scene_classes=["any"] * 27,
            depth_range=(0.2, 10.0),
        )
        self.name = f"spoilt_{split}"

    def change(self, field: str, change: Callable[[np.ndarray], np.ndarray], chosen=slice(None)):
        for image in self.images[chosen]:
            path = str(self.root / image[field])
            cv2.imwrite(path, change(cv2.imread(path, cv2.IMREAD_UNCHANGED)))

    def move(self, field: str, shift: int) -> None:
        """Give each image the label of another one."""
        files = [image[field] for image in self.images]
        for image, file in zip(self.images, files[shift:] + files[:shift], strict=True):
            image[field] = file

    def change_boxes(self, change: Callable[[list], list]) -> None:
        for found in self.document["annotations"]:
            found["bbox"] = change(found["bbox"])

    def report(self) -> DatasetReport:
        self.json_file.write_text(json.dumps(self.document))
        return check_dataset(self.name, TASKS, num_processes=1)


@pytest.fixture
def rooms(rooms_root, tmp_path):
    shutil.copytree(rooms_root / "rooms", tmp_path / "rooms")
    found = [Rooms(tmp_path / "rooms", split) for split in ("train", "val")]
    yield found
    for each in found:
        DatasetCatalog.remove(each.name)
        MetadataCatalog.remove(each.name)


def bgr(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., ::-1]


def turned(*signs: int) -> Callable[[np.ndarray], np.ndarray]:
    """Changes the signs of x, y, z, which OpenCV has in the order z, y, x."""
    return lambda levels: np.uint8((levels.astype(int) - 127) * signs[::-1] + 127)


# A fault of a whole set, and a part of the line that names it.
WHOLE_SET = {
    "depth in metres": (lambda r: r.change(DEPTH, lambda d: d // 1000), "looks like metres"),
    "depth ten times": (lambda r: r.change(DEPTH, lambda d: d * 10), r"looks like .*1/10 mm"),
    "depth unknown": (lambda r: r.change(DEPTH, np.zeros_like), "no image has a known .*`depth`"),
    "depth constant": (lambda r: r.change(DEPTH, lambda d: d * 0 + 2500), "2.5 m everywhere"),
    "normals turned away": (lambda r: r.change(NORMALS, turned(-1, -1, -1)), "turned away"),
    "normals with y up": (lambda r: r.change(NORMALS, turned(1, -1, 1)), "y points up; so"),
    "normals of OpenGL": (lambda r: r.change(NORMALS, turned(1, -1, -1)), "y points up and z to"),
    "normals in BGR": (lambda r: r.change(NORMALS, bgr), "in the order BGR"),
    "normals of others": (lambda r: r.move(NORMALS, 6), "under no axes .* of other images"),
    "normals unknown": (
        lambda r: r.change(NORMALS, lambda n: n * 0 + 127),
        "normals.*: nothing is known",
    ),
    "boxes in 0 to 1": (
        lambda r: r.change_boxes(lambda b: [b[0] / 160, b[1] / 120, b[2] / 160, b[3] / 120]),
        "boxes lie within 0 and 1.*shares of the image's sides",
    ),
    "boxes doubled": (
        lambda r: r.change_boxes(lambda b: [2 * v for v in b]),
        r"leave their image, up to 2\.\d of its size",
    ),
    "boxes halved": (
        lambda r: r.change_boxes(lambda b: [v / 2 for v in b]),
        "no box reaches beyond 50% of its image",
    ),
    "boxes as corners": (
        lambda r: r.change_boxes(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]),
        r"they look like \[x0, y0, x1, y1\]",
    ),
    "scenes without labels": (
        lambda r: [image.pop("scene_id") for image in r.images],
        "no image has a known label of `scene`",
    ),
}


@pytest.mark.parametrize("kind", WHOLE_SET)
def test_a_fault_of_a_whole_set_is_named(rooms, kind):
    spoil, message = WHOLE_SET[kind]
    spoil(rooms[0])
    problems = "\n".join(rooms[0].report().problems)
    assert re.search(message, problems), problems


# A fault of one image, and a part of its line.
ONE_IMAGE = {
    "depth in metres": (DEPTH, lambda d: d // 1000, "this looks like metres"),
    "depth unknown": (DEPTH, np.zeros_like, "nothing is known"),
    "depth beyond": (DEPTH, lambda d: np.where(np.arange(160) < 8, 20_000, d), "5% of the depth"),
    "black": ("file_name", np.zeros_like, "is of one colour everywhere"),
}


@pytest.mark.parametrize("kind", ONE_IMAGE)
def test_a_fault_of_one_image_is_named_with_the_image(rooms, kind):
    field, change, message = ONE_IMAGE[kind]
    rooms[0].change(field, lambda pixels: change(pixels).astype(pixels.dtype), slice(4, 5))
    problems = rooms[0].report().problems
    # Depth of whole metres has no normals either.
    assert all(line.startswith(f"{rooms[0].images[4]['file_name']}: ") for line in problems)
    assert re.search(message, problems[0]), problems


def test_right_labels_give_no_line(rooms):
    report = rooms[0].report()
    assert report.problems == []
    assert report.coverage == {"scene": 1.0, "depth": 1.0, "normals": 1.0}
    assert report.numbers["scenes"] == "any 15"


def test_a_box_that_is_given_twice_is_named(rooms):
    objects = rooms[0].document["annotations"]
    objects.append({**objects[0], "id": 10_000})
    (problem,) = rooms[0].report().problems
    assert f"annotation id 10000 is the same as annotation id {objects[0]['id']}" in problem


def test_an_exif_turn_that_the_label_maps_do_not_share_is_named(rooms):
    path = rooms[0].root / rooms[0].images[2]["file_name"]
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(path).save(path, exif=exif)
    (problem,) = rooms[0].report().problems[:1]
    assert re.match(r".*: an EXIF tag turns the image, but not depth_file_name", problem)


def test_an_image_in_two_sets_is_found_by_its_content(rooms):
    train, val = rooms
    source = cv2.imread(str(train.root / train.images[3]["file_name"]))
    copy = "images/copy.jpg"
    cv2.imwrite(str(val.root / copy), source)
    val.images[1]["file_name"] = copy
    reports = {each.name: each.report() for each in rooms}
    (line,) = shared_pictures(reports)
    assert f"{copy}: shows the same as {train.images[3]['file_name']} of {train.name}" in line
