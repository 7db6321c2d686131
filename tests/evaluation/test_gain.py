"""The gain over single-task networks, from figures and from files."""

import re

import gain as gain_tool
import pytest

from rock_d2.config import load_config
from rock_d2.engine.results import build_gain
from rock_d2.evaluation.gain import gain, gain_over, read_means
from rock_d2.evaluation.protocols import find_protocol, protocol_of
from rock_d2.evaluation.results import save_results
from rock_d2.model_zoo import get_config

NYUD = find_protocol("nyud40_480x640")


def test_a_smaller_error_is_a_gain():
    found = gain(
        {"sem_seg/miou": 0.33, "depth/rmse": 0.6, "depth/abs_rel": 9.0},
        {"sem_seg/miou": 0.30, "depth/rmse": 0.5, "depth/abs_rel": 0.1},
        protocol=NYUD,
    )
    assert found.parts == pytest.approx({"sem_seg/miou": 10, "depth/rmse": -20})
    assert found.delta == pytest.approx(-5) and found.missing == ()


def test_a_model_may_be_of_no_use():
    metrics = {"sem_seg/miou": 0.0, "depth/rmse": 1.0}
    found = gain(metrics, {"sem_seg/miou": 0.5, "depth/rmse": 1.0}, protocol=NYUD)
    assert found.delta == -50 and found.missing == ()
    found = gain({"sem_seg/miou": 0.5, "depth/rmse": 1.0}, metrics, protocol=NYUD)
    assert found.missing == ("sem_seg/miou of the baseline",)
    with pytest.raises(ValueError, match=r"TEST\.BASELINE is empty"):
        read_means([])


def test_missing_metrics_are_said():
    metrics = {"sem_seg/miou": 0.3, "depth/rmse": 0.5}
    found = gain(metrics, {"depth/rmse": 1.0}, protocol=NYUD)
    assert found.delta is None and found.parts == {"depth/rmse": 50}
    assert found.missing == ("sem_seg/miou of the baseline",)
    # Auxiliary tasks do not count; the main ones do.
    assert gain(metrics, {"depth/rmse": 1.0}, protocol=NYUD, tasks=["depth"]).delta == 50
    found = gain(metrics, metrics, protocol=NYUD, tasks=["normals", "scene"])
    assert found.missing[0] == "a metric for scene" and len(found.missing) == 3


def save(file, protocol="nyud40_480x640", main=("sem_seg", "depth"), **values):
    names = {"miou": "sem_seg", "rmse": "depth"}
    results = {names[name]: {name: value} for name, value in values.items()}
    save_results(results, file, protocol=protocol, main=main)
    return file


