"""An exported file gives what the model gives."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from export import FORMATS, export
from lively import SIZE, images, lively_model, rock_cfg
from torch.testing import assert_close

from rock_d2.config import load_config

pytestmark = pytest.mark.filterwarnings("ignore")
# Stem and one stage are enough: exporters take their time for every operation.
SHORT = (
    *("MODEL.RESNETS.OUT_FEATURES", ["res2"], "MODEL.ROCK.IN_FEATURES", ["res2"]),
    *("MODEL.SSD.IN_FEATURES", ["res2"], "MODEL.SSD.TOPK_CANDIDATES_TEST", 200),
    *("MODEL.SSD.SCORE_THRESH_TEST", 0.55),
)


@torch.no_grad()
def assert_same(found, model, pixels, names) -> None:
    found = dict(zip(names, found, strict=True))
    for i, output in enumerate(model([{"image": image} for image in pixels])):
        wanted = output.pop("instances")
        count = len(wanted)
        assert 5 < count < 100
        assert_close(found["scores"][i, :count], wanted.scores)
        assert_close(found["boxes"][i, :count], wanted.pred_boxes.tensor, rtol=1e-5, atol=1e-3)
        assert torch.equal(found["classes"][i, :count], wanted.pred_classes)
        assert not found["scores"][i, count:].any() and not found["boxes"][i, count:].any()
        assert (found["classes"][i, count:] == -1).all()
        for task, values in output.items():
            assert_close(found[task][i], values, rtol=1e-4, atol=1e-4)


def run_exported(path: Path, images: torch.Tensor, *, file_format: str) -> Sequence[torch.Tensor]:
    """Return the outputs of an exported file for images (N, 3, H, W)."""
    if file_format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return [torch.from_numpy(o) for o in session.run(None, {"images": images.numpy()})]
    return torch.jit.load(str(path))(images)


@pytest.mark.parametrize("file_format", FORMATS)
def test_detections_of_batches_of_any_size(file_format, tmp_path):
    if file_format == "onnx":
        for library in ("onnxscript", "onnxruntime"):
            pytest.importorskip(library, reason=f"{library}: pip install -e .[export]")
    model = lively_model(rock_cfg("ssd", *SHORT, "MODEL.TASKS.PREDICT_AUXILIARY", False))
    path = tmp_path / "model"
    shape, names = export(model, path, file_format=file_format, image_size=SIZE)
    assert (shape, names) == (["N", 3, *SIZE], ["boxes", "scores", "classes"])
    for count in (3, 1):
        pixels = images(count)
        assert_same(run_exported(path, pixels, file_format=file_format), model, pixels, names)


def test_predictions_of_tasks_of_a_fixed_batch(tmp_path):
    model = lively_model(rock_cfg("ssd", *SHORT))
    settings = {"file_format": "torchscript", "image_size": SIZE, "batch_size": 2}
    shape, names = export(model, tmp_path / "model", **settings)
    assert shape == [2, 3, *SIZE]
    assert names == ["boxes", "scores", "classes", "scene", "depth", "normals"]
    found = run_exported(tmp_path / "model", images(2), file_format="torchscript")
    assert_same(found, model, images(2), names)


DENSE = (
    *("MODEL.DETECTOR", "", "MODEL.TASKS.MAIN", ["Depth", "Normals"]),
    *("MODEL.TASKS.AUXILIARY", ["Edges"], "MODEL.MTI.IN_FEATURES", ["res2"]),
    *("MODEL.TASKS.PREDICT_AUXILIARY", False, "MODEL.TASKS.COMPARE_AT", "label"),
)


@pytest.mark.parametrize(
    ("options", "names", "file_format"),
    [
        (("MODEL.DETECTOR", ""), ["scene", "depth", "normals"], "torchscript"),
        (("MODEL.NECK.NAME", "MTINet", *DENSE), ["depth", "normals"], "onnx"),
        (("MODEL.NECK.NAME", "PADNet", *DENSE), ["depth", "normals"], "torchscript"),
    ],
    ids=["ROCK", "MTINet", "PADNet"],
)
@torch.no_grad()
def test_tasks_without_a_detector(options, names, file_format, tmp_path):
    if file_format == "onnx":
        pytest.importorskip("onnxruntime", reason="pip install -e .[export]")
    model = lively_model(rock_cfg("ssd", *SHORT, *options))
    settings = {"file_format": file_format, "image_size": SIZE, "batch_size": 2}
    found_shape, found_names = export(model, tmp_path / "model", **settings)
    assert (found_shape, found_names) == ([2, 3, *SIZE], names)
    found = run_exported(tmp_path / "model", images(2), file_format=file_format)
    for i, output in enumerate(model([{"image": image} for image in images(2)])):
        for name, values in zip(names, found, strict=True):
            assert_close(values[i], output[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("detector", ["retinanet", "fcos", "faster_rcnn"])
@torch.no_grad()
def test_detectors_of_detectron2_for_one_image(detector, tmp_path):
    model = lively_model(rock_cfg(detector))
    settings = {"file_format": "torchscript", "image_size": SIZE}
    shape, names = export(model, tmp_path / "model", **settings)
    tasks = ["scene", "depth", "normals"]
    assert (shape, names) == ([3, *SIZE], ["boxes", "scores", "classes", *tasks])
    exported = torch.jit.load(tmp_path / "model")
    # The file was traced with a black image.
    for image in images(2):
        found = dict(zip(names, exported(image), strict=True))
        (expected,) = model([{"image": image}])
        wanted = expected["instances"]
        assert len(found["scores"]) == len(wanted) > 20
        assert_close(found["scores"], wanted.scores)
        assert_close(found["boxes"], wanted.pred_boxes.tensor, rtol=1e-4, atol=1e-3)
        for task in tasks:
            assert_close(found[task], expected[task], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("detector", "options", "file_format", "message"),
    [
        ("ssd", SHORT, "torchscript", "tasks can be exported for a fixed batch size only"),
        ("retinanet", (), "onnx", "MODEL.DETECTOR is RetinaNet, .* --format torchscript"),
        ("mask_rcnn", (), "torchscript", "MODEL.MASK_ON is True"),
        ("ssd", (*SHORT, "MODEL.DETECTOR", ""), "onnx", "tasks can be exported for a fixed batch"),
    ],
)
def test_the_reason_why_it_cannot_be_exported(detector, options, file_format, message, tmp_path):
    model = lively_model(rock_cfg(detector, *options))
    with pytest.raises(ValueError, match=message):
        export(model, tmp_path / "model", image_size=SIZE, file_format=file_format)


@pytest.mark.parametrize("detector", ["", "SSD"])
def test_sizes_that_a_pyramid_would_pad_are_refused(detector, tmp_path):
    options = ("MODEL.DETECTOR", detector, "MODEL.NECK.NAME", "ROCK")
    model = build_model(load_config("rock/ssd_rooms.yaml", options)).eval()
    with pytest.raises(ValueError, match=r"INPUT.SIZE is \[100, 128\]; .* multiples of 32 only"):
        export(
            model,
            tmp_path / "model",
            image_size=(100, 128),
            file_format="torchscript",
            batch_size=1,
        )
