"""Parameters and operations by part."""

import pytest
import torch
from detectron2.modeling import build_model
from small_models import DETECTORS, SIZE, small_config

from rock_d2 import model_zoo
from rock_d2.export.complexity import complexity_of, named_parts, num_parameters


def parameters_of(name: str) -> dict[str, int]:
    cfg = model_zoo.get_config(name)
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    return {part: num_parameters(module) for part, module in named_parts(model).items()}


@pytest.mark.parametrize("detector", DETECTORS)
def test_parts_sum_to_the_whole(detector):
    model = build_model(small_config(detector))
    parts, tasks, whole = complexity_of(model, SIZE)
    assert model.training
    for i in range(3):
        assert sum(part[i] for part in parts.values()) == whole[i] > 0
    assert whole.parameters == num_parameters(model)
    assert list(tasks) == [task.name for task in model.neck.tasks]
    # The neck takes no part of the backbone, wherever it stands.
    alone = build_model(small_config(detector, "MODEL.NECK.NAME", "IdentityNeck"))
    assert complexity_of(alone, SIZE).parts["backbone"] == parts["backbone"]
    # 3 -> 64 channels by 7 x 7 at stride 2 is the least of the backbone's work.
    assert parts["backbone"].flops > SIZE[0] * SIZE[1] // 4 * 64 * 3 * 49


def test_paper_size():
    names = ("rock/ssd_nyuv2.yaml", "rock/flat_nyuv2.yaml", "rock_nyuv2.yaml")
    baseline, flat, rock = map(parameters_of, names)
    # Table 4: 32.6 - 27.8 = 4.8 M. Trunk: 2048 * 512 + 9 * 512^2, each with 2 * 512 for the
    # normalisation. Encoders: 513 * (27 + 128 + 384). Decoders: (539 + 3 * 2) * 2048.
    assert rock["neck.trunk"] == 2048 * 512 + 9 * 512**2 + 4 * 512
    assert rock["neck.encoders"] == 513 * 539
    assert rock["neck.fusion"] == 545 * 2048
    assert sum(rock.values()) - sum(baseline.values()) == 4_802_587
    # One 1 x 1 convolution a task: 2049 * (27 + 1 + 3).
    assert flat["neck.predictors"] == 2049 * 31
    # ResNet-50 has 23,508,032 without its classifier, 53,120 of them in batch normalisation.
    assert baseline["backbone"] == 23_508_032 - 53_120


def test_the_share_of_a_task():
    """The parts in its name only: an encoder with its bias, a decoder with its normalisation."""
    rock = complexity_of(build_model(small_config("SSD")), SIZE)
    # conv3 has 128 channels, the trunk 16, the encoding 16; 64 x 96 at stride 8 is 8 x 12.
    parameters, cells = 17 * 16 + (16 + 2) * 128, 96
    assert rock.tasks["depth"] == (parameters, (16 + 128) * 16 * cells, (16 + 128) * cells)
    tasks = sum(task.parameters for task in rock.tasks.values())
    assert tasks == rock.parts["neck.encoders"].parameters + rock.parts["neck.fusion"].parameters
