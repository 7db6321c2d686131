"""Networks of Python files: equal to the yaml's, and trained and resumed by the same trainer."""

import pytest
import torch
from detectron2.modeling import build_model
from tiny import detector_cfg, item, on_meta
from trainings import new_trainer, stored

from rock_d2.config import load_config
from rock_d2.modeling.lazy import num_classes

LAZY = "lazy/rock_nyuv2.py"


def test_the_python_file_is_the_network_of_the_yaml():
    models = [
        build_model(load_config(name, ["MODEL.DEVICE", "cpu"]))
        for name in ("rock_nyuv2.yaml", LAZY)
    ]
    states = [model.state_dict() for model in models]
    assert list(states[0]) == list(states[1])
    models[1].load_state_dict(states[0])
    trained = [[p.requires_grad for p in model.parameters()] for model in models]
    assert trained[0] == trained[1]
    batch = [item(seed, size=(480, 640)) for seed in range(2)]
    losses = [model.train()(batch) for model in models]
    assert losses[0] == losses[1] and len(losses[0]) == 5
    with torch.no_grad():
        first, second = (model.eval()(batch[:1])[0] for model in models)
    assert torch.equal(first["depth"], second["depth"])
    assert torch.equal(first["instances"].scores, second["instances"].scores)


SMALL = (
    *("MODEL.WEIGHTS", "", "MODEL.LAZY.OVERRIDES", ["neck.width=8"]),
    *("DATASETS.TRAIN", ("rooms_train",), "SOLVER.IMS_PER_BATCH", 2),
)


def test_it_is_trained_with_its_overrides_and_resumed(rooms_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    new_trainer(tmp_path, *SMALL, "SOLVER.MAX_ITER", 1, file=LAZY).train()
    first = stored(tmp_path)["model"]
    assert first["neck.trunk.res5.0.weight"].shape == (8, 2048, 1, 1)
    resumed = new_trainer(tmp_path, *SMALL, "SOLVER.MAX_ITER", 2, file=LAZY, resume=True)
    assert resumed.start_iter == 1
    resumed.train()
    second = stored(tmp_path)["model"]
    assert not torch.equal(first["neck.trunk.res5.0.weight"], second["neck.trunk.res5.0.weight"])


def test_other_tasks_than_the_settings_are_one_line():
    cfg = load_config(LAZY, ["MODEL.DEVICE", "cpu", "MODEL.TASKS.AUXILIARY", ["Depth"]])
    with pytest.raises(ValueError, match=r"rock_nyuv2.py: model.neck.tasks are .*MODEL.TASKS"):
        build_model(cfg)


def test_another_number_of_classes_than_the_data_is_one_line():
    cfg = load_config(LAZY, ["DATASETS.TRAIN", ("cityscapes_train",), "MODEL.DEVICE", "cpu"])
    with pytest.raises(ValueError, match=r"rock_nyuv2.py: .* has 19 classes, but the data have 8"):
        on_meta(cfg)
    cfg.MODEL.LAZY.OVERRIDES = ["detector.head.num_classes=8"]
    assert on_meta(cfg).detector.head.num_classes == num_classes(on_meta(cfg).detector) == 8
    for name, count in (("retinanet", 19), ("mask_rcnn", 19), ("fcos", 19)):
        assert num_classes(on_meta(detector_cfg(name)).detector) == count


def test_a_file_without_a_model_is_one_line(tmp_path):
    (tmp_path / "mine.py").write_text('settings = "rock_nyuv2.yaml"\n')
    with pytest.raises(ValueError, match=r"mine.py is no config: it lacks `model`"):
        load_config(str(tmp_path / "mine.py"))
