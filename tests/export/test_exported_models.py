"""An exported file gives what the model gives."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny import tiny_cfg, tiny_model
from torch import nn

from rock_d2.export.export import FORMATS, export
from rock_d2.export.fuse import inference_copy

SIZE = (48, 64)
# Stem and one stage are enough: every operation takes the exporters its time.
OPTIONS = [
    *("INPUT.SIZE", SIZE, "MODEL.NECK.NAME", "ROCK"),
    *("MODEL.RESNETS.OUT_FEATURES", ["res2"], "MODEL.ROCK.IN_FEATURE", "res2"),
    *("MODEL.SSD.IN_FEATURES", ["res2"], "MODEL.SSD.EXTRA_CHANNELS", [8, 8]),
    *("MODEL.SSD.SCORE_THRESH_TEST", 0.8, "MODEL.SSD.TOPK_CANDIDATES_TEST", 200),
]


def small_model(*options) -> nn.Module:
    """One that finds objects, and whose scores all differ."""
    model = tiny_model(*OPTIONS, *options).eval()
    for layers, std in ((model.head.cls_score, 1e-3), (model.head.bbox_pred, 1e-3)):
        for layer in layers:
            layer.weight.data.normal_(std=std)
            layer.bias.data.zero_()
    return inference_copy(model, tiny_cfg(*OPTIONS, *options))


def images(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 3, *SIZE), dtype=torch.uint8, generator=generator)


def assert_same(found, model, pixels, names) -> None:
    with torch.no_grad():
        expected = model([{"image": image} for image in pixels])
    counts = [len(output["instances"]) for output in expected]
    assert max(counts) > 5 and min(counts) < 100
    found = dict(zip(names, found, strict=True))
    for i, (output, count) in enumerate(zip(expected, counts, strict=True)):
        wanted = output.pop("instances")
        torch.testing.assert_close(found["scores"][i, :count], wanted.scores)
        torch.testing.assert_close(
            found["boxes"][i, :count], wanted.pred_boxes.tensor, rtol=1e-5, atol=1e-3
        )
        assert torch.equal(found["classes"][i, :count], wanted.pred_classes)
        assert not found["scores"][i, count:].any() and not found["boxes"][i, count:].any()
        assert (found["classes"][i, count:] == -1).all()
        for task, values in output.items():
            torch.testing.assert_close(found[task][i], values, rtol=1e-4, atol=1e-4)


def run_exported(path: Path, images: torch.Tensor, *, file_format: str) -> Sequence[torch.Tensor]:
    """What an exported file puts out for images (N, 3, H, W)."""
    if file_format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return [torch.from_numpy(o) for o in session.run(None, {"images": images.numpy()})]
    if file_format == "torchscript":
        return torch.jit.load(str(path))(images)
    return torch.export.load(path).module()(images)


def skip_without_onnx(file_format: str) -> None:
    if file_format == "onnx":
        for library in ("onnxscript", "onnxruntime"):
            pytest.importorskip(library, reason=f"{library}: pip install -e .[export]")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file_format", FORMATS)
def test_detections_of_batches_of_any_size(file_format, tmp_path):
    skip_without_onnx(file_format)
    model = small_model("MODEL.ROCK.PREDICT_AUXILIARY", False)
    path = tmp_path / "model"
    names = export(model, path, file_format=file_format)
    assert names == ("boxes", "scores", "classes")
    for count in (3, 1):
        pixels = images(count)
        assert_same(run_exported(path, pixels, file_format=file_format), model, pixels, names)


@pytest.mark.filterwarnings("ignore")
def test_auxiliary_predictions_of_a_fixed_batch(tmp_path):
    model = small_model()
    with pytest.raises(ValueError, match="for a fixed batch size only"):
        export(model, tmp_path / "model", file_format="torchscript")
    names = export(model, tmp_path / "model", file_format="torchscript", batch_size=2)
    assert names == ("boxes", "scores", "classes", "scene", "depth", "normals")
    found = run_exported(tmp_path / "model", images(2), file_format="torchscript")
    assert_same(found, model, images(2), names)
