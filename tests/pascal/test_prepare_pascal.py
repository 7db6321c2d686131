"""PASCAL-Context's converter, on trees in the official layouts."""

import json
import shutil
from pathlib import Path

import numpy as np
import official_pascal as official
import pytest
from detectron2.data import DatasetCatalog
from official_pascal import NO_PEOPLE, SIZE, SMALL, STEMS, TRAIN, VAL
from pascal_labels import CLASS_OF_PART, VOC_IDS
from prepare_pascal import main

from rock_d2.data.datasets.pascal import THING_CLASSES
from rock_d2.image_files import read_pixels
from rock_d2.tasks import TASK_REGISTRY
from rock_d2.tasks.thinning import outlines


@pytest.fixture
def data_sets(converted, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(converted.parent))
    names = ("train", "val", "val2498")
    return {name: DatasetCatalog.get(f"pascal_mt_{name}") for name in names}


def label(tree, name, stem):
    return read_pixels(tree / name / f"{stem}.png")


def read(name, record):
    return TASK_REGISTRY.get(name)().read(record)


def test_splits_are_the_lists_and_images_the_same_bytes(data_sets, archive):
    for name, stems in (("train", TRAIN), ("val", VAL), ("val2498", SMALL)):
        images = [record["file_name"] for record in data_sets[name]]
        assert [image[-15:-4] for image in images] == list(stems)
        for stem, image in zip(stems, images, strict=True):
            source = archive / f"JPEGImages/{stem}.jpg"
            assert source.read_bytes() == Path(image).read_bytes()
        # Nobody has looked for boxes.
        assert not any("annotations" in record for record in data_sets[name])


def test_classes_come_from_the_best_source(converted):
    first, second, third = (label(converted, "sem_seg", stem) for stem in STEMS[:3])
    # VOC's PNG: its palette is ignored, its border is unknown.
    assert (first[0] == 255).all() and (first[1:-1, 1:-1] == 20).all()
    # The archive's PNG, then the LabelMap's: table is diningtable, 11; floor and sky background.
    assert (second == 8).all()
    expected = np.zeros(SIZE, np.uint8)
    expected[official.TABLE_AT], expected[official.SCREEN_AT] = 11, 20
    expected[official.UNLABELLED_AT] = 255
    np.testing.assert_array_equal(third, expected)
    assert label(converted, "sem_seg", STEMS[3])[20, 20] == 15


def test_edges_differ_between_training_and_evaluation(converted, tmp_path):
    for stem in TRAIN:
        expected = outlines(official.label_map(stem))
        np.testing.assert_array_equal(label(converted, "edges", stem), expected)
    # The screen's border in SEISM's rule: the pixels whose neighbour to the right, below or both
    # is another: columns 39 and 55 of rows 3 to 11, rows 3 and 11 of columns 39 to 55, one wide.
    edges = label(converted, "edges", VAL[0])[:14, 35:60]
    rows, columns = np.nonzero(edges)
    assert (rows.min(), rows.max(), columns.min() + 35, columns.max() + 35) == (3, 11, 39, 55)
    assert edges[5:10, 4].all() and edges[5:10, 20].all() and not edges[4:11, 5:20].any()


def test_later_parts_lie_over_earlier_ones(data_sets, converted):
    parts = read("HumanParts", data_sets["train"][0])
    expected = np.zeros(SIZE)
    # Head, then neck (torso), lower right arm and left foot (lower legs).
    for place, part in ((np.s_[8:13, 14:26], 1), (np.s_[13:18, 14:26], 2)):
        expected[place] = part
    expected[20:30, 10:14], expected[36:40, 20:30] = 4, 6
    np.testing.assert_array_equal(parts, expected)
    # An image without people has no such label.
    assert read("HumanParts", data_sets["train"][2]) is None
    assert not (converted / f"human_parts/{NO_PEOPLE}.png").exists()


def test_normals_are_of_indoor_classes(data_sets):
    vectors = read("Normals", data_sets["train"][0])
    known = (vectors != 0).any(axis=2)
    # The names of person, table, floor and (by exception) tvmonitor, not of sky and nothing.
    is_indoor = (official.PERSON, official.TABLE, official.FLOOR, official.SCREEN)
    np.testing.assert_array_equal(known, np.isin(official.label_map(STEMS[0]), is_indoor))
    assert vectors[10, 20] == pytest.approx([0, -1, 0], abs=0.01)
    assert vectors[40, 5] == pytest.approx([0.6, 0, -0.8], abs=0.01)


def test_saliency_is_above_a_half(data_sets):
    salient = read("Saliency", data_sets["val"][0])
    assert salient[official.PERSON_AT].all() and salient.sum() == 32 * 20


def test_official_files_give_the_same_without_distilled_labels(converted, tmp_path, capsys):
    options = official.write_official(tmp_path)
    main([*options, "--root", str(tmp_path), "--jobs", "1"])
    assert "without normals, saliency" in capsys.readouterr().out
    tree = tmp_path / "pascal_mt"
    for name in ("edges", "human_parts"):
        for path in (tree / name).glob("*.png"):
            assert path.read_bytes() == (converted / name / path.name).read_bytes()
    # VOC's own PNG of the first image.
    assert not label(tree, "sem_seg", STEMS[0]).any()
    assert label(tree, "sem_seg", STEMS[1])[20, 20] == 15
    train = json.loads((tree / "annotations/pascal_mt_train.json").read_text())
    fields = {name for image in train["images"] for name in image if name.endswith("_file_name")}
    assert fields == {"sem_seg_file_name", "edges_file_name", "human_parts_file_name"}


