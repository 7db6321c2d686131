#!/usr/bin/env python
r"""Draws a model's predictions above the ground truth, as figure 3 of the paper.

    python tools/visualize_predictions.py --config-file configs/rock_rooms.yaml \
        --weights output/rock_rooms/model_final.pth --num-images 8 --contact-sheet

With --baseline-config-file and --baseline-weights, the detections of another model come before
the model's own. Settings of both configs can follow as KEY VALUE pairs.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rock_d2.engine.arguments import add_picture_arguments, one_line, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="of the model")
    parser.add_argument(
        "--weights", metavar="FILE", help="of the trained model (default: its MODEL.WEIGHTS)"
    )
    parser.add_argument("--baseline-config-file", metavar="FILE", help="of another model")
    parser.add_argument("--baseline-weights", metavar="FILE", help="of the other model")
    parser.add_argument(
        "--dataset", metavar="NAME", help="registered name (default: the config's DATASETS.TEST)"
    )
    parser.add_argument(
        "--confidence-threshold",
        type=float,
        default=0.5,
        help="of the detections drawn (default: %(default)s)",
    )
    add_picture_arguments(
        parser, output_dir="output/visualize_predictions", num_images=8, columns=1
    )
    args = parser.parse_args()
    if args.baseline_weights and not args.baseline_config_file:
        parser.error("--baseline-weights needs --baseline-config-file")
    return args


def main(args: argparse.Namespace) -> None:
    # Not at the top: --help need not wait for PyTorch.
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from tqdm import tqdm

    from rock_d2.config import load_config
    from rock_d2.data.loader import check_registered
    from rock_d2.predictor import Predictor
    from rock_d2.visualization import draw_comparison, evenly_spaced, write_pictures

    cfg = load_config(args.config_file, args.opts)
    dataset = args.dataset or cfg.DATASETS.TEST[0]
    check_registered([dataset], "--dataset" if args.dataset else "DATASETS.TEST")
    predictor = Predictor(cfg, args.weights)
    baseline = None
    if args.baseline_config_file:
        baseline = Predictor(args.baseline_config_file, args.baseline_weights, opts=args.opts)
    records = evenly_spaced(DatasetCatalog.get(dataset), args.num_images)

    def pictures() -> Iterator[tuple[str, Any]]:
        for record in tqdm(records, desc="drawing"):
            picture = draw_comparison(
                record,
                predictor(record["file_name"], encodings=True),
                predictor.tasks,
                MetadataCatalog.get(dataset),
                args.confidence_threshold,
                baseline=baseline and baseline(record["file_name"]),
            )
            yield f"{dataset}_{Path(record['file_name']).stem}", picture

    write_pictures(pictures(), dataset, args)


if __name__ == "__main__":
    with one_line("visualize_predictions"):
        main(parse_args())
