"""DATALOADER.AUGMENT_ON: device gives the host's batches, bit for bit."""

import json
from collections.abc import Iterator
from copy import deepcopy
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from command_line import run_warm
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog
from detectron2.data import transforms as T
from fvcore.transforms.transform import PadTransform
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rock_d2 import RockDatasetMapper, add_rock_config, build_train_loader, load_multitask_coco
from rock_d2.data.augmentation import ColorShift, Distortion
from rock_d2.data.device_images import DeviceImages
from rock_d2.data.device_stream import PLAN, DeviceStream
from rock_d2.data.reading import SKIPPED, UnreadableError
from rock_d2.data.sampling import UnseenImage
from rock_d2.data.stream import SampleStream
from rock_d2.tasks import Depth
from rock_d2.tasks.geometry import StoredMap

CPU = torch.device("cpu")
FILES = ("file_name", "depth_file_name", "normals_file_name")


@pytest.fixture(scope="module")
def rooms(rooms_root, tmp_path_factory) -> list[dict]:
    """15 rooms: one lacks a map, one all labels, one has no object, one is of an odd size."""
    root = rooms_root / "rooms"
    found = load_multitask_coco(str(root / "annotations/rooms_train.json"), str(root), "device")
    found[0] = without(found[0], "normals_file_name")
    found[1] = without(found[1], *FILES[1:], "scene_id")
    found[2]["annotations"] = []
    found[3] = cut(found[3], 91, 117, tmp_path_factory.mktemp("odd"))
    return found


def without(record: dict, *fields: str) -> dict:
    return {key: value for key, value in record.items() if key not in fields}


def cut(record: dict, height: int, width: int, folder: Path) -> dict:
    """A part of a room as files of its own."""
    record = {**record, "height": height, "width": width}
    for field in FILES:
        pixels = cv2.imread(record[field], cv2.IMREAD_UNCHANGED)[:height, :width]
        record[field] = str(folder / f"{field}.png")
        assert cv2.imwrite(record[field], pixels)
    return record


@pytest.fixture
def cfg(rooms) -> Iterator[CfgNode]:
    """Every augmentation, and batches that end within passes."""
    DatasetCatalog.register("device", lambda: deepcopy(rooms))
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_list(["DATASETS.TRAIN", ("device",), "INPUT.SIZE", [60, 128], "SEED", 7])
    cfg.merge_from_list(["INPUT.EXPAND.ENABLED", True, "INPUT.COLOR_AUG.DISTORTION", True])
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", 4, "DATALOADER.NUM_WORKERS", 0])
    cfg.merge_from_list(["DATALOADER.FILTER_EMPTY_ANNOTATIONS", False, "MODEL.DEVICE", "cpu"])
    yield cfg
    DatasetCatalog.remove("device")


def batches(cfg: CfgNode, count: int, *options: object, where: str = "host") -> list[list[dict]]:
    cfg = cfg.clone()
    fixed = ("DATALOADER.RESIDENT", where == "device", "DATALOADER.AUGMENT_ON", where)
    cfg.merge_from_list([*fixed, *options])
    return list(islice(build_train_loader(cfg), count))


