"""Parameters and operations by part."""

import pytest
import torch
from detectron2.modeling import build_model

from rock_d2 import model_zoo
from rock_d2.export.complexity import complexity_of, named_parts, num_parameters


def parameters_of(name: str) -> dict[str, int]:
    cfg = model_zoo.get_config(name)
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    return {part: num_parameters(module) for part, module in named_parts(model).items()}


@pytest.mark.parametrize("name", ["ssd", "flat", "rock"])
def test_parts_sum_to_the_whole(name):
    model = model_zoo.get(f"quick_schedules/{name}_rooms_quick.yaml", device="cpu")
    parts, tasks, whole = complexity_of(model, model.input_size)
    assert model.training
    assert sum(part.parameters for part in parts.values()) == whole.parameters
    assert whole.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert sum(part.flops for part in parts.values()) == whole.flops
    assert sum(part.activations for part in parts.values()) == whole.activations
    assert list(tasks) == [task.name for task in model.neck.tasks]
    # 3 -> 64 channels by 7 x 7 at stride 2 is the least of what the backbone does.
    assert parts["backbone"].flops > 60 * 80 * 64 * 3 * 49


def test_paper_size():
    baseline, flat, rock = (parameters_of(f"{name}_nyuv2.yaml") for name in ("ssd", "flat", "rock"))
    # Table 4: 32.6 - 27.8 = 4.8 M. Trunk: 2048 * 512 + 9 * 512^2, each with 2 * 512 for the
    # normalisation. Encoders: 513 * (27 + 128 + 384). Decoders: (539 + 3 * 2) * 2048.
    assert rock["neck.trunk"] == 2048 * 512 + 9 * 512**2 + 4 * 512
    assert rock["neck.encoders"] == 513 * 539
    assert rock["neck.fusion"] == 545 * 2048
    added = sum(rock.values()) - sum(baseline.values())
    assert added == 3_409_920 + 276_507 + 1_116_160
    assert abs(added - 4.80e6) < 0.03e6
    # One 1 x 1 convolution a task: 2049 * (27 + 1 + 3).
    assert flat["neck.heads"] == 2049 * 31
    # ResNet-50 has 23,508,032 without its classifier, 53,120 of them in batch normalisation.
    assert baseline["backbone"] == 23_508_032 - 53_120


def test_what_a_task_adds():
    """The parts in its name only: an encoder and a decoder in ROCK, a head in the flat model."""
    flat = model_zoo.get("quick_schedules/flat_rooms_quick.yaml", device="cpu")
    rock = model_zoo.get("quick_schedules/rock_rooms_quick.yaml", device="cpu")
    flat, rock = (complexity_of(model, model.input_size) for model in (flat, rock))
    # conv3 has 128 channels, the trunk 64, the encoding 16; 120 x 160 at stride 8 is 15 x 20.
    cells = 300
    assert flat.tasks["depth"] == (128 + 1, 128 * cells, cells)
    # An encoder with its bias, a decoder with its normalisation.
    parameters = 65 * 16 + (16 + 2) * 128
    assert rock.tasks["depth"] == (parameters, (64 + 128) * 16 * cells, (16 + 128) * cells)
    tasks = sum(task.parameters for task in rock.tasks.values())
    assert tasks == rock.parts["neck.encoders"].parameters + rock.parts["neck.fusion"].parameters
