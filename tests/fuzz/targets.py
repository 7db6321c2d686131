"""What is fuzzed, by name."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from fuzz.data_targets import DatasetDicts, Images, Json, LabelFiles, Predictions
from fuzz.model_targets import Checkpoints, Configs
from fuzz.originals import map_tasks
from fuzz.settings_target import Settings
from fuzz.target import Target

PLAIN_TARGETS = (DatasetDicts, Json, Images, Configs, Checkpoints, Predictions)
# What they need beside this package (an extra, a checkout's datasets folder), module and class.
FURTHER_TARGETS = {
    "nyuv2_files": (("h5py", "nyuv2prep"), "nyuv2prep.fuzzed", "OfficialFiles"),
    "uploads": (("gradio",), "fuzz.uploads", "Uploads"),
}


def target_names() -> list[str]:
    """Those that can be built here; label files go by their tasks' names."""
    return [
        *(target.name for target in PLAIN_TARGETS),
        *(task.name for task in map_tasks()),
        Settings.name,
        *(name for name, (needs, *_) in FURTHER_TARGETS.items() if all(map(find_spec, needs))),
    ]


def build_target(name: str, folder: Path) -> Target:
    for target in (*PLAIN_TARGETS, Settings):
        if target.name == name:
            return target(folder)
    if name in FURTHER_TARGETS:
        _, module, target = FURTHER_TARGETS[name]
        return getattr(import_module(module), target)(folder)
    return LabelFiles(folder, next(task for task in map_tasks() if task.name == name))
