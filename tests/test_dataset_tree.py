"""The folder that data sets are written to."""

import numpy as np
import pytest
from dataset_tree import object_annotations
from pycocotools import mask as coco_mask


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
