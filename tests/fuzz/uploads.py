"""What browsers and hand-made requests send to the page of tools/demo.py, damaged."""

from pathlib import Path
from typing import Any

import cv2
import gradio
import numpy as np
import torch
from detectron2.modeling import build_model

from rock_d2.predictor import Predictor
from fuzz.mutations import ODD_VALUES, Generator, changed_bytes, changed_tree
from fuzz.originals import small_config
from fuzz.target import Target
from rock_d2.web import answer_within, look_at

ENDS = (".bmp", ".jpg", ".png", ".webp", ".gif", ".tiff")


class Uploads(Target):
    """A file, what the request says of it, and the threshold."""

    name = "uploads"

    def __init__(self, folder: Path):
        super().__init__(folder)
        # Messages go to strangers: they name the upload, and no path.
        self.names = ("the file", "the image", "upload", "threshold")
        self.file = folder / "upload"
        pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
        self.originals = [cv2.imencode(end, pixels)[1].tobytes() for end in ENDS]
        cfg = small_config()
        torch.manual_seed(0)
        weights = folder.parent / f"{folder.name}.pth"
        torch.save({"model": build_model(cfg).state_dict()}, weights)
        predictor = Predictor(cfg, weights)
        weights.unlink()
        self.answer = answer_within(
            20, lambda image, score: look_at(image, predictor, score), num_outputs=1
        )

    def change(self, rng: Generator) -> str:
        what, content = changed_bytes(rng, self.originals[rng.integers(len(self.originals))])
        self.file.write_bytes(content)
        self.request: Any = {"path": str(self.file), "meta": {"_type": "gradio.FileData"}}
        self.score: Any = 0.5
        match rng.integers(6):
            case 0:
                what, self.request = changed_tree(rng, self.request)
            case 1:
                self.score = ODD_VALUES[rng.integers(len(ODD_VALUES))]
                self.file.write_bytes(self.originals[0])
                what = f"threshold {self.score!r:.60}"
        return what

    def use(self) -> None:
        try:
            self.answer(self.request, self.score)
        except gradio.Error as error:
            raise ValueError(error.message) from error
