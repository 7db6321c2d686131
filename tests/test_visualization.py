"""Pictures: where things are drawn, and that the colours mean what the scales say."""

import weakref
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.data import Metadata
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, Instances

from rock_d2 import RockDatasetMapper
from rock_d2.data.datasets.coco import load_multitask_coco
from rock_d2.modeling.necks.flat import FlatMTL
from rock_d2.tasks import Depth, Normals, Scene
from rock_d2.tasks.base import Drawing
from rock_d2.visualization import (
    draw_comparison,
    draw_item,
    draw_predictions,
    draw_record,
    evenly_spaced,
    prediction_drawings,
    recorded_encodings,
    write_picture,
    write_pictures,
)
from rock_d2.visualization.panels import panel, panel_row

TASKS = (Scene(), Depth(), Normals())
METADATA = Metadata(
    thing_classes=[f"thing {i}" for i in range(19)],
    scene_classes=[f"room {i}" for i in range(27)],
)


@pytest.fixture(scope="module")
def record(rooms_root) -> dict:
    root = rooms_root / "rooms"
    return load_multitask_coco(
        str(root / "annotations" / "rooms_val.json"), str(root), "rooms_pictures"
    )[0]


def perfect_output(record: dict) -> dict:
    """What a model that knows everything would return."""
    scene = torch.full((27,), 0.01)
    scene[record["scene_id"]] = 0.74
    return {
        "instances": instances([[20, 30, 60, 80]], scores=[0.9]),
        "scene": scene,
        "depth": torch.from_numpy(Depth().read(record))[None],
        "normals": torch.from_numpy(Normals().read(record)).permute(2, 0, 1),
        "encodings": {"scene": torch.arange(27.0 * 48).view(27, 6, 8)},
    }


def instances(boxes: list, scores: list[float]) -> Instances:
    return Instances(
        (120, 160),
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4)),
        scores=torch.tensor(scores),
        pred_classes=torch.arange(len(scores)),
    )


def test_right_predictions_look_like_the_truth(record):
    # Columns: input, detections, scene, depth, normals, with gutters of 4 between.
    width, height = 5 * 480 + 4 * 4, 26 + 360
    picture = draw_comparison(record, perfect_output(record), TASKS, METADATA)
    assert picture.shape == (2 * height, width, 3)
    for column in (3, 4):
        left = column * 484
        predicted, true = picture[26:height, left:][:, :480], picture[height + 26 :, left:][:, :480]
        assert predicted.std() > 5
        np.testing.assert_array_equal(predicted, true)
    # Nothing is below the input.
    assert (picture[height:, :480] == 255).all()


def test_items_are_drawn_as_their_records(record):
    """The mapper changes nothing if it neither augments nor resizes."""
    wanted = draw_record(record, TASKS, METADATA)
    for image_format in ("RGB", "BGR"):
        mapper = RockDatasetMapper(
            is_train=True, tasks=TASKS, augmentations=(), image_format=image_format
        )
        drawn = draw_item(mapper(record), TASKS, METADATA, rgb=image_format == "RGB")
        assert drawn.shape == wanted.shape
        # Labels' pixels agree; boxes may differ by less than a line's width.
        np.testing.assert_array_equal(drawn[:, 484:], wanted[:, 484:])
        np.testing.assert_array_equal(drawn[:26], wanted[:26])
        assert np.abs(drawn.astype(int) - wanted).mean() < 0.5


def test_baseline_gets_its_own_column(record):
    output = perfect_output(record)
    picture = draw_comparison(record, output, TASKS, METADATA, baseline=output)
    assert picture.shape == (2 * 386, 6 * 480 + 5 * 4, 3)
    # The same detections under another caption.
    np.testing.assert_array_equal(picture[26:386, 484:964], picture[26:386, 968:1448])


def test_only_detections_above_the_threshold_are_drawn(record):
    output = {"instances": instances([[20, 30, 60, 80], [90, 30, 140, 80]], scores=[0.9, 0.4])}
    image, found = (
        draw_predictions(record, output, TASKS, METADATA)[26:, left:][:, :480] for left in (0, 484)
    )
    changed = np.abs(image.astype(int) - found).max(axis=2) > 60
    rows, columns = np.nonzero(changed)
    # The box, times 3, with its line and its title; the weaker one would end at 420.
    assert abs(columns.min() - 60) < 6 and columns.max() < 250
    assert abs(rows.min() - 90) < 6
    nothing = {"instances": instances([], scores=[])}
    drawings = prediction_drawings(np.zeros((120, 160, 3), np.uint8), nothing, (), METADATA, 0.5)
    assert [drawing.caption for drawing in drawings] == ["input", "0 objects (score from 0.5)"]
    assert not drawings[1].image.any()


