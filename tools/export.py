#!/usr/bin/env python
r"""Writes a trained model as one file that needs neither this project nor Detectron2.

    python tools/export.py --config-file configs/rock/rock_rooms.yaml \
        --weights output/rock_rooms/model_final.pth --format onnx --output model.onnx

In go uint8 images (N, 3, H, W) of INPUT.SIZE in INPUT.FORMAT's order, out come boxes, scores and
classes after non-maximum suppression; docs/EXPORT.md has an example. A JSON file beside it names
all of that. Tasks without a detector come out by their names, of a fixed --batch-size. Detectors
other than SSD are exported as TorchScript, for one image (3, H, W).
"""

import importlib.util
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.export import TracingAdapter
from torch import nn
from torchvision.ops import nms

from rock_d2 import Predictor
from rock_d2.config import load_config
from rock_d2.engine.command_line import (
    add_model_options,
    one_line_errors,
    parse,
    tool_parser,
)
from rock_d2.modeling.no_detector import NoDetector
from rock_d2.modeling.ssd.detection import candidates
from rock_d2.modeling.ssd.detector import SSD
from rock_d2.tasks import Task

# N images, A default boxes, C classes of objects, P candidates of an image, K detections of one.

FORMATS = ("onnx", "torchscript")


def export(
    model: nn.Module,
    path: Path,
    *,
    file_format: str,
    image_size: tuple[int, int],
    batch_size: int | None = None,
) -> tuple[list[Any], list[str]]:
    """Write a model to a file; return the shape of its input and the names of its outputs.

    Args:
        model: a MultiTask on the CPU, in evaluation mode; its parameters get no gradient any more.
        path: of the file; its folder is made.
        file_format: one of FORMATS.
        image_size: height and width of the only images that the file takes.
        batch_size: of the only batches that the file takes; by default it takes any.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Traced, the neck's are constants.
    model.requires_grad_(False)
    finds_objects = not isinstance(model.detector, NoDetector)
    if not (finds_objects or model.neck.predicted):
        raise ValueError("there is nothing to put out: MODEL.TASKS.MAIN is []; give --auxiliary")
    takes_one_image = file_format == "torchscript" and batch_size is None
    if not isinstance(model.detector, SSD) and (finds_objects or takes_one_image):
        if not takes_one_image:
            raise ValueError(
                f"MODEL.DETECTOR is {type(model.detector).__name__}, which can be exported with "
                "--format torchscript and without --batch-size only"
            )
        return _export_one_image(model, path, image_size)
    if batch_size is None and model.neck.predicted:
        raise ValueError("tasks can be exported for a fixed batch size only; give --batch-size")
    suppress = class_wise_nms if file_format == "onnx" else torch_nms
    exportable = Exportable(model, suppress if finds_objects else None, image_size).eval()
    example = torch.zeros(batch_size or 2, 3, *image_size, dtype=torch.uint8)
    shapes = None if batch_size else ({0: torch.export.Dim("batch", min=1, max=1024)},)
    with torch.no_grad():
        if file_format == "onnx":
            _write_onnx(exportable, example, shapes, path)
        else:
            _write_torchscript(exportable, example, path)
    return [batch_size or "N", *example.shape[1:]], exportable.names


class Exportable(nn.Module):
    """A MultiTask with SSD or no detector in tensors: no dicts, no Instances.

    uint8 images (N, 3, H, W) go in. With SSD out come, as many for each image, ``boxes`` (N, K, 4)
    as x0 y0 x1 y1 in pixels, ``scores`` (N, K) from the highest and ``classes`` int64 (N, K); where
    an image has fewer detections, boxes and scores are 0 and classes -1. Then come the predictions
    of the model's tasks in their order, in the labels' units, maps at the images' size.
    """

    def __init__(
        self,
        model: nn.Module,
        suppress: Callable[..., torch.Tensor] | None,
        image_size: tuple[int, int],
    ):
        super().__init__()
        divisor = model.backbone.size_divisibility or 1
        if any(n % divisor for n in image_size):
            raise ValueError(
                f"INPUT.SIZE is {list(image_size)}; files take multiples of {divisor} only"
            )
        self.detector = model.detector
        self.suppress = suppress
        self.image_size = image_size
        self.tasks: Sequence[Task] = model.neck.predicted
        self.names = ["boxes", "scores", "classes"] if suppress else []
        self.names += [task.name for task in self.tasks]
        self.predictions: dict[str, list[torch.Tensor]] = {}
        model.neck.register_forward_hook(lambda neck, x, found: self.predictions.update(found[1]))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        images = (images - self.detector.pixel_mean) / self.detector.pixel_std
        if self.suppress is None:
            self.detector.backbone(images)
            return self.final_predictions()
        found = self.detector.decode(*self.detector.predict(images))
        return (*self.detect(*found), *self.final_predictions())

    def final_predictions(self) -> tuple[torch.Tensor, ...]:
        rules = [partial(task.postprocess, output_size=self.image_size) for task in self.tasks]
        return tuple(
            torch.vmap(rule)(self.predictions[task.name][-1])
            for task, rule in zip(self.tasks, rules, strict=True)
        )

    def detect(
        self, scores: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Do what SSD's ``detect`` does, in shapes that do not depend on the values."""
        limits, num_classes = self.detector.selection, scores.shape[2]
        boxes, scores, classes, chosen = candidates(
            scores,
            boxes,
            image_sizes=[self.image_size],
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


def torch_nms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    classes: torch.Tensor,
    num_classes: int,
    nms_thresh: float,
) -> torch.Tensor:
    """Return which candidates class-wise NMS keeps, bool (N, P).

    Args:
        boxes, scores, classes: of the candidates, (N, P, 4), (N, P) and (N, P).
        num_classes: C.
        nms_thresh: IoU from which the lower of two boxes of a class is dropped.
    """
    # The images' numbers, of an operation that is traced for any N.
    image = torch.ones_like(classes[:, :1]).cumsum(dim=0)
    # Boxes of different classes or images never meet: each such group is moved to its own place.
    place = (image * num_classes + classes).double() * (boxes.max().double() + 1)
    moved = (boxes + place[..., None]).flatten(0, 1)
    kept = nms(moved, scores.flatten().double(), nms_thresh)
    stays = torch.zeros_like(scores.flatten(), dtype=torch.bool)
    return stays.index_fill(0, kept, 1).view_as(scores)


