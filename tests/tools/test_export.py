"""The export command; tests/export/test_exported_models.py compares what the files compute."""

import json
import re
import shutil

import export
import pytest
import torch
from command_line import ROOT
from tiny_model import CONFIG, OPTS

from rock_d2 import Predictor

pytest_plugins = ("tiny_weights",)


@pytest.mark.filterwarnings("ignore")
def test_a_trained_model_becomes_a_file(tiny_weights, tmp_path):
    file = tmp_path / "made" / "rock.pt"
    model = ("--config-file", str(ROOT / CONFIG), "--weights", str(tiny_weights["rock"]))
    words = ["--format", "torchscript", "--output", str(file), *model, "--auxiliary"]
    export.main([*words, "--batch-size", "2", *OPTS])
    facts = json.loads((tmp_path / "made" / "rock.pt.json").read_text())
    assert facts["images"] == ["uint8", 2, 3, 96, 128]
    assert facts["channels"] == "BGR"
    assert len(facts["classes"]) == 19
    outputs = torch.jit.load(file)(torch.zeros(2, 3, 96, 128, dtype=torch.uint8))
    found = dict(zip(facts["outputs"], outputs, strict=True))
    assert found["boxes"].shape == (2, 100, 4)
    assert found["depth"].shape == (2, 1, 96, 128)
    assert (found["scores"] > 0).any()


@pytest.mark.filterwarnings("ignore")
def test_docs_example_gives_the_predictor_s_numbers(tmp_path, monkeypatch):
    for library in ("onnxscript", "onnxruntime"):
        pytest.importorskip(library, reason=f"{library}: pip install -e .[export]")
    monkeypatch.chdir(tmp_path)
    examples = ROOT / "rock_d2" / "model_zoo" / "examples"
    shutil.copy(examples / "dining_room.jpg", "image.jpg")
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/EXPORT.md").read_text(), re.S)
    export.main(["--output", "rock.onnx"])
    found = {}
    exec(snippet, found)
    wanted = Predictor("rock_rooms")("image.jpg").instances
    assert len(wanted) > 20 and wanted.scores[0] > 0.9
    assert found["scores"] == pytest.approx(wanted.scores.numpy(), abs=1e-4)
    assert found["classes"].tolist() == wanted.pred_classes.tolist()
    assert found["boxes"] == pytest.approx(wanted.pred_boxes.tensor.numpy(), abs=0.05)
