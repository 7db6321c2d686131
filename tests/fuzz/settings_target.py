"""Settings with values of the right type that may make no sense."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from rock_d2 import register_multitask_coco
from rock_d2.engine.ending import Ending
from rock_d2.engine.writers import flat_settings
from rock_d2.engine.setup import check_config
from rock_d2.engine.trainer import RockTrainer
from fuzz.mutations import Generator
from fuzz.originals import coco_document, small_config, write_images
from fuzz.target import Target

# Detectron2's own that nothing here reads.
UNREAD = (
    *("VERSION", "OUTPUT_DIR", "GLOBAL.", "VIS_PERIOD", "MODEL.RPN.", "MODEL.ROI_", "MODEL.MASK"),
    *("MODEL.RETINANET.", "MODEL.SEM_SEG", "MODEL.PANOPTIC", "MODEL.ANCHOR_", "MODEL.PROPOSAL"),
    *("MODEL.KEYPOINT", "MODEL.FPN.", "MODEL.LOAD_PROP", "TEST.KEYPOINT", "TEST.AUG."),
    *("INPUT.MIN_SIZE", "INPUT.MAX_SIZE", "INPUT.MASK", "TEST.PRECISE", "DATASETS.PRECOMPUTED"),
    *("DATASETS.PROPOSAL", "WANDB", "TEST.EXPECTED"),
)
# A compiler's minutes; processes; a whole evaluation.
DEAR = ("SOLVER.COMPILE", "SOLVER.CUDA_GRAPH", "TEST.COMPILE", "SOLVER.PROCESS_TIMEOUT")
NUMBERS = {
    int: (-3, -1, 0, 1, 2, 3, 5, 7, 12, 18, 50, 101),
    float: (-1.0, -0.0, 0.0, 1e-9, 0.3, 1.0, 1.5, 7.0, 1e9, float("nan"), float("inf")),
}
WORDS = ("", " ", "nothing", "auto", "cpu", "BN", "SyncBN", "FrozenBN", "GN", "LN", "res2", "min")
DATA_SET = "fuzzed_settings"


class Settings(Target):
    """One setting of a training that is changed: a step and a prediction with it."""

    name = "settings"

    def __init__(self, folder: Path):
        super().__init__(folder)
        rooms = MetadataCatalog.get("rooms_train").as_dict()
        known = {key: value for key, value in rooms.items() if key not in ("name", "json_file")}
        del known["image_root"], known["evaluator_type"]
        file = folder / "annotations.json"
        record = write_images(folder, np.random.default_rng(0))
        file.write_text(json.dumps(coco_document(record, names=known["thing_classes"])))
        if DATA_SET in DatasetCatalog.list():
            DatasetCatalog.remove(DATA_SET)
            MetadataCatalog.remove(DATA_SET)
        register_multitask_coco(DATA_SET, str(file), str(folder), **known)
        self.original = small_config()
        data = ("DATASETS.TRAIN", (DATA_SET,), "DATASETS.TEST", (DATA_SET,))
        self.original.merge_from_list([*data, "DATALOADER.RESIDENT", False])
        unread = (*UNREAD, *DEAR)
        self.settings = [x for x in flat_settings(self.original) if not x[0].startswith(unread)]

    def change(self, rng: Generator) -> str:
        key, value = self.settings[rng.integers(len(self.settings))]
        changed = another(rng, value)
        self.cfg = self.original.clone()
        *path, last = key.split(".")
        node = self.cfg
        for part in path:
            node = node[part]
        node[last] = tuple(changed) if isinstance(node[last], tuple) else changed
        self.names = (key,)
        return f"{key} = {changed!r}"

    def use(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.cfg.OUTPUT_DIR = folder
            check_config(self.cfg)
            # What comes of one worker comes of a hundred.
            self.cfg.DATALOADER.NUM_WORKERS = min(self.cfg.DATALOADER.NUM_WORKERS, 1)
            trainer = RockTrainer(self.cfg)
            trainer.resume_or_load(resume=False)
            try:
                trainer._trainer.run()
                trainer.scheduler.step()
            except Ending as reason:
                raise ValueError(str(reason)) from reason
            model = trainer.checkpointer.model.eval()
            loader = trainer.build_test_loader(self.cfg, DATA_SET)
            with torch.no_grad():
                model(next(iter(loader)))


def another(rng: Generator, value: Any) -> Any:
    """A value of the same type."""
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
    match rng.integers(5):
        case 0:
            return []
        case 1:
            return value[::-1]
        case 2:
            return [*value, value[place]]
    return [*value[:place], another(rng, value[place]), *value[place + 1 :]]
