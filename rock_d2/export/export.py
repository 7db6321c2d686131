"""A trained model as one file, from pixels to detections, for programs without this project.

N images, A default boxes, C classes of objects, P candidates of an image, K detections of one.
"""

import argparse
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.ops import nms

from rock_d2.config import load_config
from rock_d2.modeling.ssd.postprocessing import candidates
from rock_d2.modeling.ssd.detector import SSD
from rock_d2.predictor import Predictor

FORMATS = ("onnx", "torchscript", "torch_export")
DETECTIONS = ("boxes", "scores", "classes")


class Exportable(nn.Module):
    """An SSD in tensors: no dataset dicts, no Instances, as many detections for each image.

    uint8 images (N, 3, H, W) of INPUT.SIZE and INPUT.FORMAT go in. Out come ``boxes`` (N, K, 4) as
    x0 y0 x1 y1 in pixels, ``scores`` (N, K) from the highest and ``classes`` int64 (N, K), and the
    auxiliary predictions of the model's tasks in their order, in the labels' units, maps at
    INPUT.SIZE. Where an image has fewer detections, boxes and scores are 0 and classes -1.
    """

    def __init__(self, model: SSD, suppress: Callable[..., torch.Tensor]):
        """
        Args:
            model: in evaluation mode.
            suppress: class-wise NMS, from boxes (N, P, 4), scores and classes (N, P), the number
                of classes and the IoU to bool (N, P), which candidates stay.
        """
        super().__init__()
        self.model = model
        self.suppress = suppress
        self.limits = dict(model.detector.keywords)
        self.tasks = model.neck.tasks if model.neck.predict_auxiliary else ()

    def output_names(self) -> tuple[str, ...]:
        return (*DETECTIONS, *(task.name for task in self.tasks))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        model = self.model
        *found, aux = model.predict(images)
        detections = self.detect(*model.decode(*found))
        return (*detections, *(self.of_batch(task, aux[task.name]) for task in self.tasks))

    def detect(
        self, scores: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``rock_d2.modeling.ssd.postprocessing.detect`` with shapes that do not depend on the values."""
        limits, num_classes = self.limits, scores.shape[2]
        boxes, scores, classes, chosen = candidates(
            scores,
            boxes,
            image_size=self.model.input_size,
            score_thresh=limits["score_thresh"],
            count=limits["num_candidates"],
        )
        kept = chosen & self.suppress(boxes, scores, classes, num_classes, limits["nms_thresh"])
        count = min(limits["num_kept"], scores.shape[1])
        scores, best = torch.where(kept, scores, -1.0).topk(count, dim=1)
        found = scores > 0
        boxes = boxes.gather(1, best[..., None].expand(-1, -1, 4))
        classes = torch.where(found, classes.gather(1, best), -1)
        return boxes * found[..., None], scores.clamp(min=0), classes

    def of_batch(self, task: Any, prediction: torch.Tensor) -> torch.Tensor:
        """A task's predictions of all images, as its postprocess makes that of one."""
        size = self.model.input_size
        return torch.vmap(lambda of_image: task.postprocess(of_image, size))(prediction)


def torch_nms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    classes: torch.Tensor,
    num_classes: int,
    nms_thresh: float,
) -> torch.Tensor:
    """Class-wise NMS as bool (N, P), of operations that PyTorch and torchvision have."""
    # The images' numbers, of an operation that is traced for any N.
    image = torch.ones_like(classes[:, :1]).cumsum(dim=0)
    # Every class of every image gets a place of its own, out of the others' reach.
    place = (image * num_classes + classes).double() * (boxes.max().double() + 1)
    kept = nms(
        (boxes + place[..., None]).flatten(0, 1),
        scores.flatten().double(),
        iou_threshold=nms_thresh,
    )
    stays = torch.zeros_like(scores.flatten(), dtype=torch.bool)
    return stays.index_fill(0, kept, 1).view_as(scores)


@torch.library.custom_op("rock_d2::class_wise_nms", mutates_args=())
def class_wise_nms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    classes: torch.Tensor,
    num_classes: int,
    nms_thresh: float,
) -> torch.Tensor:
    """``torch_nms`` as one operation, which ONNX has another name for."""
    return torch_nms(boxes, scores, classes, num_classes, nms_thresh)


