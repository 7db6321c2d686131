"""How many parameters, operations and activations each part of a model and each task has.

The paper (table 4) counts 27.8 M parameters without ROCK and 32.6 M with it. ROCK adds 4.8 M here,
too; both models are 2.9 M larger, since SSD512's extra maps are wider than the paper's can be.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from detectron2.evaluation import inference_context
from detectron2.export import TracingAdapter
from detectron2.utils.analysis import FlopCountAnalysis
from fvcore.nn import ActivationCountAnalysis
from torch import nn

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
        parts: the detector's and the neck's; they sum to the whole.
        tasks: the share of each task alone, by its name.
        whole: everything.
    """

    parts: dict[str, Complexity]
    tasks: dict[str, Complexity]
    whole: Complexity


def complexity_of(model: nn.Module, image_size: tuple[int, int]) -> ModelComplexity:
    """Count while one image runs through.

    Args:
        model: a MultiTask.
        image_size: height and width.
    """
    inputs = [{"image": torch.zeros(3, *image_size, dtype=torch.uint8)}]
    with inference_context(model), torch.no_grad():
        adapter = TracingAdapter(model, inputs, allow_non_tensor=True)
        flops = FlopCountAnalysis(model, inputs)
        activations = ActivationCountAnalysis(adapter, adapter.flattened_inputs)
        for analysis in (flops, activations):
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        operations, values = flops.by_module_and_operator(), activations.by_module()
    # The tracing wrapper calls the model `model`.
    paths = {m: f"model.{path}".removesuffix(".") for path, m in model.named_modules()}

    def complexity(module: nn.Module) -> Complexity:
        path = paths[module]
        counted = sum(int(operations[path][operation]) for operation in COUNTED)
        return Complexity(num_parameters(module), counted, int(values[path]))

    whole = complexity(model)
    parts = {name: complexity(part) for name, part in named_parts(model).items()}
    # The neck runs in a hook of the backbone or of its part, and may be counted as theirs, too.
    others = total(part for name, part in parts.items() if name != "backbone")
    parts["backbone"] = Complexity(*(a - b for a, b in zip(whole, others, strict=True)))
    tasks = {
        task.name: total(map(complexity, modules_of(model.neck, task.name)))
        for task in model.neck.tasks
    }
    return ModelComplexity(parts, tasks, whole)


def total(parts: Iterable[Complexity]) -> Complexity:
    return Complexity(*map(sum, zip(Complexity(0, 0, 0), *parts, strict=True)))


def modules_of(neck: nn.Module, task: str) -> list[nn.Module]:
    """Return the modules that serve this task only: those that a neck keeps under its name."""
    return [module for name, module in neck.named_modules() if name.split(".")[-1] == task]


def named_parts(model: nn.Module) -> dict[str, nn.Module]:
    """Return the parts of a MultiTask's detector and neck that have parameters."""
    detector = dict(model.detector.named_children())
    neck = {f"neck.{name}": module for name, module in model.neck.named_children()}
    parts = {"backbone": detector["backbone"], **neck, **detector}
    return {name: part for name, part in parts.items() if num_parameters(part)}


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
