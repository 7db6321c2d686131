"""How many parameters and operations each part of a model has.

The paper (table 4) counts 27.8 M parameters without ROCK and 32.6 M with it. The 4.8 M between
them are ours too. Our detectors are 2.9 M larger: a ResNet-50 has 23.5 M, which leaves 4.3 M for
the paper's extra maps and predictors, whose widths it does not give; ours are SSD512's.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from detectron2.utils.analysis import FlopCountAnalysis
from torch import nn

# In the order of the data.
PARTS = ("backbone", "neck", "head")
# fvcore's names of convolutions and matrix products.
COUNTED = ("conv", "linear", "addmm", "matmul", "mm", "bmm", "einsum")


class Complexity(NamedTuple):
    """Of a part of a model.

    Attributes:
        parameters: values that are learnt or could be; frozen batch normalisation has none.
        flops: multiply-adds of convolutions and matrix products for one image.
    """

    parameters: int
    flops: int


def complexity_by_part(
    model: nn.Module, image_size: tuple[int, int]
) -> tuple[dict[str, Complexity], Complexity]:
    """The parts in the order of the data, and the whole model.

    Args:
        model: an SSD.
        image_size: height and width.
    """
    image = torch.zeros(3, *image_size, dtype=torch.uint8)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        analysis = FlopCountAnalysis(model, [{"image": image}])
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        operations = analysis.by_module_and_operator()
    model.train(was_training)

    def complexity(part: nn.Module, path: str) -> Complexity:
        return Complexity(
            parameters=num_parameters(part),
            flops=sum(int(operations[path][operation]) for operation in COUNTED),
        )

    # The tracing wrapper calls the model `model`.
    parts = {name: complexity(part, f"model.{name}") for name, part in named_parts(model).items()}
    return parts, complexity(model, "model")


def named_parts(model: nn.Module) -> dict[str, nn.Module]:
    """The model's parts, and in place of the neck what it consists of; none without parameters."""
    parts = {}
    for name in PARTS:
        part = model.get_submodule(name)
        children = part.named_children() if name == "neck" else ()
        parts |= {f"{name}.{child}": module for child, module in children} or {name: part}
    return {name: part for name, part in parts.items() if num_parameters(part)}


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def complexity_table(models: Mapping[str, tuple[dict[str, Complexity], Complexity]]) -> str:
    """A markdown table of what ``complexity_by_part`` returns, a column pair for each model."""
    names = list(models)
    parts = dict.fromkeys(part for by_part, _ in models.values() for part in by_part)
    header = ["part", *(f"{name}, {unit}" for name in names for unit in ("M params", "G MACs"))]
    rows = [header, ["---", *["---:"] * (len(header) - 1)]]
    for part in sorted(parts, key=lambda name: PARTS.index(name.split(".")[0])):
        found = [by_part.get(part) for by_part, _ in models.values()]
        rows.append([part, *(cell for c in found for cell in _cells(c))])
    rows.append(["**total**", *(cell for _, whole in models.values() for cell in _cells(whole))])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(complexity: Complexity | None) -> tuple[str, str]:
    if complexity is None:
        return "", ""
    return f"{complexity.parameters / 1e6:.2f}", f"{complexity.flops / 1e9:.2f}"
