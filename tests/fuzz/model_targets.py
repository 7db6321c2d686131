"""Configs, single settings and checkpoints, damaged."""

import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from safetensors.torch import save

from fuzz.mutations import Generator, changed_bytes, changed_tree
from fuzz.target import Target, coco_document, small_config, write_images
from rock_d2 import register_multitask_coco
from rock_d2.checkpoint.checkpointer import RockCheckpointer
from rock_d2.config import load_config
from rock_d2.engine import RockTrainer
from rock_d2.engine.setup import check_config
from rock_d2.engine.writers import flat_settings

# Settings that are fuzzed: those of rock_d2, and Detectron2's that its trainer obeys.
FUZZED = (
    *(
        "MODEL.SSD.",
        "MODEL.RESNETS.OUT_FEATURES",
        "MODEL.ROCK.",
        "MODEL.NECK.",
        "MODEL.TASKS.",
        "MODEL.BALANCING.",
        "MODEL_EMA.",
    ),
    *("MODEL.META_ARCHITECTURE", "MODEL.DETECTOR", "MODEL.DEVICE", "MODEL.BACKBONE.NAME", "SEED"),
    *("INPUT.SIZE", "INPUT.MIN_IOU_CROP.", "INPUT.EXPAND.", "INPUT.COLOR_AUG.", "INPUT.FORMAT"),
    *("DATASETS.T", "DATALOADER.", "SOLVER.", "TEST.BEST", "TEST.IMS", "TEST.COCO", "TEST.EVAL"),
)
# A compiler's minutes; processes; what Detectron2 refuses in its own words.
OTHERS = ("SOLVER.COMPILE", "SOLVER.PROCESS_", "SOLVER.REFERENCE_", "SOLVER.LR_SCHEDULER_")
NUMBERS = {
    int: (-3, -1, 0, 1, 2, 3, 5, 7, 12, 18, 50, 101),
    float: (-1.0, -0.0, 0.0, 1e-9, 0.3, 1.0, 1.5, 7.0, 1e9, float("nan"), float("inf")),
}
WORDS = ("", " ", "nothing", "auto", "cpu", "BN", "SyncBN", "FrozenBN", "GN", "LN", "res2", "min")


class Configs(Target):
    def __init__(self, folder: Path):
        super().__init__(folder)
        cfg = small_config()
        self.text = cfg.dump()
        self.file = folder / "config.yaml"
        # A value that is impossible here is named by its setting.
        self.names = (str(folder), *(f"{part}." for part in cfg), "SEED")

    def change(self, rng: Generator) -> str:
        if rng.random() < 0.7:
            what, tree = changed_tree(rng, yaml.safe_load(self.text))
            self.file.write_text(yaml.safe_dump(tree))
        else:
            what, content = changed_bytes(rng, self.text.encode())
            self.file.write_bytes(content)
        return what

    def use(self) -> None:
        check_config(load_config(self.file))


class Settings(Target):
    """One setting of a training that has another value of its type: a step and a prediction."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        rooms = MetadataCatalog.get("rooms_train").as_dict()
        known = ("thing_classes", "scene_classes", "depth_range", "intrinsics")
        file = folder / "annotations.json"
        document = coco_document(write_images(folder), names=rooms["thing_classes"])
        file.write_text(json.dumps(document))
        # Each folder has its own, as a process may build this twice.
        name = f"fuzzed_{folder}"
        facts = {key: rooms[key] for key in known if key in rooms}
        register_multitask_coco(name, str(file), str(folder), **facts)
        data = ("DATASETS.TRAIN", (name,), "DATASETS.TEST", (name,))
        self.original = load_config(small_config(), [*data, "DATALOADER.RESIDENT", False])
        settings = [x for x in flat_settings(self.original) if x[0].startswith(FUZZED)]
        self.settings = [x for x in settings if not x[0].startswith(OTHERS)]

    def change(self, rng: Generator) -> str:
        key, value = self.settings[rng.integers(len(self.settings))]
        changed = another(rng, value)
        self.cfg = self.original.clone()
        *path, last = key.split(".")
        node = self.cfg
        for part in path:
            node = node[part]
        node[last] = tuple(changed) if isinstance(node[last], tuple) else changed
        # Messages of PyTorch and Detectron2 name the value, or the setting in words.
        self.names = (key, last, last.replace("_", " ").lower(), str(changed) or last)
        return f"{key} = {changed!r}"

    def use(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.cfg.OUTPUT_DIR = folder
            check_config(self.cfg)
            # One worker and one iteration show as much as a hundred; evaluations are long.
            self.cfg.DATALOADER.NUM_WORKERS = min(self.cfg.DATALOADER.NUM_WORKERS, 1)
            self.cfg.SOLVER.MAX_ITER = min(self.cfg.SOLVER.MAX_ITER, 1)
            test, self.cfg.DATASETS.TEST = self.cfg.DATASETS.TEST, ()
            trainer = RockTrainer(self.cfg)
            trainer.resume_or_load(resume=False)
            try:
                trainer.train()
            except FloatingPointError:
                return  # as it has to be at a rate of 1e9
            model = trainer.checkpointer.model.eval()
            for name in test:
                with torch.no_grad():
                    model(next(iter(trainer.build_test_loader(self.cfg, name))))


def another(rng: Generator, value: Any) -> Any:
    """Return a value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        choices = NUMBERS[type(value)]
        return choices[rng.integers(len(choices))]
    if isinstance(value, str):
        return WORDS[rng.integers(len(WORDS))]
    if not isinstance(value, list) or not value:
        return value
    place = int(rng.integers(len(value)))
    one_changed = [*value[:place], another(rng, value[place]), *value[place + 1 :]]
    choices = ([], value[::-1], [*value, value[place]], one_changed, one_changed)
    return choices[rng.integers(len(choices))]


class Checkpoints(Target):
    def __init__(self, folder: Path):
        super().__init__(folder)
        self.cfg = small_config()
        torch.manual_seed(0)
        self.model = build_model(self.cfg)
        RockCheckpointer(self.cfg, model=self.model, save_dir=str(folder)).save("model")
        self.pth = (folder / "model.pth").read_bytes()
        self.content = torch.load(folder / "model.pth", weights_only=True)

    def change(self, rng: Generator) -> str:
        for file in self.folder.iterdir():
            file.unlink()
        end = (".pth", ".pkl", ".safetensors")[rng.integers(3)]
        self.file = self.folder / f"model{end}"
        what, changed = changed_bytes(rng, self._original(end))
        self.file.write_bytes(changed)
        return f"{end}: {what}"

    def _original(self, end: str) -> bytes:
        if end == ".pth":
            return self.pth
        if end == ".safetensors":
            return save(dict(self.content["model"]))
        arrays = {name: x.numpy() for name, x in self.content["model"].items()}
        return pickle.dumps({**self.content, "model": arrays}, protocol=2)

    def use(self) -> None:
        RockCheckpointer(self.cfg, model=self.model).load(str(self.file))
