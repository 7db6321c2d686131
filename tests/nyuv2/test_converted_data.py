"""Converted data equal what the renderer knows, pixel for pixel."""

import csv
import json

import cv2
import numpy as np
import pytest
from nyuv2prep.classes import TABLE, class_table
from official_nyuv2.labels import label_gaps, label_ids, with_white_border
from pycocotools import mask as coco_mask

from rock_d2.data.datasets.nyuv2 import INTRINSICS, SCENE_CLASSES, STUFF_CLASSES, THING_CLASSES
from rock_d2.tasks import Normals
from rock_d2.tasks.normals import encode_normals
from rock_d2.tasks.thinning import outlines

# Sources of normals; the conversions in conftest.py are named after them.
AXES = ("eigen", "ladicky", "npy", "npy_up_right_back")

FULL = (slice(0, 480), slice(0, 640))
GUPTA = (slice(45, 470), slice(40, 600))


def read(conversion, name):
    return json.loads((conversion.tree / "annotations" / f"{name}.json").read_text())


def images(conversion):
    documents = [read(conversion, name) for name in ("nyuv2_train", "nyuv2_test")]
    found = [image for document in documents for image in document["images"]]
    return sorted(found, key=lambda image: image["id"])


def crop(conversion):
    return GUPTA if conversion.option("--boxes", "full") == "gupta-crop" else FULL


def pixels(conversion, image, field):
    found = cv2.imread(str(conversion.tree / image[field]), cv2.IMREAD_UNCHANGED)
    return found[..., ::-1] if found.ndim == 3 else found


def raw_depth_known(official, index):
    """Where the sensor measured: the masks of Eigen's layout say so."""
    mask = cv2.imread(str(official.root / f"eigen/masks/{index:04d}.png"), cv2.IMREAD_UNCHANGED)
    return mask > 0


def true_objects(frame, index, convention, min_area):
    """(category, bbox, area, mask) of all objects, by brute force."""
    rows, columns = GUPTA if convention == "gupta-crop" else FULL
    instances = np.where(label_gaps(frame.instances), 0, frame.instances)[rows, columns]
    objects = set()
    for number, thing in enumerate(frame.objects, start=1):
        v, u = np.nonzero(instances == number)
        is_lost = convention == "port" and label_ids()[thing.name] == index
        if thing.name not in THING_CLASSES or len(u) < max(min_area, 1) or is_lost:
            continue
        extra = 0 if convention == "port" else 1
        box = (u.min(), v.min(), u.max() - u.min() + extra, v.max() - v.min() + extra)
        mask = (instances == number).tobytes()
        objects.add((THING_CLASSES.index(thing.name) + 1, tuple(map(int, box)), len(u), mask))
    return objects


def test_boxes_and_masks(conversion, official):
    convention = conversion.option("--boxes", "full")
    min_area = int(conversion.option("--min-area", "0"))
    total = 0
    for name in ("nyuv2_train", "nyuv2_test", "nyuv2_train673", "nyuv2_val122"):
        document = read(conversion, name)
        ids = [annotation["id"] for annotation in document["annotations"]]
        assert ids == list(range(1, len(ids) + 1))
        for image in document["images"]:
            found = [a for a in document["annotations"] if a["image_id"] == image["id"]]
            masks = [coco_mask.decode(a["segmentation"]).astype(bool).tobytes() for a in found]
            stored = {
                (a["category_id"], tuple(a["bbox"]), a["area"], mask)
                for a, mask in zip(found, masks, strict=True)
            }
            index = image["id"] - 1
            assert stored == true_objects(official.frames[index], index, convention, min_area)
            assert len(stored) == len(found)
            total += len(found)
    assert total > 30


def test_images_are_the_same_bytes(conversion, official):
    for image, frame in zip(images(conversion), official.frames, strict=True):
        expected = with_white_border(frame.image)[crop(conversion)]
        np.testing.assert_array_equal(pixels(conversion, image, "file_name"), expected)
        assert (image["height"], image["width"]) == expected.shape[:2]
        assert image["file_name"] == f"images/{image['id']:04d}.png"