def test_heat_map_is_of_the_true_class_else_of_the_likeliest():
    prediction = np.full(27, 0.01, np.float32)
    prediction[[3, 5]] = 0.6, 0.15
    encoding = np.zeros((27, 4, 6), np.float32)
    encoding[3, 1, 2], encoding[5, 3, 4] = 7.0, 2.0
    scene = Scene()
    drawing = scene.draw_prediction(prediction, METADATA, encoding=encoding)
    assert drawing.caption == "scene: room 3 60%"
    assert drawing.scale[:2] == ("0.0", "7.0")
    assert brightest_cell(drawing.image, cells=(4, 6)) == (1, 2)
    drawing = scene.draw_prediction(prediction, METADATA, encoding=encoding, label=5)
    assert drawing.caption == "scene: room 3 60%, map: room 5 15%"
    assert drawing.scale[:2] == ("0.0", "2.0")
    assert brightest_cell(drawing.image, cells=(4, 6)) == (3, 4)
    assert scene.draw_prediction(prediction, METADATA).image is None
    assert list(scene.ranking(prediction, METADATA, count=2)) == ["room 3", "room 5"]


def brightest_cell(image: np.ndarray, cells: tuple[int, int]) -> tuple[int, int]:
    height, width = cells
    sums = image.astype(int).reshape(height, 16, width, 16, 3).sum(axis=(1, 3, 4))
    return tuple(map(int, np.unravel_index(sums.argmax(), cells)))


def test_depth_is_drawn_on_the_scale_of_the_label():
    label = np.array([[0, 1.0, 3.0]], np.float32)
    drawing = Depth().draw_prediction(np.array([[[2.0, 0.5, 9.0]]]), METADATA, label=label)
    true = Depth().draw(label, METADATA)
    assert drawing.scale[:2] == true.scale[:2] == ("1.0 m", "3.0 m")
    colours = drawing.scale.colours
    # Near is red, far is blue.
    assert colours[0].argmax() == 0 and colours[-1].argmax() == 2
    # Half-way between the ends, and nothing beyond them; unknown is black.
    np.testing.assert_array_equal(drawing.image[0], colours[[127, 0, 255]])
    np.testing.assert_array_equal(true.image[0, 1:], colours[[0, 255]])
    assert not true.image[0, 0].any()


def test_panels():
    size = (480, 360)
    assert (panel(Drawing("", None), size) == 255).all()
    scale = Depth().draw(np.array([[1.0, 9.0]], np.float32), METADATA).scale
    long = panel(Drawing("a caption that is much longer than its panel is wide " * 3, None), size)
    assert long.shape == (386, 480, 3)
    # The scale stands at the right, and no caption runs into it.
    both = panel(Drawing("a caption that is much longer than its room " * 3, None, scale), size)
    alone = panel(Drawing("", None, scale), size)
    right = 480 - round(480 * 0.45)
    np.testing.assert_array_equal(both[:, right:], alone[:, right:])
    assert (both[:26, :right] < 128).any() and (alone[:26, right:] < 128).any()
    # Large images are drawn smaller.
    assert panel_row(np.zeros((1000, 4000, 3), np.uint8), [Drawing("", None)]).shape[1] == 960


def test_pictures_need_a_known_suffix(tmp_path):
    write_picture(tmp_path / "new" / "a.png", np.zeros((2, 2, 3), np.uint8))
    assert (tmp_path / "new" / "a.png").is_file()
    with pytest.raises(ValueError, match=r"a\.doc: OpenCV writes no pictures of this suffix"):
        write_picture(tmp_path / "a.doc", np.zeros((2, 2, 3), np.uint8))


def test_without_a_contact_sheet_no_picture_is_kept(tmp_path, capsys):
    made, alive = [], []

    def pictures() -> Iterator[tuple[str, np.ndarray]]:
        for i in range(4):
            alive.append(sum(picture() is not None for picture in made))
            picture = np.zeros((2, 2, 3), np.uint8)
            made.append(weakref.ref(picture))
            yield str(i), picture
            del picture

    args = SimpleNamespace(output_dir=tmp_path, contact_sheet=False)
    write_pictures(pictures(), "rooms", args)
    # The one that was written last.
    assert alive == [0, 1, 1, 1]
    assert capsys.readouterr().out == f"4 images of rooms drawn in {tmp_path}\n"


def test_evenly_spaced():
    assert evenly_spaced(range(10), 4) == [0, 2, 5, 7]
    assert evenly_spaced(range(3), 8) == [0, 1, 2]


def test_encodings_of_flat_necks_pool_to_their_predictions_too():
    shape = {"res5": ShapeSpec(channels=8, stride=16)}
    neck = FlatMTL(input_shape=shape, in_feature="res5", tasks=TASKS).eval()
    made = {}
    for name, head in neck.heads.items():
        head.register_forward_hook(lambda _, x, y, name=name: made.update({name: y.data_ptr()}))
    with recorded_encodings(SimpleNamespace(neck=neck)) as encodings:
        _, found = neck({"res5": torch.randn(2, 8, 6, 8)})
    # No copies.
    assert {name: maps.data_ptr() for name, maps in encodings.items()} == made
    assert {name: tuple(maps.shape) for name, maps in encodings.items()} == {
        "scene": (2, 27, 6, 8),
        "depth": (2, 1, 6, 8),
        "normals": (2, 3, 6, 8),
    }
    torch.testing.assert_close(encodings["scene"].mean(dim=(2, 3)), found["scene"])
