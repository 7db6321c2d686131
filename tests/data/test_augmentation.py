"""The paper's augmentation, each part by its law."""

import numpy as np
import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)

from rock_d2.config import add_rock_config
from rock_d2.data.augmentation import (
    RGB_COMPONENTS,
    RGB_DEVIATIONS,
    ColorDistortion,
    Lighting,
    MinIoUCrop,
    RandomRotation,
    ZoomOut,
    best_ious,
    build_augmentations,
    centres_inside,
    distort,
)

HEIGHT, WIDTH = 48, 64
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
BOXES = np.array([[4.0, 5, 30, 40], [40, 10, 60, 30], [50, 40, 54, 44]])


def crops(boxes: np.ndarray, count: int = 300, **settings) -> list:
    np.random.seed(0)
    options = {"min_ious": (0.1, 0.3, 0.5, 0.7, 0.9), "min_area": 0.1, "trials": 50} | settings
    augmentation = MinIoUCrop(**options)
    return [augmentation.get_transform(IMAGE, boxes) for _ in range(count)]


def test_crops_keep_the_aspect_ratio_and_lie_inside():
    found = [c for c in crops(BOXES) if isinstance(c, T.CropTransform)]
    assert len(found) > 100
    for crop in found:
        assert abs(crop.w / WIDTH - crop.h / HEIGHT) <= 0.5 / WIDTH + 0.5 / HEIGHT
        # sqrt(0.1) of 64 x 48 is 20.2 x 15.2, in whole pixels 20 x 15.
        assert crop.w * crop.h >= 20 * 15
        assert crop.x0 >= 0 and crop.x0 + crop.w <= WIDTH == crop.orig_w
        assert crop.y0 >= 0 and crop.y0 + crop.h <= HEIGHT == crop.orig_h


@pytest.mark.parametrize("min_iou", [0.1, 0.3, 0.5])
def test_crops_overlap_some_object_as_much_as_asked(min_iou):
    found = crops(BOXES, min_ious=(min_iou,) * 50)
    corners = [(c.x0, c.y0, c.x0 + c.w, c.y0 + c.h) for c in found if hasattr(c, "x0")]
    overlaps = best_ious(np.array(corners), BOXES)
    assert len(overlaps) > 50
    # One option of 52 asks for any overlap at all.
    assert (overlaps >= min_iou).mean() > 0.9
    assert (overlaps > 0).all()


