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


def mapper(augmentations=(), is_train=True, tasks=TASKS, **options):
    return RockDatasetMapper(
        is_train=is_train, tasks=tasks, augmentations=augmentations, image_format="RGB", **options
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
    before = pickle.dumps(records[0])
    item = pickle.loads(pickle.dumps(paper_mapper()))(records[0])
    assert (item["image"].dtype, tuple(item["image"].shape)) == (torch.uint8, (3, 60, 80))
    assert (item["depth"].dtype, tuple(item["depth"].shape)) == (torch.float32, (1, 60, 80))
    assert (item["normals"].dtype, tuple(item["normals"].shape)) == (torch.float32, (3, 60, 80))
    assert item["scene"] == records[0]["scene_id"]
    assert item["instances"].image_size == (60, 80)
    assert "annotations" not in item
    lengths = item["normals"].norm(dim=0)
    assert ((lengths - 1).abs() < 1e-5).logical_or(lengths == 0).all()
    assert pickle.dumps(records[0]) == before


@pytest.mark.parametrize("seed", range(4))
def test_the_mapper_and_numpy_by_hand_agree(records, seed):
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
    # Lengths are summed in another order.
    np.testing.assert_allclose(item["normals"].numpy(), normals, atol=2e-7)


def test_only_labels_that_are_there_and_learnt_are_read(records):
    bare = {k: v for k, v in records[0].items() if k not in ("depth_file_name", "scene_id")}
    item = paper_mapper()(bare)
    assert "depth" not in item and "scene" not in item and "normals" in item
    broken = records[0] | {"depth_file_name": "nowhere.png"}
    assert "depth" not in mapper(tasks=(Scene(),))(broken)
    with pytest.raises(ValueError, match=r"nowhere\.png"):
        mapper()(broken)


def test_a_field_that_has_a_tasks_name_is_no_label(records):
    absent = ("scene_id", "depth_file_name")
    record = {k: v for k, v in records[0].items() if k not in absent}
    item = mapper()(record | {"scene": 3, "depth": "near"})
    assert not {"scene", "depth"} & item.keys() and "normals" in item


def test_at_test_time_the_file_names_are_kept_and_nothing_is_augmented(records):
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.INPUT.SIZE = [60, 80]
    cfg.MODEL.ROCK.GIVEN = ["Normals"]
    item = RockDatasetMapper(cfg, is_train=False)(records[0])
    assert tuple(item["image"].shape) == (3, 60, 80)
    assert (item["height"], item["width"]) == (120, 160)
    kept = {"file_name", "depth_file_name", "normals_file_name", "scene_id", "image_id"}
    assert kept <= item.keys()
    assert not {"annotations", "instances", "depth", "scene"} & item.keys()
    # Labels that the network takes at test time, too.
    assert tuple(item["normals"].shape) == (3, 60, 80)


class FixedCrop(T.Augmentation):
    """x 40 to 120, y 30 to 90."""

    def get_transform(self, image):
        return T.CropTransform(40, 30, 80, 60, orig_w=160, orig_h=120)


def with_objects(record, boxes, **fields):
    """A copy of a dataset dict with these boxes, x y w h, of classes 0, 1, ... in their place."""
    objects = [
        {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": i, "iscrowd": 0}
        for i, box in enumerate(boxes)
    ]
    for name, values in fields.items():
        objects = [{**a, name: value} for a, value in zip(objects, values, strict=True)]
    return record | {"annotations": objects}


@pytest.mark.parametrize(("centre_rule", "kept"), [(True, [2]), (False, [1, 2])])
def test_objects_whose_centre_is_out_of_view_are_dropped_by_ssds_rule(records, centre_rule, kept):
    # The first object is outside; the second's centre (115, 95) is, and a part of it is not; the
    # third is [50, 110] x [30, 90].
    record = with_objects(records[0], [[0, 0, 30, 20], [100, 80, 30, 30], [50, 30, 60, 60]])
    instances = mapper([FixedCrop()], centre_rule=centre_rule)(record)["instances"]
    assert instances.gt_classes.tolist() == kept
    assert instances.gt_boxes.tensor[-1].tolist() == [10, 0, 70, 60]


@pytest.mark.parametrize("crops", [True, False])
def test_a_config_with_ssds_crops_has_ssds_rules(crops):
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.MODEL.MASK_ON, cfg.INPUT.MASK_FORMAT = True, "bitmask"
    cfg.INPUT.MIN_IOU_CROP.ENABLED = crops
    built = RockDatasetMapper(cfg, is_train=True)
    assert (built.centre_rule, built.recompute_boxes) == (crops, crops)


def test_crowds_are_no_objects_and_an_image_may_have_none(records):
    crowd = with_objects(records[0], [[30, 20, 60, 50], [60, 50, 20, 20]], iscrowd=[0, 1])
    # [30, 90] x [20, 70] clipped to [40, 120] x [30, 90].
    boxes = mapper([FixedCrop()])(crowd)["instances"].gt_boxes.tensor
    assert boxes.tolist() == [[0, 0, 50, 40]]
    nothing = paper_mapper()(records[0] | {"annotations": []})
    assert nothing["instances"].gt_boxes.tensor.shape == (0, 4)
    # Nobody has looked: the crops are the same, and there is no ground truth.
    np.random.seed(0)
    nothing = paper_mapper()(records[0] | {"annotations": []})
    np.random.seed(0)
    unknown = paper_mapper()({k: v for k, v in records[0].items() if k != "annotations"})
    assert nothing.keys() - unknown.keys() == {"instances"}
    assert all(torch.equal(unknown[name], nothing[name]) for name in ("image", "depth", "normals"))


def test_bit_masks_follow_their_object(records):
    """The law of the rooms: a box is the extent of its mask, before and after augmentation."""
    crop = MinIoUCrop(min_ious=(0.1, 0.3), min_area=0.3, trials=50)
    augmentations = [crop, T.ResizeShortestEdge((100, 200), 300, "range"), T.RandomFlip()]
    options = {"use_instance_mask": True, "instance_mask_format": "bitmask", "centre_rule": True}
    mapped = mapper(augmentations, recompute_boxes=True, **options)
    np.random.seed(0)
    for record in records:
        item = mapped(record)
        instances, size = item["instances"], tuple(item["image"].shape[-2:])
        masks = instances.gt_masks.tensor
        assert masks.shape == (len(instances), *size) and size == instances.image_size
        extents = instances.gt_masks.get_bounding_boxes().tensor
        assert torch.equal(extents, instances.gt_boxes.tensor)
    whole = mapper(**options)(records[0])["instances"]
    boxes = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in records[0]["annotations"])]
    assert whole.gt_masks.get_bounding_boxes().tensor.tolist() == boxes


def test_keypoints_are_mirrored_with_left_and_right(records):
    points = [20, 30, 2, 40, 30, 1, 0, 0, 0]
    record = with_objects(records[0], [[10, 10, 50, 50]], keypoints=[points])
    options = {"use_keypoint": True, "keypoint_hflip_indices": [1, 0, 2]}
    found = mapper([T.RandomFlip(prob=1.0)], **options)(record)["instances"].gt_keypoints
    # The right one is at 160 - 40; the third is not labelled.
    assert found.tensor.tolist() == [[[120, 30, 1], [140, 30, 2], [0, 0, 0]]]