def test_a_baseline_is_the_mean_of_its_seeds(tmp_path, capsys):
    files = [
        save(tmp_path / f"{name}.json", main=["sem_seg"], miou=miou)
        for name, miou in (("seed1", 0.2), ("seed2", 0.4))
    ]
    files.append(save(tmp_path / "depth.json", main=["depth"], rmse=1.0))
    model = read_means([save(tmp_path / "model.json", miou=0.33, rmse=0.9)])
    # 0.33 / 0.3 and 0.9 / 1.
    assert gain_over(model, read_means(files)).delta == pytest.approx(10)
    gain_tool.main([str(tmp_path / "model.json"), "--baseline", *map(str, files)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "protocol: nyud40_480x640"
    assert re.fullmatch(r"\| \*\*Δm\*\* +\| \+10.00 % +\|", lines[-1])
    other = read_means([save(tmp_path / "crop.json", "nyud40_425x560", rmse=1.0)])
    with pytest.raises(ValueError, match="model was measured by nyud40_480x640, the baseline by"):
        gain_over(model, other)
    with pytest.raises(ValueError, match=r"crop.json by nyud40_425x560.*by one protocol"):
        read_means([files[0], tmp_path / "crop.json"])
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"list.json: no results of an evaluation"):
        read_means([tmp_path / "list.json"])


def test_a_baselines_other_tasks_do_not_count(tmp_path):
    files = [
        save(tmp_path / "seg.json", main=["sem_seg"], miou=0.3, rmse=5.0),
        save(tmp_path / "depth.json", main=["depth"], rmse=0.5),
    ]
    model = read_means([save(tmp_path / "model.json", miou=0.33, rmse=0.6)])
    found = gain_over(model, read_means(files))
    assert found.parts == pytest.approx({"sem_seg/miou": 10, "depth/rmse": -20})


def test_a_task_of_one_model_does_not_make_another_protocol(tmp_path):
    name, capped = "nyud40_480x640", "nyud40_480x640+DEPTH.EVAL_CAP=10.0"
    seg = save(tmp_path / "seg.json", name, main=["sem_seg"], miou=0.3)
    depth = save(tmp_path / "depth.json", capped, main=["depth"], rmse=1.0)
    baseline = read_means([seg, depth])
    assert baseline.protocol == capped
    model = read_means([save(tmp_path / "model.json", capped, miou=0.33, rmse=0.9)])
    assert gain_over(model, baseline).delta == pytest.approx(10)
    other = save(tmp_path / "other.json", name, miou=0.33, rmse=0.9)
    for compare in (
        lambda: read_means([other, depth]),
        lambda: gain_over(read_means([other]), baseline),
    ):
        with pytest.raises(ValueError, match="by one protocol"):
            compare()


def test_a_protocol_of_ones_own_has_its_own_metrics(tmp_path):
    own = tmp_path / "my rooms.yaml"
    own.write_text("datasets: [rooms_val]\nmetrics: {sem_seg/pixel_acc: max}\n")
    cfg = load_config(get_config("mti/rooms/single_hrnet18.yaml"), ["TEST.PROTOCOL", str(own)])
    name = protocol_of(cfg, "rooms_val").on("rooms_val", 3)
    for file, value in (("model", 0.6), ("single", 0.5)):
        results = {"sem_seg": {"pixel_acc": value, "miou": 0.1}}
        save_results(results, tmp_path / f"{file}.json", protocol=name, main=["sem_seg"])
    model, single = (read_means([tmp_path / f"{file}.json"]) for file in ("model", "single"))
    assert gain_over(model, single).parts == pytest.approx({"sem_seg/pixel_acc": 20})


def test_a_model_is_chosen_by_its_gain_on_validation_images_only(tmp_path, rooms_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    name = "rooms on rooms_train"
    baseline = save(tmp_path / "single.json", name, miou=0.2, rmse=1.0)
    wanted = ["TEST.BEST_METRIC", "delta_m", "TEST.BASELINE", f'["{baseline}"]', "DATASETS.TEST"]
    cfg = get_config("mti/rooms/mtl_hrnet18.yaml")
    assert build_gain(cfg) is None
    # As if these images were not trained on.
    trained = load_config(cfg, [*wanted, '("rooms_train",)'])
    with pytest.raises(ValueError, match=r"15 images of rooms_train are in DATASETS\.TRAIN"):
        build_gain(trained)
    cfg = load_config(cfg, ["DATASETS.TRAIN", '("rooms_val",)'])
    with pytest.raises(ValueError, match=r"TEST\.BEST_MODE is min; delta_m wants max"):
        build_gain(load_config(cfg, [*wanted, '("rooms_train",)', "TEST.BEST_MODE", "min"]))
    derived = build_gain(load_config(cfg, [*wanted, '("rooms_train",)']))
    assert derived({"sem_seg/miou": 0.22, "depth/rmse": 0.8}) == {"delta_m": pytest.approx(15)}
    assert derived({"sem_seg/miou": 0.22}) == {}
    save(baseline, name, miou=0.2)
    with pytest.raises(ValueError, match=r"TEST.BASELINE .* no depth/rmse of the baseline"):
        build_gain(load_config(cfg, [*wanted, '("rooms_train",)']))
    # By another protocol they are the test images, too.
    for protocol in ("rooms", "nyud40_480x640"):
        opts = [*wanted, '("rooms_val",)', "TEST.PROTOCOL", protocol]
        with pytest.raises(ValueError, match=r"choose a model by the test images rooms_val; name"):
            build_gain(load_config(cfg, opts))
