"""Inference of a batch, also by ONNX Runtime, against Detectron2's RetinaNet R50-FPN.

With SOLVER.COMPILE, also with backbone and neck compiled in this mode. Weights are random: nothing
scores enough for non-maximum suppression, in none of the models.
"""

import argparse
import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling import build_model
from export import export
from torch import nn

from benchmarks.timing import report, take_turns
from rock_d2 import model_zoo
from rock_d2.config import load_config
from rock_d2.modeling.ssd.detector import SSD

ROUNDS, WARM_UP = 10, 2
RETINANET = "detectors/retinanet_plain_nyuv2.yaml"


def run(args: argparse.Namespace) -> None:
    size = tuple(load_config(model_zoo.get_config_file(args.config[0]), args.opts).INPUT.SIZE)
    images = torch.zeros(args.batch_size, 3, *size, dtype=torch.uint8)
    batch = [{"image": image} for image in images]
    candidates: dict[str, Callable[[], Any]] = {}
    for file in (RETINANET, *args.config):
        cfg = load_config(model_zoo.get_config_file(file), ["MODEL.WEIGHTS", "", *args.opts])
        cfg.INPUT.SIZE, cfg.MODEL.DEVICE = list(size), args.device
        model = build_model(cfg).eval()
        if file == RETINANET:
            candidates["Detectron2's RetinaNet R50-FPN"] = partial(model, batch)
            continue
        candidates[file] = partial(model, batch)
        if cfg.SOLVER.COMPILE:
            compiled = deepcopy(model)
            compiled.backbone.compile(mode=cfg.SOLVER.COMPILE)
            candidates[f"{file}, torch.compile"] = partial(compiled, batch)
        if args.device == "cpu" and isinstance(model.detector, SSD):
            session = onnx_session(model, size, args)
            feed = {"images": images.numpy()}
            candidates[f"{file}, ONNX Runtime"] = partial(session.run, None, feed)
    with torch.inference_mode():
        times = take_turns(
            candidates, rounds=args.rounds or ROUNDS, warm_up=WARM_UP, device=args.device
        )
    title = f"Inference, batch {args.batch_size} of {size[0]} x {size[1]}, {args.device}"
    report(times, title=title, images=args.batch_size, file=args.json)


def onnx_session(model: nn.Module, size: tuple[int, int], args: argparse.Namespace) -> Any:
    """Return a session of ONNX Runtime with as many threads as PyTorch."""
    try:
        import onnxruntime
    except ImportError:
        raise ImportError('infer needs onnxruntime: pip install -e ".[export]"') from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        export(model, file, file_format="onnx", image_size=size, batch_size=args.batch_size)
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
