"""Protocols: the files, and what they do to maps."""

import numpy as np
import pytest

from rock_d2.config import CONFIGS, load_config
from rock_d2.evaluation.protocols import (
    FOLDER,
    Protocol,
    find_protocol,
    is_test_set,
    load_protocol,
    protocol_of,
)
from rock_d2.model_zoo import get_config

FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_is_a_protocol(file):
    protocol = load_protocol(file)
    assert protocol.datasets and protocol.metrics
    tasks = [name.split("/")[0] for name in protocol.metrics]
    assert len(set(tasks)) == len(tasks)
    errors = {name for name, best in protocol.metrics.items() if best == "min"}
    assert errors == {"depth/rmse", "normals/mean_angle", "disparity/mean_abs"} & {
        *protocol.metrics
    }


# Images, crop, and of edges the largest distance, suppression and thresholds (the papers).
NYU_EDGES, NO_EDGES = (0.011, False, 99), (None, None, None)
PROTOCOLS = {
    "cityscapes_det8": (500, "none", NO_EDGES),
    "nyud13_288x384": (654, "none", NYU_EDGES),
    "nyud40_425x560": (654, "gupta", NYU_EDGES),
    "nyud40_480x640": (654, "none", NYU_EDGES),
    "nyuv2_det19": (654, "none", NYU_EDGES),
    "nyuv2_det19_gupta": (654, "none", NYU_EDGES),
    "pascal_mt_2498": (2498, "none", (0.0075, False, 99)),
    "pascal_mt_5105": (5105, "none", (0.0075, True, 101)),
    "rooms": (600, "none", NYU_EDGES),
}


def test_protocols_have_the_figures_of_their_papers():
    keys = [f"MODEL.TASKS.EDGES.{name}" for name in ("MAX_DIST", "NMS", "THRESHOLDS")]
    found = {}
    for file in FILES:
        protocol = load_protocol(file)
        edges = tuple(protocol.settings.get(key) for key in keys)
        found[protocol.name] = (protocol.images, protocol.crop, edges)
    assert found == PROTOCOLS


def test_an_archives_labels_have_a_name_of_their_own():
    # Of the same images, by an unknown method.
    for name in ("nyud40_480x640", "nyud13_288x384"):
        assert find_protocol(name).on("nyud_mt_val", 654) == f"{name} on nyud_mt_val"


@pytest.mark.parametrize(
    "name", ["nyuv2_port_test", "nyuv2_gupta_test", "nyud_mt_val", "sunrgbd_test", "rooms_val"]
)
def test_images_for_tests_are_known(name):
    assert is_test_set(name) and not is_test_set("nyuv2_val122")


def test_a_name_says_what_it_is_not():
    protocol = find_protocol("nyud40_480x640")
    assert protocol.on("nyuv2_test", 654) == "nyud40_480x640"
    assert protocol.on("nyuv2_test", 600) == "nyud40_480x640 on 600 images"
    assert protocol.on("nyuv2_val122", 122) == "nyud40_480x640 on nyuv2_val122"
    cfg = get_config("mti/nyud/mti_net_hrnet18.yaml")
    assert protocol_of(cfg, "nyuv2_test") == protocol
    cropped = protocol_of(load_config(cfg, ["TEST.EVAL_CROP", "eigen"]), "nyuv2_test")
    assert (cropped.name, cropped.crop) == ("nyud40_480x640+eigen", "eigen")
    assert find_protocol(cropped.on("nyuv2_test", 3)).metrics == protocol.metrics
    capped = protocol_of(load_config(cfg, ["MODEL.TASKS.DEPTH.EVAL_CAP", 10.0]), "nyuv2_test")
    assert capped.name == "nyud40_480x640+DEPTH.EVAL_CAP=10.0"
    rounded = protocol_of(load_config(cfg, ["TEST.QUANTISE", True]), "nyuv2_test")
    assert (rounded.name, rounded.quantise) == ("nyud40_480x640+quantised", True)
    # Settings of tasks that a model has not do not count.
    nms = ["MODEL.TASKS.EDGES.NMS", True]
    assert protocol_of(load_config(cfg, nms), "nyuv2_test") == protocol
    cfg = get_config("mti/nyud/mti_net_ne_hrnet18.yaml")
    assert protocol_of(cfg, "nyuv2_test") == protocol
    assert (
        protocol_of(load_config(cfg, nms), "nyuv2_test").name == f"{protocol.name}+EDGES.NMS=True"
    )
    plain = protocol_of(load_config(cfg, ["TEST.PROTOCOL", ""]), "nyuv2_test")
    assert plain.name == "nyuv2_det19"
    with pytest.raises(ValueError, match=r"TEST\.PROTOCOL is 'nyud41'; it must be a yaml file, or"):
        protocol_of(load_config(cfg, ["TEST.PROTOCOL", "nyud41"]), "nyuv2_test")