def assert_equal(first: list[list[dict]], second: list[list[dict]], *, but: str = "") -> None:
    """To the last bit, and laid out in memory alike; ``but`` a key whose values may differ."""
    for one, other in zip(chain(*first), chain(*second), strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            if isinstance(value, torch.Tensor):
                assert (value.dtype, value.stride()) == (other[key].dtype, other[key].stride())
                assert key == but or torch.equal(value, other[key]), key
            elif key != "instances":
                assert value == other[key], key
        ours, theirs = one["instances"], other["instances"]
        assert ours.image_size == theirs.image_size
        assert torch.equal(ours.gt_boxes.tensor, theirs.gt_boxes.tensor)
        assert torch.equal(ours.gt_classes, theirs.gt_classes)


def device_stream(cfg: CfgNode) -> DeviceStream:
    cfg.merge_from_list(["DATALOADER.RESIDENT", True, "DATALOADER.AUGMENT_ON", "device"])
    return build_train_loader(cfg).dataset


def test_device_and_host_give_the_same_batches(cfg):
    # 100 positions are nearly seven passes over 15 images.
    assert_equal(batches(cfg, 25, where="device"), batches(cfg, 25))


def test_these_batches_cover_every_case(cfg):
    stream = device_stream(cfg)
    plans = [SampleStream.__getitem__(stream, position)[PLAN] for position in range(100)]
    kinds = {type(t).__name__ for plan in plans for t in plan.transforms.transforms}
    assert kinds >= {"ZoomOutTransform", "CropTransform", "HFlipTransform", "ColorTransform"}
    assert {plan.sampling.fill is None for plan in plans} == {True, False}
    assert {plan.sampling.colours.hsv is None for plan in plans} == {True, False}
    assert {0, 1, 2, 3} <= {plan.index for plan in plans}


def test_only_where_opencv_itself_rounds_otherwise_some_levels_differ(cfg):
    # OpenCV's conversion to HSV takes 16 or more pixels at once; the rest of a row it rounds in
    # another way, by one level, which a change of saturation and contrast can triple.
    cfg.INPUT.SIZE = [51, 67]
    expected, found = batches(cfg, 25), batches(cfg, 25, where="device")
    assert_equal(found, expected, but="image")
    images = (torch.stack([item["image"] for item in chain(*x)]).int() for x in (found, expected))
    difference = torch.sub(*images).abs()
    assert not difference[..., :64].any()
    assert difference.max() <= 3
    cfg.INPUT.COLOR_AUG.DISTORTION = False
    assert_equal(batches(cfg, 10, where="device"), batches(cfg, 10))


def test_an_item_does_not_depend_on_its_neighbours(cfg):
    stream = device_stream(cfg)
    together = stream.__getitems__(range(9))
    assert_equal([together], [[stream[position] for position in range(9)]])
    assert_equal([together[4:]], [stream.__getitems__(range(4, 9))])


def test_a_device_is_never_waited_for_and_never_mixed_with_the_host(cfg, rooms):
    # Tensors without values would raise if one were read, or met one of the host.
    mapper = RockDatasetMapper(cfg, is_train=True)
    meta = DeviceStream(deepcopy(rooms), mapper, seed=7, device=torch.device("meta"))
    for found, expected in zip(meta.__getitems__(range(30)), chain(*batches(cfg, 8)), strict=False):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            if isinstance(value, torch.Tensor):
                assert (found[key].device.type, found[key].shape) == ("meta", value.shape)


def test_training_goes_on_where_it_stopped(cfg):
    cfg.merge_from_list(["DATALOADER.RESIDENT", True, "DATALOADER.AUGMENT_ON", "device"])
    loader = build_train_loader(cfg)
    expected = list(islice(loader, 6))
    loader.sampler.start_batch = 4
    assert_equal(list(islice(loader, 2)), expected[4:])


def test_a_device_needs_no_workers_and_reads_nothing_after_the_start(cfg, monkeypatch):
    fixed = ["DATALOADER.RESIDENT", True, "DATALOADER.AUGMENT_ON", "device"]
    cfg.merge_from_list([*fixed, "DATALOADER.NUM_WORKERS", 3])
    loader = build_train_loader(cfg)
    assert (loader.num_workers, loader.pin_memory) == (0, False)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"reads {path}"))
    assert len(list(islice(loader, 5))) == 5


def test_unreadable_images_are_replaced_by_the_same_others(cfg, rooms, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    DatasetCatalog.remove("device")
    DatasetCatalog.register("device", lambda: [{**rooms[5], "file_name": str(broken)}, *rooms[6:]])
    some = ("DATALOADER.RETRIES", 0, "DATALOADER.MAX_UNREADABLE", 2)
    expected = batches(cfg, 6, *some)
    assert sum(SKIPPED in item for item in chain(*expected)) >= 2
    assert_equal(batches(cfg, 6, *some, where="device"), expected)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("file_name", r"Mismatched image shape for image .*file_name.png, got \(117, 91\)"),
        ("depth_file_name", r"\.png: its `depth_file_name` is 91 x 117, the image 120 x 160"),
    ],
)
def test_files_of_another_size_are_refused(cfg, rooms, field, message):
    broken = {**rooms[5], field: rooms[3][field]}
    DatasetCatalog.remove("device")
    DatasetCatalog.register("device", lambda: [broken])
    cfg.DATALOADER.RETRIES = 0
    with pytest.raises(UnreadableError, match=message):
        device_stream(cfg)[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("AUGMENT_ON", "gpu"), "DATALOADER.AUGMENT_ON: 'gpu' is none of auto, host, device"),
        (("AUGMENT_ON", "device"), "AUGMENT_ON: device needs DATALOADER.RESIDENT: True"),
    ],
)
def test_bad_settings_are_refused(cfg, options, message):
    cfg.merge_from_list([f"DATALOADER.{options[0]}", options[1]])
    with pytest.raises(ValueError, match=message):
        build_train_loader(cfg)


def test_sizes_must_be_known(cfg, rooms):
    DatasetCatalog.remove("device")
    DatasetCatalog.register("device", lambda: [without(rooms[5], "height", "width")])
    with pytest.raises(ValueError, match=r"has no `height` and `width`"):
        device_stream(cfg)