@class_wise_nms.register_fake
def _(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    classes: torch.Tensor,
    num_classes: int,
    nms_thresh: float,
) -> torch.Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def onnx_nms(boxes: Any, scores: Any, classes: Any, num_classes: int, nms_thresh: float) -> Any:
    """``class_wise_nms`` by ONNX's NonMaxSuppression, which wants scores as (N, C, P)."""
    from onnxscript import opset18 as op

    every_class = op.Constant(value_ints=list(range(num_classes)))
    every_class = op.Reshape(every_class, op.Constant(value_ints=[1, num_classes, 1]))
    mine = op.Equal(op.Unsqueeze(classes, op.Constant(value_ints=[1])), every_class)
    by_class = op.Where(
        mine, op.Unsqueeze(scores, op.Constant(value_ints=[1])), op.Constant(value_float=0.0)
    )
    # Rows of image, class and place of what stays; a score of 0 is another class's candidate.
    rows = op.NonMaxSuppression(
        boxes,
        by_class,
        op.Constant(value_ints=[2**31 - 1]),
        op.Constant(value_floats=[nms_thresh]),
        op.Constant(value_floats=[0.0]),
    )
    places = op.Gather(rows, op.Constant(value_ints=[0, 2]), axis=1)
    ones = op.Squeeze(op.Slice(places, [0], [1], [1]), op.Constant(value_ints=[1]))
    ones = op.Add(op.Mul(ones, op.Constant(value_int=0)), op.Constant(value_int=1))
    none = op.Mul(classes, op.Constant(value_int=0))
    return op.Cast(op.ScatterND(none, places, ones), to=9)


def export(
    model: SSD, path: Path, *, file_format: str, batch_size: int | None = None
) -> tuple[str, ...]:
    """Writes a model to a file; returns the names of what it puts out, in order.

    Args:
        model: on the CPU, in evaluation mode.
        path: of the file; its folder is made.
        file_format: one of FORMATS.
        batch_size: of the only batches that the file takes; by default it takes any.
    """
    if batch_size is None and model.neck.predict_auxiliary:
        raise ValueError("auxiliary predictions can be exported for a fixed batch size only")
    path.parent.mkdir(parents=True, exist_ok=True)
    exportable = Exportable(model, class_wise_nms if file_format == "onnx" else torch_nms).eval()
    example = torch.zeros(batch_size or 2, 3, *model.input_size, dtype=torch.uint8)
    shapes = None if batch_size else ({0: torch.export.Dim("batch", min=1, max=1024)},)
    with torch.no_grad():
        _WRITERS[file_format](exportable, example, shapes, path)
    return exportable.output_names()


def export_trained(args: argparse.Namespace) -> str:
    """Does what tools/export.py is asked for; returns what the file takes and gives."""
    fixed = ["MODEL.DEVICE", "cpu", "TEST.COMPILE", "False"]
    auxiliary = ["MODEL.ROCK.PREDICT_AUXILIARY", str(args.auxiliary)]
    predictor = Predictor(args.config_file, args.weights, opts=[*args.opts, *fixed, *auxiliary])
    model = predictor.model
    names = export(model, args.output, file_format=args.format, batch_size=args.batch_size)
    facts = {
        "images": ["uint8", args.batch_size or "N", len(model.pixel_mean), *model.input_size],
        "channels": load_config(args.config_file, args.opts).INPUT.FORMAT,
        "outputs": names,
        "classes": predictor.metadata.get("thing_classes"),
    }
    Path(f"{args.output}.json").write_text(json.dumps(facts, indent=2) + "\n")
    return f"{args.output}: {', '.join(names)} of images {facts['images'][1:]}"


def _write_onnx(exportable: Exportable, example: torch.Tensor, shapes: Any, path: Path) -> None:
    if not importlib.util.find_spec("onnxscript"):
        raise ImportError('ONNX files need onnx and onnxscript: pip install -e ".[export]"')
    torch.onnx.export(
        exportable,
        (example,),
        str(path),
        input_names=["images"],
        output_names=exportable.output_names(),
        dynamic_shapes=shapes,
        dynamo=True,
        opset_version=18,
        external_data=False,
        custom_translation_table={torch.ops.rock_d2.class_wise_nms.default: onnx_nms},
    )


def _write_torchscript(
    exportable: Exportable, example: torch.Tensor, shapes: Any, path: Path
) -> None:
    traced = torch.jit.trace(exportable, example, check_trace=False)
    torch.jit.freeze(traced).save(str(path))


def _write_torch_export(
    exportable: Exportable, example: torch.Tensor, shapes: Any, path: Path
) -> None:
    program = torch.export.export(exportable, (example,), dynamic_shapes=shapes, strict=False)
    with path.open("wb") as file:
        torch.export.save(program, file)


_WRITERS = {
    "onnx": _write_onnx,
    "torchscript": _write_torchscript,
    "torch_export": _write_torch_export,
}
