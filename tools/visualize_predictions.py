#!/usr/bin/env python
r"""Draws a model's predictions above the ground truth, as figure 3 of the ROCK paper.

    python tools/visualize_predictions.py --config-file configs/rock/rock_rooms.yaml \
        --weights output/rock_rooms/model_final.pth --num-images 8

With --baseline-config-file and --baseline-weights, the detections of another model come before
the model's own. Settings of both configs can follow as KEY VALUE pairs.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from contact_sheet import write_pictures
from detectron2.data import DatasetCatalog, MetadataCatalog
from tqdm import tqdm

from rock_d2.classes import class_names, places_of, renumbered, thing_classes
from rock_d2.config import load_config
from rock_d2.data.loader import check_registered
from rock_d2.engine.command_line import (
    add_model_options,
    one_line_errors,
    parse,
    tool_parser,
)
from rock_d2.predictor import Predictor
from rock_d2.visualization import draw_comparison, evenly_spaced


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add_model_options(parser)
    baseline = "yaml file of another model, whose detections are drawn beside this one's"
    add("--baseline-config-file", metavar="FILE", help=baseline)
    weights = "the other model's file (default: MODEL.WEIGHTS of its config)"
    add("--baseline-weights", metavar="FILE", help=weights)
    dataset = "registered name of the data set (default: the first of the config's DATASETS.TEST)"
    add("--dataset", metavar="NAME", help=dataset)
    score = "score from which a detection is drawn (default: %(default)s)"
    add("--confidence-threshold", type=float, default=0.5, metavar="SCORE", help=score)
    output = "folder that the pictures are written to (default: %(default)s)"
    folder = "output/visualize_predictions"
    add("--output-dir", type=Path, default=folder, metavar="DIR", help=output)
    count = "images that are drawn, evenly spaced over the set (default: %(default)s)"
    add("--num-images", type=int, default=8, metavar="N", help=count)
    add("opts", nargs="*", metavar="KEY VALUE", help="settings, such as MODEL.DEVICE cuda")
    return parser


def main(args: argparse.Namespace) -> None:
    if args.baseline_weights and not args.baseline_config_file:
        raise ValueError("--baseline-weights needs --baseline-config-file")
    cfg = load_config(args.config_file, args.opts)
    names = [args.dataset] if args.dataset else cfg.DATASETS.TEST
    check_registered(names, "--dataset" if args.dataset else "DATASETS.TEST")
    if not names:
        raise ValueError("DATASETS.TEST is empty; name a data set by --dataset")
    predictor, baseline = Predictor(cfg, args.weights), None
    folder, dataset = args.output_dir, names[0]
    places = places_of(class_names(cfg), thing_classes(dataset))
    if args.baseline_config_file:
        other = load_config(args.baseline_config_file, args.opts)
        baseline = Predictor(other, args.baseline_weights)
        other_places = places_of(class_names(other), thing_classes(dataset))
    records = evenly_spaced(DatasetCatalog.get(dataset), args.num_images)

    def pictures() -> Iterator[tuple[str, np.ndarray]]:
        for record in tqdm(records, desc="drawing"):
            picture = draw_comparison(
                record,
                renumbered(predictor(record["file_name"], encodings=True), places),
                predictor.tasks,
                MetadataCatalog.get(dataset),
                args.confidence_threshold,
                baseline=baseline and renumbered(baseline(record["file_name"]), other_places),
            )
            yield f"{dataset}_{Path(record['file_name']).stem}", picture

    count = write_pictures(pictures(), folder)
    print(f"{count} images of {dataset} drawn in {folder}")


if __name__ == "__main__":
    with one_line_errors():
        main(parse(make_parser()))
