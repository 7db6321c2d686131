#!/usr/bin/env python
r"""Writes a trained model as one file that needs neither this project nor Detectron2.

    python tools/export.py --config-file configs/rock/rock_rooms.yaml \
        --weights output/rock_rooms/model_final.pth --format onnx --output model.onnx

In go uint8 images (N, 3, H, W) of INPUT.SIZE in INPUT.FORMAT's order, out come boxes, scores and
classes after non-maximum suppression; docs/EXPORT.md has an example. A JSON file beside it names
all of that. Tasks without a detector come out by their names, of a fixed --batch-size. Detectors
other than SSD are exported as TorchScript, for one image (3, H, W).
"""

import json
from collections.abc import Sequence
from pathlib import Path

from rock_d2 import Predictor
from rock_d2.config import load_config
from rock_d2.engine.command_line import (
    add_model_options,
    one_line_errors,
    parse,
    tool_parser,
)
from rock_d2.export.export import FORMATS, export


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
