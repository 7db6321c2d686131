"""Cityscapes' official layout, converted: values by hand, bad input, a training."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from prepare_cityscapes import FILES, main
from pycocotools import mask as coco_mask
from tiny import NARROW
from trainings import metrics, new_trainer

from rock_d2.tasks import Disparity

HEIGHT, WIDTH = 64, 128
FRAMES = {
    "train": ("aachen_000000_000019", "aachen_000001_000019", "bochum_000000_000313"),
    "val": ("frankfurt_000000_000294",),
}
CAMERA = {
    "extrinsic": {
        **{"baseline": 0.209313, "pitch": 0.038, "roll": 0.0, "yaw": -0.0195},
        **{"x": 1.7, "y": 0.1, "z": 1.22},
    },
    "intrinsic": {"fx": 2262.52, "fy": 2265.3017905988554, "u0": 1096.98, "v0": 513.137},
}


def write_official(root: Path) -> None:
    """Write frames that all show the same."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    # Road (7), a car before it, a caravan (29), a person of one pixel, a group of bicycles.
    instances = np.full((HEIGHT, WIDTH), 7, np.uint16)
    instances[10:30, 20:60] = 26000
    instances[12:40, 50:55] = 29000
    instances[63, 127] = 24001
    instances[40:60, 100:120] = 33
    disparity = np.full((HEIGHT, WIDTH), 12801, np.uint16)
    disparity[:, :10], disparity[:, 10:12], disparity[0, 12] = 0, 1, 257
    content = (image, instances, disparity)
    for split, frames in FRAMES.items():
        for frame in frames:
            for (kind, ending), pixels in zip(FILES.items(), content, strict=False):
                path = root / kind / split / frame.split("_")[0] / f"{frame}_{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), pixels)
            path = root / "camera" / split / frame.split("_")[0] / f"{frame}_camera.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(CAMERA))


def convert(root: Path, source: Path, *more: str) -> None:
    main(["--source", str(source), "--root", str(root), "--jobs", "1", *more])


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Official files below "official" and what became of them below "cityscapes"."""
    root = tmp_path_factory.mktemp("data")
    write_official(root / "official")
    convert(root, root / "official")
    return root


@pytest.fixture(autouse=True)
def data_folder(root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))


def test_values_by_hand():
    records = DatasetCatalog.get("cityscapes_train")
    assert [r["sequence"] for r in records] == ["aachen_000000", "aachen_000001", "bochum_000000"]
    record = records[2]
    # The caravan hides 18 rows of 5 columns of the car: 20 x 40 - 90 pixels are left.
    found = [(a["category_id"], a["bbox"], a["iscrowd"]) for a in record["annotations"]]
    assert found == [
        (7, [100, 40, 20, 20], 1),
        (0, [127, 63, 1, 1], 0),
        (2, [20, 10, 40, 20], 0),
    ]
    assert coco_mask.area(record["annotations"][2]["segmentation"]) == 710
    disparity = Disparity().read(record)
    # (0 + 1) x 256 is 257, 50 x 256 is 12800.
    assert (disparity[:, :12] == 0).all() and disparity[0, 12] == 1 and disparity[1, 12] == 50
    # Z = f b / d = 2262.52 x 0.209313 / 50 = 9.4715 m.
    depth = record["intrinsics"][0] * record["baseline"] / disparity[1, 12]
    assert depth == pytest.approx(9.4715, abs=1e-4)
    image, official = (
        cv2.imread(path)
        for path in (
            record["file_name"],
            record["file_name"]
            .replace("cityscapes/images/train_", "official/leftImg8bit/train/bochum/")
            .replace(".png", "_leftImg8bit.png"),
        )
    )
    np.testing.assert_array_equal(image, official)


def test_a_second_run_changes_nothing_and_other_settings_are_refused(root, capsys):
    def times():
        return {path: path.stat().st_mtime_ns for path in (root / "cityscapes").rglob("*.png")}

    before = times()
    # A frame that has lost a file is made again, image and disparity.
    (root / "cityscapes/disparity/val_frankfurt_000000_000294.png").unlink()
    convert(root, root / "official")
    assert len({*times().items()} - {*before.items()}) == 2
    out = capsys.readouterr().out
    assert "cityscapes_val: 1 images, 3 boxes: person 1, rider 0, car 1" in out
    assert "warning: 3 of Cityscapes' 2975 images of train" in out
    with pytest.raises(SystemExit, match="was made with image_format=png: use --overwrite"):
        convert(root, root / "official", "--image-format", "jpg")


def camera_with_baseline(baseline: str) -> bytes:
    intrinsic = '{"fx": 2262.5, "fy": 2265.3, "u0": 1096.9, "v0": 513.1}'
    return f'{{"intrinsic": {intrinsic}, "extrinsic": {{"baseline": {baseline}}}}}'.encode()


FRAME = "val/frankfurt/frankfurt_000000_000294"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (f"disparity/{FRAME}_disparity.png", None, r"is missing; .* disparity_trainvaltest\.zip"),
        (
            f"gtFine/{FRAME}_gtFine_instanceIds.png",
            np.zeros((64, 128), np.uint8),
            "is uint8 .*16-bit",
        ),
        (
            f"disparity/{FRAME}_disparity.png",
            np.zeros((32, 64), np.uint16),
            r"\(32, 64\), its image",
        ),
        (f"leftImg8bit/{FRAME}_leftImg8bit.png", b"<html>", "is no image of the formats"),
        (f"camera/{FRAME}_camera.json", b'{"intrinsic": {}}', "is no camera with intrinsic fx"),
        (f"camera/{FRAME}_camera.json", camera_with_baseline("NaN"), "not finite and above 0"),
        (f"camera/{FRAME}_camera.json", camera_with_baseline("0"), "not finite and above 0"),
    ],
)
def test_bad_input_is_one_line_with_its_file(name, content, message, tmp_path):
    write_official(tmp_path)
    path = tmp_path / name
    if content is None:
        path.unlink()
    else:
        is_image = isinstance(content, np.ndarray)
        path.write_bytes(cv2.imencode(".png", content)[1].tobytes() if is_image else content)
    with pytest.raises(SystemExit, match=message) as stop:
        convert(tmp_path / "out", tmp_path)
    assert str(path) in str(stop.value) and "\n" not in str(stop.value)
    assert not list(tmp_path.rglob("cityscapes_*.json"))


def test_a_folder_without_cityscapes_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"has no leftImg8bit/, .* --source must name the folder"):
        convert(tmp_path, tmp_path)


def test_rock_learns_disparity_from_the_converted_files(tmp_path):
    trainer = new_trainer(
        tmp_path / "run",
        *("MODEL.WEIGHTS", "", "INPUT.SIZE", [64, 128], "SOLVER.IMS_PER_BATCH", 2),
        *("SOLVER.MAX_ITER", 2, "SOLVER.STEPS", (), "SOLVER.LOG_PERIOD", 1),
        *(*NARROW, "MODEL.SSD.NORM", ""),
        *("DATASETS.TEST", ("cityscapes_val",), "TEST.EVAL_PERIOD", 2),
        file="rock/rock_cityscapes.yaml",
    )
    trainer.train()
    lines = metrics(tmp_path / "run")
    losses = [line["loss_disparity"] for line in lines if "loss_disparity" in line]
    assert len(losses) == 2 and min(losses) > 0
    assert any("disparity/mean_abs" in line for line in lines)
