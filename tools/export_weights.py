#!/usr/bin/env python
"""Writes a model's weights alone as safetensors, a format that cannot hold any code.

    python tools/export_weights.py output/rock_rooms/model_best.pth rock.safetensors
    python tools/export_weights.py output/rock_rooms/model_final.pth small.safetensors --half

Takes all that MODEL.WEIGHTS takes, and MODEL.WEIGHTS takes the new file. The names of the classes
come with it, so that Predictor and the demo need no data set for them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from detectron2.data import MetadataCatalog
from safetensors.torch import save

from rock_d2.checkpoint.downloads import local_file
from rock_d2.checkpoint.loading import read_weights
from rock_d2.config import load_config
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.files import atomic_file


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("weights", help="the file of the weights, or its address")
    add("output", type=Path, help="the file to write; its name ends in .safetensors")
    add("--half", action="store_true", help="store matrices and filters in 16 bits: half the size")
    config = "of the model, for the names of its classes (default: config.yaml beside the weights)"
    add("--config-file", metavar="FILE", help=config)
    args = parse(parser, argv)
    config = args.config_file or Path(args.weights).with_name("config.yaml")
    found = args.config_file or Path(config).is_file()
    export(args.weights, args.output, half=args.half, classes=class_names(config) if found else {})


def class_names(config: str | Path) -> dict[str, list[str]]:
    """Return the names that a config's first data set gives to classes of any kind."""
    data = load_config(config).DATASETS
    metadata = MetadataCatalog.get([*data.TEST, *data.TRAIN, "none"][0])
    # A data set may read the first when it is asked.
    names = metadata.as_dict() | {"thing_classes": metadata.get("thing_classes")}
    return {key: list(x) for key, x in names.items() if key.endswith("_classes") and x}


def export(weights: str, output: Path, *, half: bool, classes: Mapping[str, list[str]]) -> None:
    """Write the weights of a file, with the settings of their images and names of classes."""
    if output.suffix != ".safetensors":
        raise ValueError(f"{output} must end in .safetensors")
    content = read_weights(local_file(weights))
    # The format knows neither views nor tensors that share memory.
    tensors = {name: x.detach().clone().contiguous() for name, x in content["model"].items()}
    if half:
        # Statistics and biases are few, and 16 bits hold nothing above 65504.
        tensors = {name: x.half() if is_large(x) else x for name, x in tensors.items()}
    facts = {"style": content.get("style", {}), "classes": classes or content.get("classes", {})}
    stored = {key: json.dumps(value) for key, value in facts.items() if value}
    with atomic_file(output) as file:
        file.write(save(tensors, metadata={"format": "pt", **stored}))
    print(f"{output}: {len(tensors)} tensors, {output.stat().st_size / 1e6:.1f} MB")


def is_large(tensor: torch.Tensor) -> bool:
    return tensor.ndim > 1 and tensor.dtype == torch.float32


if __name__ == "__main__":
    with one_line_errors():
        main()
