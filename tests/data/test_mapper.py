"""From dataset dicts of rooms to batch items."""

import pickle

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from PIL import Image

from rock_d2 import RockDatasetMapper, add_rock_config, load_multitask_coco
from rock_d2.data.augmentation import MinIoUCrop
from rock_d2.tasks import Depth, Normals, Scene

TASKS = (Scene(), Depth(), Normals())


@pytest.fixture(scope="module")
def records(rooms_root):
    root = rooms_root / "rooms"
    return load_multitask_coco(str(root / "annotations/rooms_train.json"), str(root), "mapped")


def mapper(augmentations=(), is_train=True, tasks=TASKS):
    return RockDatasetMapper(
        is_train=is_train, tasks=tasks, augmentations=augmentations, image_format="RGB"
    )


def paper_mapper(size=(60, 80), **options) -> RockDatasetMapper:
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.INPUT.SIZE = list(size)
    cfg.INPUT.EXPAND.ENABLED = True
    cfg.INPUT.COLOR_AUG.DISTORTION = True
    return RockDatasetMapper(cfg, is_train=True, **options)


def test_an_item_has_what_the_design_says(records):
    np.random.seed(0)
    item = paper_mapper()(records[0])
    assert (item["image"].dtype, tuple(item["image"].shape)) == (torch.uint8, (3, 60, 80))
    assert (item["depth"].dtype, tuple(item["depth"].shape)) == (torch.float32, (1, 60, 80))
    assert (item["normals"].dtype, tuple(item["normals"].shape)) == (torch.float32, (3, 60, 80))
    assert item["scene"] == records[0]["scene_id"]
    assert item["instances"].image_size == (60, 80)
    assert "annotations" not in item
    lengths = item["normals"].norm(dim=0)
    assert ((lengths - 1).abs() < 1e-5).logical_or(lengths == 0).all()


def test_without_augmentation_the_labels_are_the_files(records):
    record = records[3]
    item = mapper()(record)
    np.testing.assert_array_equal(item["depth"][0].numpy(), Depth().read(record))
    np.testing.assert_array_equal(
        item["normals"].numpy().transpose(1, 2, 0), Normals().read(record)
    )
    boxes = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in record["annotations"])]
    np.testing.assert_array_equal(item["instances"].gt_boxes.tensor.numpy(), np.float32(boxes))


@pytest.mark.parametrize("seed", range(4))
def test_the_mapper_and_numpy_by_hand_give_the_same_bits(records, seed):
    record = records[seed]
    crop = MinIoUCrop(min_ious=(0.1, 0.3), min_area=0.3, trials=50)
    np.random.seed(seed)
    item = mapper([crop, T.Resize((72, 96)), T.RandomFlip(prob=0.5)])(record)

    np.random.seed(seed)
    image = cv2.imread(record["file_name"])[..., ::-1]
    boxes = np.array([a["bbox"] for a in record["annotations"]], float)
    boxes[:, 2:] += boxes[:, :2]
    chosen = crop.get_transform(image, boxes)
    flipped = np.random.uniform() < 0.5
    window = (slice(None), slice(None))
    zoom = 1.0
    if isinstance(chosen, T.CropTransform):
        window = np.s_[chosen.y0 : chosen.y0 + chosen.h, chosen.x0 : chosen.x0 + chosen.w]
        zoom = image.shape[1] / chosen.w
    image = image[window]
    rows = ((np.arange(72) + 0.5) * image.shape[0] / 72).astype(int)[:, None]
    columns = ((np.arange(96) + 0.5) * image.shape[1] / 96).astype(int)
    millimetres = cv2.imread(record["depth_file_name"], cv2.IMREAD_UNCHANGED)
    depth = (millimetres[window] / np.float32(1000 * zoom))[rows, columns]
    levels = cv2.imread(record["normals_file_name"])[..., ::-1][window][rows, columns]
    normals = (levels.astype(np.float32) - 127) / 127 * np.float32([1, 1, zoom])
    image = np.asarray(Image.fromarray(image).resize((96, 72), Image.BILINEAR))
    if flipped:
        image, depth = image[:, ::-1], depth[:, ::-1]
        normals = normals[:, ::-1] * np.float32([-1, 1, 1])
    normals = normals.transpose(2, 0, 1).copy()
    squares = np.einsum("chw,chw->hw", normals, normals)
    normals /= np.sqrt(np.where(squares > 0, squares, 1))

    np.testing.assert_array_equal(item["image"].numpy(), image.transpose(2, 0, 1))
    np.testing.assert_array_equal(item["depth"].numpy(), depth[None])
    np.testing.assert_array_equal(item["normals"].numpy(), normals)


