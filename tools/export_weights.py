#!/usr/bin/env python
"""Write a model's weights alone as safetensors, a format that cannot hold any code.

    python tools/export_weights.py output/rock_rooms/model_best.pth rock.safetensors

Takes all that MODEL.WEIGHTS takes, and MODEL.WEIGHTS takes the new file.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save

from rock_d2.checkpoint.downloads import local_file
from rock_d2.checkpoint.loading import read_weights
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.files import atomic_file


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    parser.add_argument("weights", help="a file or an address")
    parser.add_argument("output", type=Path, help="ends in .safetensors")
    with one_line_errors():
        args = parse(parser, argv)
        export(args.weights, args.output)


def export(weights: str, output: Path) -> None:
    """Write the weights of a file, with the settings of the images that they are for."""
    if output.suffix != ".safetensors":
        raise ValueError(f"{output} must end in .safetensors")
    content = read_weights(local_file(weights))
    # The format knows neither views nor tensors that share memory.
    tensors = {name: x.detach().clone().contiguous() for name, x in content["model"].items()}
    style = json.dumps(content.get("style", {}))
    with atomic_file(output) as file:
        file.write(save(tensors, metadata={"format": "pt", "style": style}))
    print(f"{output}: {len(tensors)} tensors")


if __name__ == "__main__":
    main()
