#!/usr/bin/env python
r"""Size and speed of models by part and by task, as Markdown tables: table 4 of the paper.

    python tools/analyze_model.py --config-file configs/ssd_nyuv2.yaml configs/flat_nyuv2.yaml \
        configs/rock_nyuv2.yaml --latency

Sizes are those of the model as it is trained, times those of the copy that evaluation and demo.py
run (TEST.FOLD, TEST.COMPILE). Images have INPUT.SIZE. Weights are random: non-maximum suppression
has next to nothing to do.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from tabulate import tabulate

from rock_d2.config import load_config
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.export.complexity import Complexity, ModelComplexity, complexity_of
from rock_d2.export.fuse import inference_copy

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import report, take_turns


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    help_of_files = "one or several, then KEY VALUE pairs for all of them"
    add("--config-file", nargs="+", required=True, metavar="FILE", help=help_of_files)
    add("--latency", action="store_true", help="measure the time for an image, models in turns")
    add("--rounds", type=int, default=30, help="of the measurement (default: %(default)s)")
    add("--warm-up", type=int, default=5, help="rounds before (default: %(default)s)")
    add("--device", help="of the measurement (default: cuda where there is one, else cpu)")
    args = parse(parser, argv)
    files = list(takewhile(lambda word: word.endswith(".yaml"), args.config_file))
    if not files:
        raise ValueError(f"--config-file: {args.config_file[0]!r} does not end in .yaml")
    opts = [*args.config_file[len(files) :], "MODEL.DEVICE", "cpu"]
    configs = {name: load_config(file, opts) for name, file in named(files).items()}
    models = {name: build_model(cfg) for name, cfg in configs.items()}
    sizes = {name: complexity_of(m, image_size(configs[name])) for name, m in models.items()}
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


def image_size(cfg: CfgNode) -> tuple[int, int]:
    if not cfg.INPUT.SIZE:
        raise ValueError("INPUT.SIZE is []; name the size to analyse, such as [480, 640]")
    return tuple(cfg.INPUT.SIZE)


def inference_of_one(model: torch.nn.Module, cfg: CfgNode) -> partial:
    image = torch.zeros(3, *image_size(cfg), dtype=torch.uint8)
    return partial(inference_copy(model.eval(), cfg), [{"image": image}])


def named(files: Sequence[str]) -> Mapping[str, str]:
    """Return the files by their names, with folders where several have the same."""
    paths = {file: Path(file).with_suffix("") for file in files}
    same = Counter(path.name for path in paths.values())
    return {path.name if same[path.name] == 1 else str(path): file for file, path in paths.items()}


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


def cells_of(complexity: Complexity | None) -> tuple[str, ...]:
    if complexity is None:
        return "", "", ""
    parameters, flops, activations = complexity
    return f"{parameters / 1e6:.2f}", f"{flops / 1e9:.2f}", f"{activations / 1e6:.2f}"


if __name__ == "__main__":
    with one_line_errors():
        main()
