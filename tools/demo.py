#!/usr/bin/env python
r"""Runs a trained model on one's own images, a video or the webcam, or in a page of the browser.

    python tools/demo.py --config-file configs/rock/rock_rooms.yaml \
        --weights output/rock_rooms/model_final.pth --input kitchen.jpg office.jpg --output seen
    python tools/demo.py --config-file ... --weights ... --input walk.mp4 --output seen.mp4
    python tools/demo.py --config-file ... --weights ... --web
"""

import argparse
from pathlib import Path

from rock_d2.engine.arguments import one_line, tool_parser


def parse_args() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="of the model")
    parser.add_argument(
        "--weights", metavar="FILE", help="of the trained model (default: its MODEL.WEIGHTS)"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        help="images, folders of images, one video, or the word webcam (until Ctrl-C)",
    )
    source.add_argument("--web", action="store_true", help="serve a page on this machine")
    parser.add_argument(
        "--output", type=Path, metavar="PATH", help="folder; for one image or a video: the file"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="also write the predictions: FILE.json with FILE_<task>.npy, or VIDEO.jsonl",
    )
    parser.add_argument(
        "--confidence-threshold",
        type=float,
        default=0.5,
        metavar="SCORE",
        help="of the detections shown and written (default: %(default)s)",
    )
    parser.add_argument(
        "--baseline-config-file", metavar="FILE", help="of another model, shown beside on the page"
    )
    parser.add_argument("--baseline-weights", metavar="FILE", help="of the other model")
    parser.add_argument("--host", default="127.0.0.1", help="of the page (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="of the page (default: %(default)s)")
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="settings of the config; last of all arguments",
    )
    args = parser.parse_args()
    if args.input and not args.output:
        parser.error("--input needs --output")
    if args.input and args.baseline_config_file:
        parser.error("--baseline-config-file needs --web")
    if args.baseline_weights and not args.baseline_config_file:
        parser.error("--baseline-weights needs --baseline-config-file")
    return args


def main(args: argparse.Namespace) -> None:
    # Not at the top: --help need not wait for PyTorch.
    from rock_d2.demo import is_video, list_images, output_files, run_on_images, run_on_video
    from rock_d2.predictor import Predictor

    if args.web:
        show_page(args)
        return
    video = is_video(args.input)
    # Wrong names are told before a model is built.
    images = [] if video else list_images(args.input)
    output_files(images, args.output)
    predictor = Predictor(args.config_file, args.weights, opts=args.opts)
    choices = {"score_threshold": args.confidence_threshold, "write_json": args.json}
    if video:
        count = run_on_video(predictor, args.input[0], args.output, **choices)
        print(f"{count} frames of {args.input[0]} drawn in {args.output}")
    else:
        run_on_images(predictor, images, args.output, **choices)
        print(f"{len(images)} images drawn in {args.output}")


def show_page(args: argparse.Namespace) -> None:
    from rock_d2.predictor import Predictor
    from rock_d2.web import serve  # Gradio is an extra.

    predictor = Predictor(args.config_file, args.weights, opts=args.opts)
    baseline = None
    if args.baseline_config_file:
        baseline = Predictor(args.baseline_config_file, args.baseline_weights, opts=args.opts)
    serve(
        predictor,
        args.host,
        args.port,
        score_threshold=args.confidence_threshold,
        baseline=baseline,
    )


if __name__ == "__main__":
    with one_line("demo"):
        main(parse_args())
