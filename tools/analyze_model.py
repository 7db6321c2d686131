#!/usr/bin/env python
r"""Size and speed of models by part and by task, as markdown tables: table 4 of the paper.

    python tools/analyze_model.py --config-file configs/ssd_nyuv2.yaml configs/flat_nyuv2.yaml \
        configs/rock_nyuv2.yaml --latency

Sizes are those of the model as it is trained, times those of what evaluation and demo.py run
(TEST.FOLD, TEST.COMPILE). Weights are random: non-maximum suppression has next to nothing to do.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from rock_d2.engine.arguments import one_line, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument(
        "--config-file",
        nargs="+",
        required=True,
        metavar="FILE",
        help="one or several, then KEY VALUE pairs for all of them",
    )
    parser.add_argument(
        "--latency", action="store_true", help="measure the time for an image, models in turns"
    )
    parser.add_argument(
        "--rounds", type=int, default=30, help="of the measurement (default: %(default)s)"
    )
    parser.add_argument(
        "--warm-up", type=int, default=5, help="rounds before (default: %(default)s)"
    )
    parser.add_argument(
        "--device", help="of the measurement (default: cuda where there is one, else cpu)"
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # Not at the top: --help need not wait for PyTorch.
    import torch
    from detectron2.modeling import build_model

    from benchmarks.latency import latency_table, measure_latency
    from rock_d2.config import load_config
    from rock_d2.export.complexity import complexity_of, complexity_table
    from rock_d2.export.fuse import inference_copy

    files = list(takewhile(lambda word: word.endswith(".yaml"), args.config_file))
    if not files:
        raise ValueError(f"--config-file: {args.config_file[0]!r} does not end in .yaml")
    opts = [*args.config_file[len(files) :], "MODEL.DEVICE", "cpu"]
    configs = {name: load_config(file, opts) for name, file in named(files).items()}
    models = {name: build_model(cfg) for name, cfg in configs.items()}
    sizes = {name: complexity_of(model, model.input_size) for name, model in models.items()}
    print(complexity_table(sizes))
    if args.latency:
        device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
        copies = {
            name: inference_copy(model.to(device), configs[name]) for name, model in models.items()
        }
        times = measure_latency(copies, rounds=args.rounds, warm_up=args.warm_up)
        count = torch.get_num_threads()
        threads = f"{count} CPU thread{'s' if count > 1 else ''}"
        print(f"\n{args.rounds} rounds on {device}, {threads}\n")
        print(latency_table(times))


def named(files: Sequence[str]) -> dict[str, str]:
    """Files by their names, with folders where several have the same."""
    paths = {file: Path(file).with_suffix("") for file in files}
    same = Counter(path.name for path in paths.values())
    return {path.name if same[path.name] == 1 else str(path): file for file, path in paths.items()}


if __name__ == "__main__":
    with one_line("analyze_model"):
        main(parse_args())
