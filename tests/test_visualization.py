"""Pictures: where things are drawn, and that the colours mean what the scales say."""

import numpy as np
import pytest
import torch
from contact_sheet import write_pictures
from detectron2.data import Metadata
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances
from visualize_data import draw_item, draw_record

from rock_d2 import RockDatasetMapper
from rock_d2.data.datasets.coco import load_multitask_coco
from rock_d2.image_files import read_color_image
from rock_d2.tasks import Depth, Normals, Scene
from rock_d2.tasks.base import Drawing
from rock_d2.visualization import (
    confusion_chart,
    draw_comparison,
    precision_recall_chart,
    prediction_drawings,
    training_chart,
    write_picture,
)

TASKS = (Scene(), Depth(), Normals())
METADATA = Metadata(
    thing_classes=[f"thing {i}" for i in range(19)],
    scene_classes=[f"room {i}" for i in range(27)],
)
BLACK = np.zeros((120, 160, 3), np.uint8)


@pytest.fixture(scope="module")
def record(rooms_root) -> dict:
    root = rooms_root / "rooms"
    file = root / "annotations" / "rooms_val.json"
    return load_multitask_coco(str(file), str(root), "rooms_pictures")[0]


def perfect_output(record: dict) -> dict:
    """The output of a model without any error."""
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
    output = perfect_output(record)
    picture = draw_comparison(record, output, TASKS, METADATA)
    assert picture.shape == (2 * height, width, 3)
    for column in (3, 4):
        left = column * 484
        predicted, true = picture[26:height, left:][:, :480], picture[height + 26 :, left:][:, :480]
        assert predicted.std() > 5
        np.testing.assert_array_equal(predicted, true)
    # Nothing is below the input.
    assert (picture[height:, :480] == 255).all()
    # A baseline has its own column.
    picture = draw_comparison(record, output, TASKS, METADATA, baseline=output)
    assert picture.shape == (2 * height, width + 484, 3)
    # A network without a detector has no such column.
    output = {name: output[name] for name in ("depth", "normals")}
    assert draw_comparison(record, output, TASKS, METADATA).shape == (2 * height, 1448, 3)


def test_items_are_drawn_as_their_records(record):
    """The mapper changes nothing if it neither augments nor resizes, and leaves masks out."""
    boxes = [{k: v for k, v in o.items() if k != "segmentation"} for o in record["annotations"]]
    record = record | {"annotations": boxes}
    wanted = draw_record(record, TASKS, METADATA)
    for image_format in ("RGB", "BGR"):
        mapper = RockDatasetMapper(
            is_train=True, tasks=TASKS, augmentations=(), image_format=image_format
        )
        drawn = draw_item(mapper(record), TASKS, METADATA, image_format=image_format)
        assert drawn.shape == wanted.shape
        # Labels' pixels agree; boxes may differ by less than a line's width.
        np.testing.assert_array_equal(drawn[:, 484:], wanted[:, 484:])
        np.testing.assert_array_equal(drawn[:26], wanted[:26])
        assert np.abs(drawn.astype(int) - wanted).mean() < 0.5


def test_unknown_boxes_leave_the_image_as_it_is(record):
    record = {key: value for key, value in record.items() if key != "annotations"}
    wanted = draw_record(record, TASKS, METADATA)
    assert (wanted[::3, :160] != 255).any()
    mapper = RockDatasetMapper(is_train=True, tasks=TASKS, augmentations=(), image_format="RGB")
    drawn = draw_item(mapper(record), TASKS, METADATA, image_format="RGB")
    np.testing.assert_array_equal(drawn, wanted)


