"""The folder that data sets are written to."""

import cv2
import numpy as np
import pytest
from dataset_tree import DatasetTree, object_annotations
from pycocotools import mask as coco_mask

from rock_d2.tasks import Depth, Normals


@pytest.fixture
def instances():
    ids = np.zeros((6, 8), np.uint16)
    ids[1:4, 2:7] = 1
    ids[2, 3] = 3
    ids[5, 0] = 2
    return ids


def test_boxes_are_the_extent_of_the_masks(instances):
    chair, box = object_annotations(instances, category_ids=[5, None, 4])
    assert (chair["category_id"], chair["bbox"], chair["area"]) == (5, [2, 1, 5, 3], 14)
    # One pixel is one wide: w = max - min + 1.
    assert (box["category_id"], box["bbox"], box["area"]) == (4, [3, 2, 1, 1], 1)
    np.testing.assert_array_equal(coco_mask.decode(chair["segmentation"]), instances == 1)
    # A hidden object has no annotation.
    assert len(object_annotations(instances, category_ids=[5, 6, 4, 7])) == 3


def test_a_frame_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (6, 8, 3), np.uint8)
    depth = rng.integers(0, 9000, (6, 8)).astype(np.float32) / 1000
    normals = np.zeros((6, 8, 3), np.float32)
    normals[..., 2] = -1
    files = DatasetTree(tmp_path).write_frame("000007", image, depth, normals)
    record = {key: str(tmp_path / name) for key, name in files.items()}
    np.testing.assert_array_equal(cv2.imread(record["file_name"])[..., ::-1], image)
    np.testing.assert_allclose(Depth().read(record), depth, atol=1e-6)
    np.testing.assert_array_equal(Normals().read(record), normals)
