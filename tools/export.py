#!/usr/bin/env python
r"""Writes a trained model as one file that needs neither this project nor Detectron2.

    python tools/export.py --config-file configs/rock_rooms.yaml \
        --weights output/rock_rooms/model_final.pth --format onnx --output model.onnx

In go uint8 images (N, 3, H, W) of INPUT.SIZE in INPUT.FORMAT's order, out come boxes, scores and
classes after non-maximum suppression; docs/EXPORT.md has an example. A JSON file beside it names
all of that.
"""

import argparse
from pathlib import Path

from rock_d2.engine.arguments import one_line, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE")
    add("--weights", metavar="FILE", help="default: the config's MODEL.WEIGHTS")
    add("--format", default="onnx", choices=["onnx", "torchscript", "torch_export"])
    add("--output", type=Path, required=True, metavar="FILE")
    add("--batch-size", type=int, metavar="N", help="of all batches (default: any)")
    add(
        "--auxiliary",
        action="store_true",
        help="puts out the auxiliary predictions too; needs --batch-size",
    )
    add("opts", nargs="*", metavar="KEY VALUE", help="settings of the config")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # Not at the top: --help need not wait for PyTorch.
    from rock_d2.export.export import export_trained

    print(export_trained(args))


if __name__ == "__main__":
    with one_line("export"):
        main(parse_args())