def test_the_crop_and_the_size_are_those_of_the_name():
    rows, columns = np.mgrid[:480, :640]
    label = np.stack([rows, columns], axis=2)
    prediction = label.transpose(2, 0, 1)
    found, true = find_protocol("nyud40_425x560").applied("depth", prediction, label)
    # cropIt.m: I(46:470, 41:600, :), counted from 1.
    assert true.shape == (425, 560, 2) and true[0, 0].tolist() == [45, 40]
    assert (found.transpose(1, 2, 0) == true).all()
    found, true = find_protocol("nyud13_288x384").applied("depth", prediction, label)
    assert true.shape == (288, 384, 2) and (found.transpose(1, 2, 0) == true).all()
    # 480 / 288 = 5 / 3: the middles of the first three rows are at 5/6, 5/2 and 25/6.
    assert true[:3, 0, 0].tolist() == [0, 2, 4]
    with pytest.raises(ValueError, match=r"gupta is made for labels of \(480, 640\), not \(4, 5\)"):
        Protocol(crop="gupta").applied("depth", np.zeros((1, 4, 5)), np.zeros((4, 5)))


# Of the 40 classes, from 1 (class13Mapping.mat of Gupta et al.).
THIRTEEN = (
    *(12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5),
    *(7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7),
)


def test_thirteen_classes_are_sums_of_forty():
    protocol = find_protocol("nyud13_288x384")
    assert [number + 1 for number in protocol.classes["sem_seg"]] == list(THIRTEEN)
    rng = np.random.default_rng(0)
    prediction = rng.dirichlet(np.ones(40), size=(480, 640)).transpose(2, 0, 1)
    label = rng.integers(0, 41, (480, 640))
    label[label == 40] = 255
    found, true = protocol.applied("sem_seg", prediction, label)
    assert found.shape == (13, 288, 384) and np.allclose(found.sum(axis=0), 1)
    assert set(np.unique(true)) == {*range(13), 255}
    # Wall and door are one class, bed another, of which there is no second.
    small = label[np.ix_(*grid())]
    for old, merged in ((0, 11), (7, 11), (3, 0)):
        assert (true[small == old] == merged).all()
    assert np.allclose(found[0], prediction[3][np.ix_(*grid())])
    assert np.allclose(found[11], (prediction[0] + prediction[7])[np.ix_(*grid())])
    assert (true == 255).sum() == (label[np.ix_(*grid())] == 255).sum()
    with pytest.raises(ValueError, match="merges 40 classes of sem_seg, the model has 13"):
        protocol.applied("sem_seg", prediction[:13], label)


def grid() -> tuple[np.ndarray, np.ndarray]:
    return tuple(((np.arange(n) + 0.5) * 5 / 3).astype(int) for n in (288, 384))


def test_what_is_no_protocol_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("cut: 3\n")
    with pytest.raises(ValueError, match=r"mine.yaml is no protocol: it has cut"):
        load_protocol(tmp_path / "mine.yaml")
    (tmp_path / "mine.yaml").write_text("metrics: {depth/rmse: lowest}\n")
    with pytest.raises(ValueError, match="depth/rmse is 'lowest'; it must be one of: max, min"):
        load_protocol(tmp_path / "mine.yaml")


MTI = sorted((CONFIGS / "mti").glob("*/*.yaml"))


@pytest.mark.parametrize("file", MTI, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_mti_nets_configs_measure_by_a_protocol_as_it_is(file):
    cfg = load_config(str(file))
    tasks = {*cfg.MODEL.TASKS.MAIN, *cfg.MODEL.TASKS.AUXILIARY}
    for main in (sorted(tasks), ["Edges"]):
        of_tasks = load_config(cfg, ["MODEL.TASKS.MAIN", main, "MODEL.TASKS.AUXILIARY", []])
        assert "+" not in protocol_of(of_tasks, cfg.DATASETS.TEST[0]).name
