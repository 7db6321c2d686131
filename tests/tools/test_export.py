"""The export command; tests/modeling/test_exported_models.py compares what the files compute."""

import json

import torch
import torchvision  # noqa: F401 (the file calls its operation nms)
from command_line import run, run_warm
from tiny_model import CONFIG, OPTS

pytest_plugins = ("tiny_weights",)


def test_a_trained_model_becomes_a_file(tiny_weights, tmp_path):
    file = tmp_path / "made" / "rock.pt"
    done = run(
        *("-W", "ignore", "tools/export.py", "--format", "torchscript", "--output", file),
        *("--batch-size", "2", "--auxiliary", "--config-file", CONFIG),
        *("--weights", tiny_weights["rock"], *OPTS),
        root=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "made" / "rock.pt.json").read_text())
    assert facts["images"] == ["uint8", 2, 3, 96, 128]
    assert facts["channels"] == "BGR"
    assert len(facts["classes"]) == 19
    outputs = torch.jit.load(file)(torch.zeros(2, 3, 96, 128, dtype=torch.uint8))
    found = dict(zip(facts["outputs"], outputs, strict=True))
    assert found["boxes"].shape == (2, 100, 4)
    assert found["depth"].shape == (2, 1, 96, 128)
    assert (found["scores"] > 0).any()


def test_one_line_says_what_cannot_be(tiny_weights, tmp_path):
    done = run_warm(
        *("tools/export.py", "--format", "torchscript", "--output", tmp_path / "x"),
        *("--auxiliary", "--config-file", CONFIG, "--weights", tiny_weights["rock"], *OPTS),
        root=tmp_path,
    )
    assert done.returncode == 1
    message = "export: auxiliary predictions can be exported for a fixed batch size only"
    assert done.stderr.strip().endswith(message)
