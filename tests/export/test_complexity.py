"""Parameters and operations by part."""

import pytest
from analyze_model import complexity_of, named_parts, num_parameters
from detectron2.modeling import build_model
from lively import DETECTORS, SIZE, rock_cfg
from tiny import on_meta

from rock_d2 import model_zoo


@pytest.mark.parametrize("detector", DETECTORS)
def test_parts_sum_to_the_whole(detector):
    model = build_model(rock_cfg(detector))
    parts, tasks, whole = complexity_of(model, SIZE)
    assert model.training
    for i in range(3):
        assert sum(part[i] for part in parts.values()) == whole[i] > 0
    assert whole.parameters == num_parameters(model)
    assert list(tasks) == [task.name for task in model.neck.tasks]
    # The neck takes no part of the backbone, wherever it stands.
    alone = build_model(rock_cfg(detector, "MODEL.NECK.NAME", "IdentityNeck"))
    assert complexity_of(alone, SIZE).parts["backbone"] == parts["backbone"]


def test_parts_of_the_papers_network():
    parts = named_parts(on_meta(model_zoo.get_config("rock_nyuv2.yaml")))
    count = {name: num_parameters(part) for name, part in parts.items()}
    # Table 4. Trunk: 2048 * 512 + 9 * 512^2, each with 2 * 512 for the normalisation. Encoders:
    # 513 * (27 + 128 + 384). Decoders: (539 + 3 * 2) * 2048.
    assert count["neck.trunk"] == 2048 * 512 + 9 * 512**2 + 4 * 512
    assert count["neck.encoders"] == 513 * 539
    assert count["neck.fusion"] == 545 * 2048
    # ResNet-50 has 23,508,032 without its classifier, 53,120 of them in batch normalisation.
    assert count["backbone"] == 23_508_032 - 53_120


def test_the_share_of_a_task():
    """The parts in its name only: an encoder with its bias, a decoder with its normalisation."""
    rock = complexity_of(build_model(rock_cfg("ssd")), SIZE)
    # conv5 has 512 channels, the trunk 16, the encoding 4; 96 x 128 at stride 32 is 3 x 4.
    parameters, cells = 17 * 4 + (4 + 2) * 512, 12
    assert rock.tasks["depth"] == (parameters, (16 + 512) * 4 * cells, (4 + 512) * cells)
    tasks = sum(task.parameters for task in rock.tasks.values())
    assert tasks == rock.parts["neck.encoders"].parameters + rock.parts["neck.fusion"].parameters