def test_missing_labels_stay_missing(records):
    bare = {k: v for k, v in records[0].items() if k not in ("depth_file_name", "scene_id")}
    item = paper_mapper()(bare)
    assert "depth" not in item and "scene" not in item and "normals" in item


def test_labels_of_tasks_that_nobody_learns_are_not_read(records):
    broken = records[0] | {"depth_file_name": "nowhere.png"}
    assert "depth" not in mapper(tasks=(Scene(),))(broken)
    with pytest.raises(ValueError, match=r"nowhere\.png"):
        mapper()(broken)


def test_at_test_time_the_file_names_are_kept_and_nothing_is_augmented(records):
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.INPUT.SIZE = [60, 80]
    item = RockDatasetMapper(cfg, is_train=False)(records[0])
    assert tuple(item["image"].shape) == (3, 60, 80)
    assert (item["height"], item["width"]) == (120, 160)
    kept = {"file_name", "depth_file_name", "normals_file_name", "scene_id", "image_id"}
    assert kept <= item.keys()
    assert not {"annotations", "instances", "depth", "normals"} & item.keys()


def test_the_dataset_dict_is_not_changed(records):
    before = pickle.dumps(records[1])
    paper_mapper()(records[1])
    assert pickle.dumps(records[1]) == before


def test_a_mapper_is_picklable_and_does_the_same_after(records):
    first = paper_mapper()
    second = pickle.loads(pickle.dumps(first))
    np.random.seed(3)
    expected = first(records[2])
    np.random.seed(3)
    found = second(records[2])
    assert torch.equal(found["image"], expected["image"])
    assert torch.equal(found["normals"], expected["normals"])


class FixedCrop(T.Augmentation):
    """x 40 to 120, y 30 to 90."""

    def get_transform(self, image):
        return T.CropTransform(40, 30, 80, 60, orig_w=160, orig_h=120)


def test_objects_out_of_view_are_dropped_with_every_field(records):
    record = dict(records[0])
    boxes = [[0, 0, 30, 30], [100, 80, 50, 30], [50, 30, 60, 60]]
    record["annotations"] = [
        {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": i, "iscrowd": 0}
        for i, box in enumerate(boxes)
    ]
    instances = mapper([FixedCrop()])(record)["instances"]
    # The first object's centre (15, 15) and the second's (125, 95) are outside; the third is
    # [50, 110] x [30, 90].
    assert instances.gt_classes.tolist() == [2]
    assert instances.gt_boxes.tensor.tolist() == [[10, 0, 70, 60]]


def test_objects_that_are_cut_are_clipped(records):
    record = dict(records[0])
    record["annotations"] = [
        {"bbox": [30, 20, 60, 50], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 5, "iscrowd": 0},
        {"bbox": [60, 50, 20, 20], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 6, "iscrowd": 1},
    ]
    instances = mapper([FixedCrop()])(record)["instances"]
    # [30, 90] x [20, 70] has its centre at (60, 45); crowds are no objects to learn.
    assert instances.gt_boxes.tensor.tolist() == [[0, 0, 50, 40]]
    assert instances.gt_classes.tolist() == [5]


def test_an_image_without_objects_is_mapped(records):
    instances = paper_mapper()(records[0] | {"annotations": []})["instances"]
    assert len(instances) == 0
    assert instances.gt_boxes.tensor.shape == (0, 4)