def test_masks_are_filled_in_predictions_items_and_records(tmp_path):
    write_picture(tmp_path / "black.png", BLACK)
    # The lower half of a box; pictures are three times as large.
    box, half = [20, 30, 60, 80], [20, 55, 60, 55, 60, 80, 20, 80]
    found = instances([box], scores=[0.9])
    labels = Instances((120, 160), gt_boxes=found.pred_boxes, gt_classes=found.pred_classes)
    item = {"image": torch.zeros(3, 120, 160, dtype=torch.uint8), "instances": labels}
    truth = {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    record = {"file_name": str(tmp_path / "black.png"), "annotations": [truth]}

    def inside() -> list[float]:
        (drawing,) = prediction_drawings(BLACK, {"instances": found}, (), METADATA, 0.5)
        drawn_item = draw_item(item, (), METADATA, image_format="RGB")
        pictures = (drawn_item[26:], draw_record(record, (), METADATA)[26:], drawing.image)
        return [picture[190:230, 70:170].max() for picture in pictures]

    assert max(inside()) < 10
    found.pred_masks = torch.zeros(1, 120, 160, dtype=torch.bool)
    found.pred_masks[0, 55:80, 20:60] = True
    labels.gt_masks = BitMasks(found.pred_masks)
    truth["segmentation"] = [half]
    assert min(inside()) > 60


def test_heat_map_is_of_the_true_class_else_of_the_likeliest():
    prediction = torch.full((27,), 0.01)
    prediction[[3, 5]] = torch.tensor([0.6, 0.15])
    encoding = torch.zeros(27, 4, 6)
    encoding[3, 1, 2], encoding[5, 3, 4] = 7.0, 2.0
    output = {"scene": prediction, "encodings": {"scene": encoding}}
    for references, ends, cell in (
        ({}, ("0.0", "7.0"), (1, 2)),
        ({"scene": 5}, ("0.0", "2.0"), (3, 4)),
    ):
        (drawing,) = prediction_drawings(BLACK, output, TASKS, METADATA, 0.5, references=references)
        assert drawing.scale[:2] == ends
        sums = drawing.image.astype(int).reshape(4, 16, 6, 16, 3).sum(axis=(1, 3, 4))
        assert np.unravel_index(sums.argmax(), (4, 6)) == cell
    del output["encodings"]
    (drawing,) = prediction_drawings(BLACK, output, TASKS, METADATA, 0.5)
    assert drawing == Drawing("scene: room 3 60%", None)


def test_pictures_are_written_with_a_sheet_and_follow_no_link(tmp_path):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    named = ((f"{i}", np.full((20, 40, 3), colour, np.uint8)) for i, colour in enumerate(colours))
    (tmp_path / "photo.png").write_text("a user's")
    (tmp_path / "0.png").symlink_to(tmp_path / "photo.png")
    assert write_pictures(named, tmp_path) == 3
    assert (tmp_path / "photo.png").read_text() == "a user's"
    assert (read_color_image(tmp_path / "1.png") == (0, 255, 0)).all()
    # 40 x 20 pixels each, side by side.
    sheet = read_color_image(tmp_path / "contact_sheet.png")
    assert sheet.shape == (20, 1600, 3) and (sheet[:, 44:84] == (0, 255, 0)).all()


def test_contact_sheet_sets_pictures_of_mixed_sizes_side_by_side(tmp_path):
    # 1600 x 400 stays; 300 x 1200 becomes 150 x 600, and both of it come beside each other.
    sizes = {"wide": (400, 1600), "tall": (1200, 300)}
    named = [(n, np.zeros((*sizes[n], 3), np.uint8)) for n in ("wide", "tall", "tall")]
    assert write_pictures(named, tmp_path) == 3
    # Those of one name are both there.
    names = {file.stem for file in tmp_path.iterdir()}
    assert names == {"wide", "tall", "tall-2", "contact_sheet"}
    sheet = read_color_image(tmp_path / "contact_sheet.png")
    assert sheet.shape == (400 + 600, 1600, 3)
    assert not sheet[:400].any() and not sheet[400:, :150].any() and not sheet[400:, 154:304].any()
    assert (sheet[400:, 150:154] == 255).all() and (sheet[400:, 304:] == 255).all()


def test_charts_show_their_numbers(tmp_path):
    """A chart of other numbers is another picture, and of the same ones the same."""
    precision = np.tile(np.linspace(1, 0, 101)[:, None], (1, 3))
    precision[:, 2] = -1
    better = precision.copy()
    better[:, 0] = 1
    matrix = np.diag([3, 4, 0])
    metrics = tmp_path / "metrics.json"

    def curves(values: list[float]) -> np.ndarray:
        lines = [
            f'{{"iteration": {i}, "loss_a": {v}, "bbox/AP": 1.5}}' for i, v in enumerate(values)
        ]
        # The last was cut off by an interruption.
        metrics.write_text("\n".join([*lines, lines[0][:20]]))
        return training_chart(metrics)

    for one, same, other in (
        [precision_recall_chart(p, "abc") for p in (precision, precision, better)],
        [confusion_chart(m, "ab") for m in (matrix, matrix, matrix.T[::-1])],
        [curves(v) for v in ([3.0, 1.0], [3.0, 1.0], [3.0, 2.0])],
    ):
        np.testing.assert_array_equal(one, same)
        assert one.shape == other.shape and (one != other).any()


def test_colours_say_what_is_near_and_where_normals_point():
    near, far, unknown = Depth().draw(np.float32([[1, 5, 0]]), Metadata()).image[0].astype(int)
    assert near[0] > near[2] and far[2] > far[0] and not unknown.any()
    vectors = np.float32([[[1, 0, 0], [0, -1, 0], [0, 0, -1], [0, 0, 0]]])
    drawn = Normals().draw(vectors, Metadata()).image[0]
    # Right red, up green, towards the camera blue.
    assert drawn.argmax(axis=1)[:3].tolist() == [0, 1, 2] and not drawn[3].any()