# The same as one operation, which has another name in ONNX.
class_wise_nms = torch.library.custom_op("rock_d2::class_wise_nms", torch_nms, mutates_args=())
class_wise_nms.register_fake(lambda boxes, scores, *_: torch.empty_like(scores, dtype=torch.bool))


def onnx_nms(boxes: Any, scores: Any, classes: Any, num_classes: int, nms_thresh: float) -> Any:
    """Do what ``torch_nms`` does by NonMaxSuppression, which takes scores as (N, C, P)."""
    from onnxscript import opset18 as op

    one = op.Constant(value_ints=[1])
    every_class = op.Constant(value_ints=list(range(num_classes)))
    every_class = op.Reshape(every_class, op.Constant(value_ints=[1, num_classes, 1]))
    mine = op.Equal(op.Unsqueeze(classes, one), every_class)
    by_class = op.Where(mine, op.Unsqueeze(scores, one), op.Constant(value_float=0.0))
    # Rows of image, class and place of those that stay; a score of 0 is another class's candidate.
    rows = op.NonMaxSuppression(
        boxes,
        by_class,
        op.Constant(value_ints=[2**31 - 1]),
        op.Constant(value_floats=[nms_thresh]),
        op.Constant(value_floats=[0.0]),
    )
    places = op.Gather(rows, op.Constant(value_ints=[0, 2]), axis=1)
    none = op.Mul(classes, op.Constant(value_int=0))
    ones = op.Expand(one, op.Slice(op.Shape(places), [0], [1]))
    return op.Cast(op.ScatterND(none, places, ones), to=9)


def _write_onnx(exportable: Exportable, example: torch.Tensor, shapes: Any, path: Path) -> None:
    if not importlib.util.find_spec("onnxscript"):
        raise ImportError('ONNX files need onnx and onnxscript: pip install -e ".[export]"')
    torch.onnx.export(
        exportable,
        (example,),
        str(path),
        input_names=["images"],
        output_names=exportable.names,
        dynamic_shapes=shapes,
        dynamo=True,
        opset_version=18,
        external_data=False,
        custom_translation_table={torch.ops.rock_d2.class_wise_nms.default: onnx_nms},
    )


def _write_torchscript(exportable: nn.Module, example: torch.Tensor, path: Path) -> None:
    traced = torch.jit.trace(exportable, (example,), check_trace=False)
    torch.jit.freeze(traced.eval()).save(str(path))


def _export_one_image(
    model: nn.Module, path: Path, image_size: tuple[int, int]
) -> tuple[list[Any], list[str]]:
    """Write a detector whose number of detections depends on the image, uint8 (3, H, W)."""
    if getattr(getattr(model.detector, "roi_heads", None), "mask_on", False):
        raise ValueError("MODEL.MASK_ON is True, but masks cannot be exported; set it to False")
    names: list[str] = []

    def inference(model: nn.Module, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (output,) = model([{"image": image}])
        instances = output.pop("instances").get_fields() if "instances" in output else {}
        found = {name.removeprefix("pred_"): value for name, value in instances.items()}
        found = {name: getattr(value, "tensor", value) for name, value in found.items()} | output
        names[:] = found
        return tuple(found.values())

    example = torch.zeros(3, *image_size, dtype=torch.uint8)
    _write_torchscript(TracingAdapter(model, example, inference), example, path)
    return [3, *image_size], names


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add_model_options(parser)
    kind = "format of the file (default: %(default)s)"
    add("--format", default="onnx", choices=FORMATS, help=kind)
    output = "the file to write; FILE.json, which describes it, comes beside it"
    add("--output", type=Path, required=True, metavar="FILE", help=output)
    batch = "images in each batch that the file will get (default: any number)"
    add("--batch-size", type=int, metavar="N", help=batch)
    auxiliary = "also put out the predictions of the auxiliary tasks (MODEL.TASKS.AUXILIARY)"
    add("--auxiliary", action="store_true", help=auxiliary)
    add("opts", nargs="*", metavar="KEY VALUE", help="settings, such as INPUT.SIZE '[256, 320]'")
    args = parse(parser, argv)
    fixed = ["MODEL.DEVICE", "cpu", "MODEL.TASKS.PREDICT_AUXILIARY", str(args.auxiliary)]
    cfg = load_config(args.config_file, [*args.opts, *fixed])
    if not cfg.INPUT.SIZE:
        raise ValueError("INPUT.SIZE is []; an exported file takes images of one size only")
    predictor = Predictor(cfg, args.weights)
    inputs, outputs = export(
        predictor.model,
        args.output,
        file_format=args.format,
        image_size=tuple(cfg.INPUT.SIZE),
        batch_size=args.batch_size,
    )
    classes = "thing_classes" if cfg.MODEL.DETECTOR else "stuff_classes"
    facts = {
        "images": ["uint8", *inputs],
        "channels": cfg.INPUT.FORMAT,
        "outputs": outputs,
        "classes": predictor.metadata.get(classes),
    }
    Path(f"{args.output}.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(f"{args.output}: {', '.join(outputs)} of images {facts['images'][1:]}")


if __name__ == "__main__":
    with one_line_errors():
        main()
