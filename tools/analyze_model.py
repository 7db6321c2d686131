#!/usr/bin/env python
r"""Size and speed of models by part and by task, as Markdown tables: table 4 of the paper.

    python tools/analyze_model.py --config-file configs/rock/ssd_nyuv2.yaml \
        configs/rock/flat_nyuv2.yaml configs/rock_nyuv2.yaml --latency
    python tools/analyze_model.py --single configs/mti/nyud/single_hrnet18.yaml --config-file \
        configs/mti/nyud/mtl_hrnet18.yaml configs/mti/nyud/mti_net_hrnet18.yaml

With --single it is MTI-Net's table 7: whole models, and how much larger or smaller they are than
networks of that config for each of their main tasks together.

Images have INPUT.SIZE. Weights are random: non-maximum suppression has next to nothing to do.

The paper counts 27.8 M parameters without ROCK and 32.6 M with it. ROCK adds 4.8 M here, too; both
models are 2.9 M larger, since SSD512's extra maps are wider than the paper's can be.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.evaluation import inference_context
from detectron2.export import TracingAdapter
from detectron2.modeling import build_model
from detectron2.utils.analysis import FlopCountAnalysis
from fvcore.nn import ActivationCountAnalysis
from tabulate import tabulate
from torch import nn

from rock_d2.config import load_config
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import report, take_turns

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


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    help_of_files = (
        "configs of the models (.yaml, .py), then settings for all of them as KEY VALUE pairs"
    )
    add("--config-file", nargs="+", required=True, metavar="FILE", help=help_of_files)
    single = "config of a network for one task, that the sizes are given relative to"
    add("--single", metavar="FILE", help=single)
    add("--latency", action="store_true", help="also measure the time for an image, in turns")
    add("--rounds", type=int, default=30, metavar="N", help="times each is measured (default: 30)")
    warm_up = "measurements before the --rounds that do not count (default: 5)"
    add("--warm-up", type=int, default=5, metavar="N", help=warm_up)
    device = "device that --latency measures on: cpu or cuda (default: cuda if there is one)"
    add("--device", help=device)
    args = parse(parser, argv)
    files = list(takewhile(lambda word: word.endswith((".yaml", ".py")), args.config_file))
    if not files:
        raise ValueError(f"--config-file: {args.config_file[0]!r} does not end in .yaml or .py")
    opts = [*args.config_file[len(files) :], "MODEL.DEVICE", "cpu"]
    configs = {name: load_config(file, opts) for name, file in named(files).items()}
    models = {name: build_model(cfg) for name, cfg in configs.items()}
    sizes = {name: complexity_of(m, image_size(configs[name])) for name, m in models.items()}
    if args.single:
        singles = [load_config(args.single, [*opts, *alone(task)]) for task in main_tasks(configs)]
        baseline = total(complexity_of(build_model(cfg), image_size(cfg)).whole for cfg in singles)
        print(relative_table({name: size.whole for name, size in sizes.items()}, baseline))
    else:
        print(complexity_table(sizes))
    if args.latency:
        print()
        device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
        candidates = {
            name: inference_of_one(model.to(device), configs[name])
            for name, model in models.items()
        }
        with torch.inference_mode():
            times = take_turns(candidates, rounds=args.rounds, warm_up=args.warm_up, device=device)
        report(times, title=f"An image, {args.rounds} rounds on {device}")


def main_tasks(configs: Mapping[str, CfgNode]) -> list[str]:
    """Return the main tasks that all configs have."""
    found = {name: sorted(cfg.MODEL.TASKS.MAIN) for name, cfg in configs.items()}
    first, *others = found.values()
    if not first or any(tasks != first for tasks in others):
        raise ValueError(f"--single: the models must have the same MODEL.TASKS.MAIN, not {found}")
    return first


def alone(task: str) -> list[str]:
    return ["MODEL.TASKS.MAIN", f'["{task}"]', "MODEL.TASKS.AUXILIARY", "[]"]


def image_size(cfg: CfgNode) -> tuple[int, int]:
    if not cfg.INPUT.SIZE:
        raise ValueError("INPUT.SIZE is []; name the size to analyse, such as [480, 640]")
    return tuple(cfg.INPUT.SIZE)


def inference_of_one(model: nn.Module, cfg: CfgNode) -> partial:
    image = torch.zeros(3, *image_size(cfg), dtype=torch.uint8)
    return partial(model.eval(), [{"image": image}])


def named(files: Sequence[str]) -> Mapping[str, str]:
    """Return the files by their names, with folders where several have the same."""
    paths = {file: Path(file).with_suffix("") for file in files}
    same = Counter(path.name for path in paths.values())
    return {path.name if same[path.name] == 1 else str(path): file for file, path in paths.items()}


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


def complexity_table(models: Mapping[str, ModelComplexity]) -> str:
    """Return a Markdown table with columns for each model, named by the keys."""
    units = ("M params", "G MACs", "M activations")
    header = ["part", *(f"{name}, {unit}" for name in models for unit in units)]

    def row(title: str, found: Sequence[Complexity | None]) -> list[str]:
        return [title, *(cell for complexity in found for cell in cells_of(complexity))]

    parts = dict.fromkeys(part for model in models.values() for part in model.parts)
    tasks = dict.fromkeys(task for model in models.values() for task in model.tasks)
    rows = [
        *(row(part, [model.parts.get(part) for model in models.values()]) for part in parts),
        row("**total**", [model.whole for model in models.values()]),
        *(row(f"for {t} alone", [model.tasks.get(t) for model in models.values()]) for t in tasks),
    ]
    aligned = ("left", *["right"] * (len(header) - 1))
    return tabulate(rows, header, tablefmt="github", disable_numparse=True, colalign=aligned)


def changes(found: Complexity, baseline: Complexity) -> tuple[float, float]:
    """Return how much more parameters and multiply-adds there are than the baseline's, percent."""
    pairs = zip(found[:2], baseline[:2], strict=True)
    return tuple(100 * (here / there - 1) for here, there in pairs)


def relative_table(models: Mapping[str, Complexity], baseline: Complexity) -> str:
    """Return a Markdown table of whole models, relative to the sum of single-task networks."""
    rows = [["single tasks, together", *cells_of(baseline)[:2], "", ""]]
    for name, found in models.items():
        relative = (f"{change:+.1f} %" for change in changes(found, baseline))
        rows.append([name, *cells_of(found)[:2], *relative])
    header = ["model", "M params", "G MACs", "params", "MACs"]
    aligned = ("left", *["right"] * 4)
    return tabulate(rows, header, tablefmt="github", disable_numparse=True, colalign=aligned)


def cells_of(complexity: Complexity | None) -> tuple[str, ...]:
    if complexity is None:
        return "", "", ""
    parameters, flops, activations = complexity
    return f"{parameters / 1e6:.2f}", f"{flops / 1e9:.2f}", f"{activations / 1e6:.2f}"


if __name__ == "__main__":
    with one_line_errors():
        main()
