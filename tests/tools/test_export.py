"""The export command; tests/export/test_exported_models.py compares what the files compute."""

import json

import export
import pytest
import torch
from command_line import ROOT
from tiny_model import CONFIG, OPTS

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
