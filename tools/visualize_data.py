#!/usr/bin/env python
"""Draws a data set: objects, and the label of every task.

    python tools/visualize_data.py --dataset rooms_train --num-images 16 --contact-sheet
    python tools/visualize_data.py --source dataloader --config-file configs/rock_rooms.yaml SEED 1

`annotation` is the ground truth as it lies on disk, `dataloader` the first that a training gets to
see: after augmentation and at the model's size. Settings can follow as KEY VALUE pairs.
"""

import argparse

from rock_d2.engine.arguments import add_picture_arguments, one_line, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument(
        "--source",
        choices=("annotation", "dataloader"),
        default="annotation",
        help="the ground truth before or after augmentation (default: before)",
    )
    parser.add_argument(
        "--config-file",
        default="configs/rock_rooms.yaml",
        metavar="FILE",
        help="of the augmentation and the tasks (default: %(default)s)",
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="registered name (default: the config's DATASETS.TRAIN)"
    )
    add_picture_arguments(parser, "output/visualize_data", num_images=16, columns=2)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # Not at the top: --help need not wait for PyTorch.
    from rock_d2.config import load_config
    from rock_d2.data.loader import check_registered
    from rock_d2.visualization import write_pictures
    from rock_d2.visualization.datasets import annotation_pictures, dataloader_pictures

    cfg = load_config(args.config_file, args.opts)
    if args.dataset:
        cfg.DATASETS.TRAIN = (args.dataset,)
    check_registered(cfg.DATASETS.TRAIN, "--dataset" if args.dataset else "DATASETS.TRAIN")
    dataset = cfg.DATASETS.TRAIN[0]
    sources = {"annotation": annotation_pictures, "dataloader": dataloader_pictures}
    write_pictures(sources[args.source](cfg, args.num_images), dataset, args)


if __name__ == "__main__":
    with one_line("visualize_data"):
        main(parse_args())
