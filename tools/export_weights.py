#!/usr/bin/env python
"""Writes a model's weights alone as safetensors, a format that cannot hold any code.

    python tools/export_weights.py output/rock_rooms/model_best.pth rock.safetensors
    python tools/export_weights.py output/rock_rooms/model_final.pth small.safetensors --half

Takes all that MODEL.WEIGHTS takes, and MODEL.WEIGHTS takes the new file. It keeps the names of a
checkpoint's classes and the kind of its images.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save

from rock_d2.checkpoint.downloads import local_file
from rock_d2.checkpoint.loading import FACTS, read_weights
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.files import atomic_file


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("weights", help="the file of the weights, or its address")
    add("output", type=Path, help="the file to write; its name ends in .safetensors")
    add("--half", action="store_true", help="store matrices and filters in 16 bits: half the size")
    args = parse(parser, argv)
    export(args.weights, args.output, half=args.half)


def export(weights: str, output: Path, *, half: bool) -> None:
    """Write the weights of a file, with the settings of their images and names of classes."""
    if output.suffix != ".safetensors":
        raise ValueError(f"{output} must end in .safetensors")
    content = read_weights(local_file(weights))
    # The format knows neither views nor tensors that share memory.
    tensors = {name: x.detach().clone().contiguous() for name, x in content["model"].items()}
    if half:
        # Statistics and biases are few, and 16 bits hold nothing above 65504.
        tensors = {name: x.half() if is_large(x) else x for name, x in tensors.items()}
    stored = {key: json.dumps(content[key]) for key in FACTS if content.get(key)}
    with atomic_file(output) as file:
        file.write(save(tensors, metadata={"format": "pt", **stored}))
    print(f"{output}: {len(tensors)} tensors, {output.stat().st_size / 1e6:.1f} MB")


def is_large(tensor: torch.Tensor) -> bool:
    return tensor.ndim > 1 and tensor.dtype == torch.float32


if __name__ == "__main__":
    with one_line_errors():
        main()