def test_depth_is_exact_to_its_step(conversion, official):
    for image, frame in zip(images(conversion), official.frames, strict=True):
        stored = pixels(conversion, image, "depth_file_name")
        assert stored.dtype == np.uint16
        known = np.ones((480, 640), dtype=bool)
        if conversion.option("--depth", "filled") == "raw":
            known = raw_depth_known(official, image["id"] - 1)
        known = known[crop(conversion)]
        np.testing.assert_array_equal(stored > 0, known)
        error = np.abs(stored / 1000 - frame.depth[crop(conversion)])[known]
        assert error.max() < 0.000501


def test_classes_and_edges(conversion, official):
    for image, frame in zip(images(conversion), official.frames, strict=True):
        names = [thing.name for thing in frame.objects]
        labelled = ~label_gaps(frame.instances)
        expected = np.where(labelled, class_table(names)[frame.instances], 255)[crop(conversion)]
        np.testing.assert_array_equal(pixels(conversion, image, "sem_seg_file_name"), expected)
        edges = pixels(conversion, image, "edges_file_name")
        # The gaps are two pixels wide: outlines move by one, and are within two of the true ones.
        true = np.uint8(outlines(frame.instances))[crop(conversion)]
        for one, other in ((edges, true), (true, edges)):
            near = cv2.dilate(other, np.ones((5, 5), np.uint8)) > 0
            inside = np.s_[8:-8, 8:-8]
            assert (near[inside] | (one[inside] == 0)).mean() > 0.999


def test_the_40_classes_are_those_of_the_table():
    with open(TABLE, newline="", encoding="utf-8") as file:
        names = {int(row["id40"]): row["name40"] for row in csv.DictReader(file)}
    assert [names[number] for number in range(1, 41)] == list(STUFF_CLASSES)


@pytest.mark.parametrize("conversion", AXES, indirect=True)
def test_normals_are_exact_to_the_steps_of_both_files(conversion, official):
    for image, frame in zip(images(conversion), official.frames, strict=True):
        stored = pixels(conversion, image, "normals_file_name")
        known = raw_depth_known(official, image["id"] - 1)[crop(conversion)]
        np.testing.assert_array_equal((stored != 127).any(axis=2), known)
        truth = encode_normals(frame.normals)[crop(conversion)]
        error = np.abs(stored.astype(int) - truth)[known]
        # Sources of 8 bits are not rounded again.
        assert error.max() <= 1
        assert (error == 0).mean() > 0.9


@pytest.mark.parametrize("conversion", ["from_depth"], indirect=True)
def test_normals_from_depth_are_those_of_the_surfaces(conversion, official):
    errors = []
    for image, frame in zip(images(conversion), official.frames, strict=True):
        path = str(conversion.tree / image["normals_file_name"])
        normals = Normals().read({"normals_file_name": path})
        known = (normals != 0).any(axis=2)
        measured = raw_depth_known(official, image["id"] - 1)
        assert not (known & ~measured).any()
        assert known.sum() > 0.99 * measured.sum()
        cosine = np.einsum("hwc,hwc->hw", normals, frame.normals)[known]
        errors.append(np.degrees(np.arccos(cosine.clip(-1, 1))))
    # The encoding alone costs up to 0.4 degrees.
    assert np.median(np.concatenate(errors)) < 0.4


def test_scenes_and_camera(conversion, official):
    found = images(conversion)
    assert [image["sequence"] for image in found] == official.videos
    assert [SCENE_CLASSES[image["scene_id"]] for image in found] == [
        frame.scene_type for frame in official.frames
    ]
    fx, fy, cx, cy = INTRINSICS
    rows, columns = crop(conversion)
    expected = [fx, fy, cx - columns.start, cy - rows.start]
    assert all(image["intrinsics"] == expected for image in found)


def test_splits(conversion):
    ids = {
        name: [image["id"] for image in read(conversion, name)["images"]]
        for name in ("nyuv2_train", "nyuv2_test", "nyuv2_train673", "nyuv2_val122")
    }
    assert ids["nyuv2_test"] == [3, 6, 8]
    assert len(ids["nyuv2_val122"]) == 2
    assert sorted(ids["nyuv2_train673"] + ids["nyuv2_val122"]) == ids["nyuv2_train"]
    scene = {image["id"]: image["sequence"].rstrip("ab") for image in images(conversion)}
    assert not {scene[i] for i in ids["nyuv2_train673"]} & {scene[i] for i in ids["nyuv2_val122"]}