def test_again_changes_nothing_and_other_labels_need_overwrite(archive, converted, tmp_path):
    tree = shutil.copytree(converted, tmp_path / "pascal_mt")
    lost = tree / f"edges/{STEMS[0]}.png"
    options = ["--archive", str(archive), "--root", str(tmp_path), "--jobs", "1"]
    small = ["--small-list", str(archive / "test_new.txt")]
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in (tree / "saliency").iterdir()}
    main([*options, *small])
    assert lost.read_bytes() == (converted / f"edges/{STEMS[0]}.png").read_bytes()
    assert kept[tree / f"saliency/{STEMS[1]}.png"] == (
        (tree / f"saliency/{STEMS[1]}.png").stat().st_mtime_ns
    )
    with pytest.raises(SystemExit, match="use --overwrite"):
        main([*options, *small, "--without", "saliency"])
    main([*options, "--without", "saliency", "--overwrite"])
    assert not (tree / "saliency").exists()
    assert not (tree / "annotations/pascal_mt_val2498.json").exists()


def put(content):
    def change(path):
        path.write_bytes(content)

    return change


def remove(path):
    path.unlink() if path.is_file() else shutil.rmtree(path)


def label_map(value, size=SIZE):
    return lambda path: official.write_mat(path, LabelMap=np.full(size, value, np.uint16))


def png(value, shape=SIZE):
    return lambda path: official.write_png(path, np.full(shape, value, np.uint8))


def parts(name, size=SIZE):
    def change(path):
        part = official.struct(part_name=name, mask=np.ones(size, np.uint8))
        person = official.struct(class_ind=15, parts=part)
        official.write_mat(path, anno=official.struct(objects=person))

    return change


CONTEXT = f"pascal-context/trainval/{STEMS[1]}.mat"
PARTS = f"human_parts/{STEMS[1]}.mat"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("ImageSets/Context/val.txt", remove, "val.txt: is no text file"),
        ("ImageSets/Context/val.txt", put(b"2008_000001\n"), "2008_000001.jpg is missing: unpack"),
        ("ImageSets/Context/val.txt", put(STEMS[0].encode()), f"{STEMS[0]} is in .*train.txt, too"),
        ("ImageSets/Context/val.txt", put(b"a a"), "lists a twice: download the list again"),
        ("test_new.txt", put(STEMS[0].encode()), "is not in .*val.txt: see --small-list"),
        ("pascal-context/trainval", remove, "PASCAL_MT: has no folder of context; --context"),
        ("pascal-context/labels.txt", remove, "labels.txt: is missing; .* --labels names it"),
        ("pascal-context/labels.txt", put(b"1: cat\n"), "does not name 459 classes"),
        (CONTEXT, remove, "mat: is missing: unpack its archive again"),
        (CONTEXT, put(b"<html>404"), r"not a MATLAB 5 file \(.*\): unpack its archive again"),
        (CONTEXT, label_map(460), "LabelMap holds class 460; PASCAL-Context has 459"),
        (CONTEXT, label_map(1, (9, 9)), r"LabelMap is uint16 \(9, 9\) where .* \(48, 64\)"),
        (CONTEXT, lambda path: official.write_mat(path, other=1), "has no variable LabelMap"),
        (f"JPEGImages/{STEMS[1]}.jpg", put(b""), f"{STEMS[1]}.jpg: is no image of the formats"),
        (f"semseg/VOC12/{STEMS[0]}.png", png(21), "holds class 21; VOC has 0 to 20, and 255"),
        (PARTS, parts("wing"), "'wing' is no part of a person"),
        (PARTS, parts("head", (9, 9)), r"mask of head is \(9, 9\), its image \(48, 64\)"),
        (PARTS, label_map(1), "has no variable anno"),
        (PARTS, lambda path: official.write_mat(path, anno=1), "anno is not as PASCAL-Part"),
        (f"normals_distill/{STEMS[1]}.png", png(9), r"is uint8 \(48, 64\) where uint8 \(48, 64, 3"),
        (f"sal_distill/{STEMS[1]}.png", png(9, (9, 9)), r"is uint8 \(9, 9\) where uint8 \(48, 64"),
        (f"sal_distill/{STEMS[1]}.png", remove, "is missing: unpack its archive again"),
    ],
)
def test_bad_input_is_named_in_one_line(archive, tmp_path, file, change, message):
    broken = shutil.copytree(archive, tmp_path / "PASCAL_MT")
    change(broken / file)
    options = ["--archive", broken, "--small-list", broken / "test_new.txt", "--root", tmp_path]
    with pytest.raises(SystemExit, match=message) as end:
        main([*map(str, options), "--jobs", "1"])
    assert "\n" not in str(end.value) and not (tmp_path / "pascal_mt/annotations").exists()


def test_classes_and_parts_are_those_of_the_literature():
    # The numbers of VOC's classes among PASCAL-Context's 459, by the name.
    assert dict(zip(THING_CLASSES, VOC_IDS, strict=True)) == {
        **{"aeroplane": 2, "bicycle": 23, "bird": 25, "boat": 31, "bottle": 34, "bus": 45},
        **{"car": 59, "cat": 65, "chair": 72, "cow": 98, "diningtable": 397, "dog": 113},
        **{"horse": 207, "motorbike": 258, "person": 284, "pottedplant": 308, "sheep": 347},
        **{"sofa": 368, "train": 416, "tvmonitor": 427},
    }
    parts = {1: "head hair lear rear lebrow rebrow leye reye nose mouth", 2: "torso neck"}
    parts |= {3: "luarm ruarm", 4: "llarm rlarm lhand rhand"}
    parts |= {5: "luleg ruleg", 6: "llleg rlleg lfoot rfoot"}
    assert {name: k for k, names in parts.items() for name in names.split()} == CLASS_OF_PART
