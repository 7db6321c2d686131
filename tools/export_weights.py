#!/usr/bin/env python
"""Writes a model's weights alone as safetensors, a format that cannot hold any code.

    python tools/export_weights.py output/rock_rooms/model_best.pth rock.safetensors

Takes all that MODEL.WEIGHTS takes, and MODEL.WEIGHTS takes the new file.
"""

import argparse
from pathlib import Path

from rock_d2.engine.arguments import one_line, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("weights", help="a file or an address")
    parser.add_argument("output", type=Path, help="ends in .safetensors")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # Not at the top: --help need not wait for PyTorch.
    from rock_d2.checkpoint.downloads import local_file
    from rock_d2.checkpoint.loading import read_checkpoint, write_safetensors

    if args.output.suffix != ".safetensors":
        raise ValueError(f"{args.output} must end in .safetensors")
    content = read_checkpoint(local_file(args.weights))
    write_safetensors(args.output, content["model"], style=content.get("style", {}))
    print(f"{args.output}: {len(content['model'])} tensors")


if __name__ == "__main__":
    with one_line("export_weights"):
        main(parse_args())