def images_of(image: np.ndarray, *transforms: T.Transform) -> tuple[np.ndarray, np.ndarray]:
    """What the transforms make of an image, on a device and on the host."""
    images = DeviceImages([image.shape[:2]], rgb=True, device=CPU)
    images.put(0, image)
    unseen, seen = UnseenImage(*image.shape[:2]), T.AugInput(image)
    for transform in transforms:
        unseen.transform(transform)
        seen.transform(transform)
    return images.batch([0], [unseen.sampling])[0].numpy().transpose(1, 2, 0), seen.image


sides = st.integers(1, 150)


@given(sides, sides, sides, sides, st.integers(0, 100))
@settings(deadline=None, max_examples=80)
def test_a_resize_is_pillows(height, width, new_height, new_width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    found, _ = images_of(image, T.ResizeTransform(height, width, new_height, new_width))
    expected = Image.fromarray(image).resize((new_width, new_height), Image.BILINEAR)
    np.testing.assert_array_equal(found, np.asarray(expected))


SHIFT = T.ColorTransform(ColorShift(20.0, -3.0, 0.4))
TURN = T.ColorTransform(Distortion(5.0, 1.3, 0.7, 9, contrast_first=False, rgb=True))
PAD = PadTransform(4, 3, 0, 0, orig_w=64, orig_h=48, pad_value=9)


@pytest.mark.parametrize(
    "transforms",
    [
        (SHIFT, SHIFT, TURN, SHIFT),
        (T.HFlipTransform(64), PAD, T.CropTransform(1, 1, 40, 30), T.HFlipTransform(40)),
        (T.ResizeTransform(48, 64, 30, 32), T.CropTransform(3, 4, 20, 10), SHIFT),
        (T.VFlipTransform(48), T.NoOpTransform(), T.ResizeTransform(48, 64, 70, 96)),
    ],
)
def test_transforms_may_come_in_any_order_that_is_no_contradiction(transforms):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    np.testing.assert_array_equal(*images_of(image, *transforms))


@pytest.mark.parametrize(
    ("transforms", "what"),
    [
        ((T.ResizeTransform(48, 64, 9, 9), T.ResizeTransform(9, 9, 5, 5)), "a second resize"),
        ((SHIFT, T.ResizeTransform(48, 64, 9, 9)), "a resize after colours"),
        ((T.ResizeTransform(48, 64, 48, 64), PAD), "padding after a resize"),
        ((TURN, TURN), "a second change of hue or saturation"),
        ((T.BlendTransform(np.zeros(3), 0.5, 0.5),), "BlendTransform"),
        ((T.ColorTransform(np.sqrt),), "ColorTransform"),
        ((T.RotationTransform(48, 64, 5),), "RotationTransform"),
    ],
)
def test_what_a_device_does_not_do_is_refused(transforms, what):
    view = UnseenImage(48, 64)
    for transform in transforms[:-1]:
        view.transform(transform)
    with pytest.raises(NotImplementedError, match=rf"{what}.* set DATALOADER.AUGMENT_ON: host"):
        view.transform(transforms[-1])


def test_the_highest_levels_stay_what_they_are():
    # As bits of an int16, 65535 is -1.
    label = StoredMap.whole(np.array([[65535, 32768, 0]], np.uint16))
    shelf = Depth().shelf([{"height": 1, "width": 3, Depth.field: "x.png"}, {}], CPU)
    shelf.put(0, label)
    found, missing = shelf.batch([0, 1], [T.TransformList([])] * 2)
    assert found.tolist() == Depth().to_tensor(label).tolist()
    assert found[0, 0].tolist() == pytest.approx([65.535, 32.768, 0])
    assert missing is None


def test_a_training_by_command_line(rooms_root, tmp_path):
    tiny = ("MODEL.DEVICE", "cpu", "INPUT.SIZE", "[48, 64]", "DATASETS.TEST", "()")
    steps = ("SOLVER.IMS_PER_BATCH", 4, "SOLVER.MAX_ITER", 3, "SOLVER.LOG_PERIOD", 1)
    data = ("DATALOADER.RESIDENT", True, "DATALOADER.AUGMENT_ON", "device")
    config = ("--config-file", "configs/quick_schedules/rock_rooms_quick.yaml")
    command = ("tools/train_net.py", *config, *tiny, *steps, *data, "OUTPUT_DIR", tmp_path)
    done = run_warm(*command, root=rooms_root)
    assert done.returncode == 0, done.stderr
    assert "15 images decoded" in done.stdout + done.stderr
    losses = [json.loads(x) for x in (tmp_path / "metrics.json").read_text().splitlines()]
    assert [x["iteration"] for x in losses] == [0, 1, 2]
    assert all(np.isfinite(x["total_loss"]) for x in losses)
