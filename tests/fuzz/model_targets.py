"""Configs and checkpoints, damaged."""

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling import build_model
from safetensors.torch import save

from rock_d2 import model_zoo
from rock_d2.config import load_config
from rock_d2.checkpoint.checkpointer import RockCheckpointer
from rock_d2.engine.setup import check_config
from fuzz.mutations import Generator, changed_bytes, changed_lines, changed_tree
from fuzz.originals import CONFIG, small_config
from fuzz.target import Target


class Configs(Target):
    name = "configs"

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.files = [Path(model_zoo.get_config_file(name)) for name in (CONFIG, "rock_rooms.yaml")]
        self.text = load_config(self.files[0]).dump()
        self.file = folder / "config.yaml"
        # What is right by itself and impossible here is named by its setting.
        self.names = (*self.names, *(f"{part}." for part in load_config(self.files[0])), "SEED")

    def change(self, rng: Generator) -> str:
        text = (*(file.read_text() for file in self.files), self.text)[rng.integers(3)]
        base = self.files[1].parent / "ssd_rooms.yaml"
        text = re.sub("^_BASE_:.*", f"_BASE_: {base}", text, flags=re.MULTILINE)
        if rng.random() < 0.7:
            what, text = changed_lines(rng, text)
            self.file.write_text(text, errors="replace")
        else:
            what, content = changed_bytes(rng, text.encode())
            self.file.write_bytes(content)
        return what

    def use(self) -> None:
        check_config(load_config(self.file))


class Checkpoints(Target):
    name = "checkpoints"

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.cfg = small_config()
        torch.manual_seed(0)
        self.model = build_model(self.cfg)
        self.content = {
            "model": self.model.state_dict(),
            "style": RockCheckpointer(self.cfg, model=self.model).style,
            "iteration": 3,
        }

    def change(self, rng: Generator) -> str:
        for file in self.folder.iterdir():
            file.unlink()
        end = (".pth", ".pkl", ".safetensors")[rng.integers(3)]
        self.file = self.folder / f"model{end}"
        what, content = "", self.content
        if rng.random() < 0.5 and end != ".safetensors":
            what, content = self._changed_content(rng)
        self._write(content)
        if not what:
            what, changed = changed_bytes(rng, self.file.read_bytes())
            self.file.write_bytes(changed)
        return f"{end}: {what}"

    def _changed_content(self, rng: Generator) -> tuple[str, Any]:
        """Another tree of the same tensors, which stand for themselves while it is made."""
        names = {name: name for name in self.content["model"]}
        odd = (None, 3, "", [], {}, [1], "backbone.stem.conv1.weight", float("nan"))
        what, tree = changed_tree(rng, {**self.content, "model": names}, odd)
        if isinstance(tree.get("model"), dict):
            tensors = self.content["model"]
            tree["model"] = {
                name: tensors[x] if isinstance(x, str) and x in tensors else x
                for name, x in tree["model"].items()
            }
        return what, tree

    def _write(self, content: Any) -> None:
        if self.file.suffix == ".pth":
            torch.save(content, self.file)
        elif self.file.suffix == ".safetensors":
            self.file.write_bytes(save(dict(content["model"])))
        else:
            model = content.get("model")
            if isinstance(model, dict):
                arrays = {n: x.numpy() if torch.is_tensor(x) else x for n, x in model.items()}
                content = {**content, "model": arrays}
            self.file.write_bytes(pickle.dumps(content, protocol=2))

    def use(self) -> None:
        RockCheckpointer(self.cfg, model=self.model).load(str(self.file))
