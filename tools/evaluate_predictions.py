#!/usr/bin/env python
r"""Scores stored predictions, without a model.

    python tools/evaluate_predictions.py --dataset rooms_val \
        --predictions output/inference/rooms_val/coco_instances_results.json \
        --aux-dir output/inference/rooms_val

Evaluation writes both into OUTPUT_DIR/inference/<data set>: the boxes always, the auxiliary
tasks' predictions with TEST.SAVE_AUXILIARY True. Settings such as TEST.EVAL_CROP can follow as
KEY VALUE pairs.

A folder that `tools/demo.py --json --confidence-threshold 0` has filled is scored too: its files
have the names of the images. It holds no auxiliary predictions in this form.
"""

import argparse
from pathlib import Path

from rock_d2.engine.arguments import one_line, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("--dataset", required=True, metavar="NAME", help="its registered name")
    parser.add_argument(
        "--predictions",
        type=Path,
        required=True,
        metavar="PATH",
        help="boxes in COCO's result format, or a folder of demo.py's --json",
    )
    parser.add_argument(
        "--aux-dir", type=Path, metavar="DIR", help="has a folder of .npz files for each task"
    )
    parser.add_argument("--config-file", metavar="FILE", help="settings other than the defaults")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="default: results.json beside the predictions"
    )
    parser.add_argument("opts", nargs="*", help="KEY VALUE pairs of the config")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # Not at the top: --help need not wait for PyTorch.
    from detectron2.config import get_cfg

    from rock_d2.config import add_rock_config
    from rock_d2.config import load_config
    from rock_d2.data.loader import check_registered
    from rock_d2.engine.stored_predictions import evaluate_boxes, evaluate_tasks
    from rock_d2.evaluation.results import results_table, save_results

    defaults = get_cfg()
    add_rock_config(defaults)
    cfg = load_config(args.config_file or defaults, args.opts)
    check_registered([args.dataset], "--dataset")
    results = {"bbox": evaluate_boxes(cfg, args.dataset, args.predictions)}
    if args.aux_dir:
        results |= evaluate_tasks(cfg, args.dataset, args.aux_dir)
    print(results_table(results))
    output = args.output or args.predictions.with_name("results.json")
    save_results(results, output)
    print(f"\nresults: {output}")


if __name__ == "__main__":
    with one_line("evaluate_predictions"):
        main(parse_args())
