"""How many parameters, operations and activations each part of a model and each task has.

The paper (table 4) counts 27.8 M parameters without ROCK and 32.6 M with it. The 4.8 M between
them are ours too. Our detectors are 2.9 M larger: a ResNet-50 has 23.5 M, which leaves 4.3 M for
the paper's extra maps and predictors, whose widths it does not give; ours are SSD512's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from detectron2.export import TracingAdapter
from detectron2.utils.analysis import FlopCountAnalysis
from fvcore.nn import ActivationCountAnalysis
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
        activations: values that convolutions and matrix products put out for one image.
    """

    parameters: int
    flops: int
    activations: int


class ModelComplexity(NamedTuple):
    """Of a model.

    Attributes:
        parts: in the order of the data; they sum to the whole.
        tasks: what each auxiliary task alone adds to the parts, by its name.
        whole: everything.
    """

    parts: dict[str, Complexity]
    tasks: dict[str, Complexity]
    whole: Complexity


def complexity_of(model: nn.Module, image_size: tuple[int, int]) -> ModelComplexity:
    """Counts while one image runs through.

    Args:
        model: an SSD.
        image_size: height and width.
    """
    inputs = [{"image": torch.zeros(3, *image_size, dtype=torch.uint8)}]
    was_training = model.training
    model.eval()
    with torch.no_grad():
        adapter = TracingAdapter(model, inputs, allow_non_tensor=True)
        flops = FlopCountAnalysis(model, inputs)
        activations = ActivationCountAnalysis(adapter, adapter.flattened_inputs)
        for analysis in (flops, activations):
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        operations = flops.by_module_and_operator()
        values = activations.by_module()
    model.train(was_training)

    def complexity(path: str) -> Complexity:
        # The tracing wrapper calls the model `model`.
        traced = ".".join(filter(None, ("model", path)))
        return Complexity(
            parameters=num_parameters(model.get_submodule(path)),
            flops=sum(int(operations[traced][operation]) for operation in COUNTED),
            activations=int(values[traced]),
        )

    return ModelComplexity(
        parts={path: complexity(path) for path in named_parts(model)},
        tasks={
            task.name: total(complexity(path) for path in paths_of_task(model, task.name))
            for task in model.neck.tasks
        },
        whole=complexity(""),
    )


def total(parts: Iterable[Complexity]) -> Complexity:
    return Complexity(*map(sum, zip(*parts, strict=True)))


def paths_of_task(model: nn.Module, name: str) -> list[str]:
    """The modules that serve this task only: those that a neck keeps under its name."""
    return [path for path, _ in model.named_modules() if path.split(".")[-1] == name]


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


def complexity_table(models: Mapping[str, ModelComplexity]) -> str:
    """A markdown table with columns for each model, named by the keys."""
    units = ("M params", "G MACs", "M activations")
    header = ["part", *(f"{name}, {unit}" for name in models for unit in units)]
    rows = [header, ["---", *["---:"] * (len(header) - 1)]]

    def add_row(title: str, found: Sequence[Complexity | None]) -> None:
        rows.append([title, *(cell for complexity in found for cell in _cells(complexity))])

    parts = dict.fromkeys(part for model in models.values() for part in model.parts)
    for part in sorted(parts, key=lambda name: PARTS.index(name.split(".")[0])):
        add_row(part, [model.parts.get(part) for model in models.values()])
    add_row("**total**", [model.whole for model in models.values()])
    for task in dict.fromkeys(task for model in models.values() for task in model.tasks):
        add_row(f"of it for {task}", [model.tasks.get(task) for model in models.values()])
    return markdown(rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(complexity: Complexity | None) -> tuple[str, ...]:
    if complexity is None:
        return "", "", ""
    parameters, flops, activations = complexity
    return f"{parameters / 1e6:.2f}", f"{flops / 1e9:.2f}", f"{activations / 1e6:.2f}"