def test_overlap_counts_only_objects_whose_centre_is_inside():
    # The crop is 10 x 10, the first box its left half: IoU 1/2; the second box shares 40 of 200
    # pixels with it, but its centre is outside.
    crop = np.array([[0.0, 0, 10, 10]])
    boxes = np.array([[0.0, 0, 5, 10], [6, 0, 16, 20]])
    assert best_ious(crop, boxes) == pytest.approx([0.5])
    assert best_ious(crop, boxes[1:]) == pytest.approx([0])
    assert centres_inside(crop, boxes).tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ((adjust_brightness, 1.1), [220, 110, 55]),
        # Away from the image's mean grey, 0.299 x 200 + 0.587 x 100 + 0.114 x 50 = 124.
        ((adjust_contrast, 1.5), [238, 88, 13]),
        ((adjust_saturation, 0.0), [124, 124, 124]),
        # A third of the circle turns red into green.
        ((adjust_hue, 1 / 3), [50, 200, 100]),
    ],
)
def test_each_distortion_by_hand(step, expected):
    image = np.array([[[200, 100, 50]]], np.uint8)
    found = distort(image, steps=[step], rgb=True)[0, 0].astype(int)
    assert np.abs(found - expected).max() <= 2
    # In the other order of channels.
    np.testing.assert_array_equal(
        distort(image[..., ::-1], steps=[step], rgb=False)[0, 0, ::-1], found
    )


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_boxes_and_masks_stay_together(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    x0, y0 = rng.integers(0, WIDTH - 8), rng.integers(0, HEIGHT - 8)
    x1, y1 = rng.integers(x0 + 4, WIDTH), rng.integers(y0 + 4, HEIGHT)
    mask[y0:y1, x0:x1] = 1
    box = np.array([[x0, y0, x1, y1]], float)
    np.random.seed(seed)
    augmentations = T.AugmentationList(
        [
            ZoomOut(fill=(0.0, 0.0, 0.0), max_ratio=2.0, prob=0.5),
            MinIoUCrop(min_ious=(0.3, 0.7), min_area=0.3, trials=50),
            T.RandomFlip(prob=0.5),
        ]
    )
    view = T.AugInput(IMAGE, boxes=box, sem_seg=mask)
    augmentations(view)
    height, width = view.image.shape[:2]
    clipped = view.boxes[0].clip(0, [width, height, width, height])
    rows, columns = np.nonzero(view.sem_seg)
    if not len(rows):
        assert clipped[2] <= clipped[0] or clipped[3] <= clipped[1]
        return
    extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(clipped, extent, atol=1e-6)


def config(*settings) -> CfgNode:
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_list(list(settings))
    return cfg


def augmented_shapes(cfg: CfgNode, is_train: bool) -> set[tuple[int, ...]]:
    np.random.seed(0)
    augmentations = T.AugmentationList(build_augmentations(cfg, is_train))
    views = [T.AugInput(IMAGE, boxes=BOXES) for _ in range(40)]
    for view in views:
        augmentations(view)
    return {view.image.shape for view in views}


def test_rotations_are_drawn_as_asked():
    cfg = config("INPUT.ROTATION.ENABLED", True)
    cfg.INPUT.ROTATION.BACKGROUND_CORNERS = True
    (drawn,) = [a for a in build_augmentations(cfg, True) if isinstance(a, RandomRotation)]
    assert drawn.get_transform(np.zeros((6, 8, 3), np.uint8)).background_corners
    turns = [drawn.get_transform(IMAGE) for _ in range(200)]
    angles, scales = np.array([(turn.angle, turn.scale) for turn in turns]).T
    assert -20 <= angles.min() < -18 and 18 < angles.max() <= 20
    assert 0.75 <= scales.min() < 0.77 and 1.23 < scales.max() <= 1.25
    drawn = RandomRotation(degrees=[0.0], scales=[1.0, 1.2, 1.5], sampling="choice")
    turns = [drawn.get_transform(IMAGE) for _ in range(200)]
    assert {getattr(turn, "scale", 1) for turn in turns} == {1, 1.2, 1.5}


@pytest.mark.parametrize(
    ("option", "value"),
    [("SAMPLING", "both"), ("DEGREES", [10.0]), ("SCALES", []), ("SCALES", [0.0, 1.0])],
)
def test_settings_of_rotations_that_make_no_sense_are_named(option, value):
    cfg = config("INPUT.ROTATION.ENABLED", True, f"INPUT.ROTATION.{option}", value)
    with pytest.raises(ValueError, match=rf"INPUT\.ROTATION\.{option} is "):
        build_augmentations(cfg, True)


def test_images_have_one_size_or_detectron2s_sizes_by_the_shorter_edge():
    assert augmented_shapes(config("INPUT.SIZE", [30, 50]), True) == {(30, 50, 3)}
    plain = ("INPUT.SIZE", [], "INPUT.MIN_IOU_CROP.ENABLED", False)
    cfg = config(*plain, "INPUT.MIN_SIZE_TRAIN", (24, 96), "INPUT.MAX_SIZE_TRAIN", 100)
    # 48 x 64 at half its size, and at 100 / 64 of it since 96 would make the longer edge 128.
    assert augmented_shapes(cfg, True) == {(24, 32, 3), (75, 100, 3)}
    assert augmented_shapes(config(*plain, "INPUT.MIN_SIZE_TEST", 96), False) == {(96, 128, 3)}


def test_a_zoomed_out_image_is_where_its_boxes_are():
    np.random.seed(0)
    for _ in range(20):
        out = ZoomOut(fill=(7.0, 8.0, 9.0), max_ratio=2.0, prob=1.0).get_transform(IMAGE)
        x0, y0, x1, y1 = out.apply_box(np.array([[0, 0, WIDTH, HEIGHT]]))[0].astype(int)
        canvas = out.apply_image(IMAGE)
        np.testing.assert_array_equal(canvas[y0:y1, x0:x1], IMAGE)
        canvas[y0:y1, x0:x1] = 7, 8, 9
        assert (canvas == (7, 8, 9)).all()


@pytest.mark.parametrize(("rgb", "order"), [(True, 1), (False, -1)])
def test_lighting_shifts_along_the_principal_colours(rgb, order):
    np.random.seed(0)
    weights = np.random.normal(scale=2, size=3)
    expected = (128 + 255 * RGB_COMPONENTS @ (weights * RGB_DEVIATIONS))[::order]
    np.random.seed(0)
    grey = np.full((1, 1, 3), 128, np.uint8)
    found = Lighting(scale=2, rgb=rgb).get_transform().apply_image(grey)[0, 0]
    np.testing.assert_allclose(found, expected, atol=0.6)


def test_each_distortion_happens_to_half_of_the_images():
    def distorted(image: np.ndarray, seed: int, rgb: bool) -> np.ndarray:
        order = 1 if rgb else -1
        np.random.seed(seed)
        return ColorDistortion(rgb=rgb).get_transform().apply_image(image[..., ::order])

    image, grey = IMAGE[:6, :8], np.full((1, 1, 3), 128, np.uint8)
    found = [distorted(image, seed, rgb=True) for seed in range(400)]
    for seed in range(20):
        np.testing.assert_array_equal(distorted(image, seed, rgb=False)[..., ::-1], found[seed])
    # None of the four: a sixteenth of 400 is 25, with a deviation of 5.
    assert 10 <= sum(np.array_equal(x, image) for x in found) <= 40
    # Brightness, 0.875 to 1.125, is what changes a grey.
    greys = np.array([distorted(grey, seed, rgb=True) for seed in range(400)])
    assert 112 <= greys.min() < 114 and 142 < greys.max() <= 144
