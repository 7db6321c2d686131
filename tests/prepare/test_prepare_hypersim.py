"""Hypersim's official layout, converted: values by hand, tilted cameras by a law, bad input."""

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from prepare_hypersim import CAMERA_TABLE, SCENE_TABLE, SPLIT_TABLE, camera_of, main

from rock_d2.data.datasets.hypersim import SCENE_CLASSES, THING_CLASSES
from rock_d2.image_files import read_color_image
from rock_d2.tasks import Depth, Normals, SemSeg

SIZE = HEIGHT, WIDTH = 12, 16
# The usual camera, 60 degrees wide, that of a scene with a tilted and shifted lens, and one with a
# lens that is tilted in both directions, so that its sensor is skewed (made up).
CAMERAS = {
    "ai_001_001": ((0.57735, 0, 0), (0, 0.4330127, 0), (0, 0, -1)),
    "ai_021_002": ((0.592, 0, -0.036), (0, 0.443, 0.354), (0, 0.032, -1.026)),
    "ai_042_003": ((0.58, 0, 0.02), (0, 0.44, 0.1), (-0.1, -0.15, -1.03)),
}
# In Hypersim's axes: the plane through the points P with n . P = -3, facing the camera.
NORMAL = np.array([0.3, 0.2, 0.9]) / np.linalg.norm([0.3, 0.2, 0.9])


def rays(camera: tuple) -> np.ndarray:
    """Unit vectors of pixels, as in Hypersim's own example."""
    u, v = (np.linspace(1 / n - 1, 1 - 1 / n, n) for n in (WIDTH, HEIGHT))
    u, v = np.meshgrid(u, v[::-1])
    directions = np.stack([u, v, np.ones(SIZE)], axis=2) @ np.array(camera).T
    return directions / np.linalg.norm(directions, axis=2, keepdims=True)


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_frame(folder: Path, camera: tuple) -> None:
    # Where the plane is seen; it is 3 m away.
    along = rays(camera) @ NORMAL
    distance = np.where(along < 0, -3 / along, np.nan)
    normals = np.broadcast_to(NORMAL, (*SIZE, 3)).copy()
    # A vector that faces away, and a pixel of which nothing is known.
    normals[1, 0] *= -1
    distance[0, 1], normals[0, 1] = np.nan, np.nan
    semantic, instance = np.full(SIZE, 1), np.full(SIZE, -1)
    # A chair (5), a sofa (6) before it, a blind (13) and an object without a class.
    for rows, columns, label, number in (
        *((slice(2, 8), slice(3, 9), 5, 1), (slice(4, 6), slice(5, 7), 6, 7)),
        *((slice(9, 11), slice(0, 4), 13, 2), (slice(9, 11), slice(8, 12), -1, 9)),
    ):
        semantic[rows, columns], instance[rows, columns] = label, number
    colour = np.full((*SIZE, 3), 0.5)
    colour[0, :3] = np.array([0, 0.125, 900])[:, None]
    arrays = {
        "final.color": colour.astype(np.float16),
        "geometry.depth_meters": distance.astype(np.float16),
        "geometry.normal_cam": normals.astype(np.float16),
        "geometry.semantic": semantic.astype(np.int16),
        "geometry.semantic_instance": instance.astype(np.int16),
        "geometry.render_entity_id": np.ones(SIZE, np.int16),
    }
    for place, values in arrays.items():
        kind, name = place.split(".")
        path = folder / f"scene_cam_00_{kind}_hdf5/frame.0003.{name}.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.create_dataset("dataset", data=values, compression="gzip")


def write_official(root: Path) -> None:
    """Write three scenes of one released frame each, and Hypersim's tables."""
    names = ("scene_name", "camera_name", "frame_id", "included_in_public_release")
    frames = [
        ("ai_001_001", "cam_00", 3, True, "", "train"),
        ("ai_001_001", "cam_00", 4, False, "people", ""),
        ("ai_021_002", "cam_00", 3, True, "", "val"),
        ("ai_042_003", "cam_00", 3, True, "", "val"),
        ("ai_099_001", "cam_00", 3, True, "", "test"),
    ]
    names = (*names, "exclude_reason", "split_partition_name")
    write_csv(root / SPLIT_TABLE, [dict(zip(names, row, strict=True)) for row in frames])
    types = {"ai_001_001_cam_00": "Bathroom", "ai_021_002_cam_00": "Other"}
    scenes = [{"Animation": key, "Scene type": kind} for key, kind in types.items()]
    write_csv(root / SCENE_TABLE, scenes)
    cameras = [
        {"scene_name": scene, "settings_output_img_width": 1024.0}
        | {f"M_cam_from_uv_{i}{j}": camera[i][j] for i in range(3) for j in range(3)}
        for scene, camera in CAMERAS.items()
    ]
    write_csv(root / CAMERA_TABLE, cameras)
    for scene, camera in CAMERAS.items():
        write_frame(root / scene / "images", camera)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    write_official(tmp_path / "official")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return tmp_path


def convert(root: Path, *more: str) -> None:
    official = str(root / "official")
    folders = ["--source", official, "--toolkit", official]
    main([*folders, "--root", str(root), "--jobs", "1", *more])


def test_values_by_hand(root, capsys):
    convert(root)
    out = capsys.readouterr().out
    assert "3 of Hypersim's 4 scenes" in out and "hypersim_test: 0 images" in out
    (record,) = DatasetCatalog.get("hypersim_train")
    assert SCENE_CLASSES[record["scene_id"]] == "Bathroom" and record["sequence"] == "ai_001_001"
    found = [(THING_CLASSES[a["category_id"]], a["bbox"]) for a in record["annotations"]]
    assert found == [("chair", [3, 2, 6, 6]), ("sofa", [5, 4, 2, 2])]
    classes = SemSeg().read(record)
    # wall, chair, sofa, blinds, unknown.
    assert [classes[y, x] for y, x in ((0, 0), (2, 3), (4, 5), (9, 0), (9, 8))] == [
        0,
        4,
        5,
        12,
        255,
    ]
    # 8 / 0.57735 and 6 / 0.4330127.
    assert record["intrinsics"] == pytest.approx([13.8564, 13.8564, 7.5, 5.5], abs=1e-4)
    # The first pixel is at (u, v) = (-15/16, 11/12), its ray (-0.54127, 0.39693, -1) of length
    # 1.20437; the plane meets it at 3 / (0.9 + 0.16238 - 0.07939) x |n| = 2.9591 along the axis.
    depth, normals = Depth().read(record), Normals().read(record)
    length = np.linalg.norm([0.3, 0.2, 0.9])
    assert depth[0, 0] == pytest.approx(3 / (0.9 + 0.16238 - 0.07939) * length, abs=0.002)
    assert depth[0, 1] == 0 and not normals[0, 1].any()
    # y up and z back become y down and z forward; all face the camera.
    expected = NORMAL * [1, -1, -1]
    assert np.abs(normals[0, 0] - expected).max() < 0.005
    assert (normals[1, 0] == normals[0, 0]).all()
    # A brightness of 0.5 becomes 0.8, a quarter of it 0.8 x 0.25^(1/2.2) = 0.426.
    image = read_color_image(record["file_name"])
    assert image[:, :, 0][[5, 0, 0, 0], [5, 0, 1, 2]].tolist() == [204, 0, 109, 255]


def test_a_camera_without_semantics_has_unknown_boxes(root):
    for name in ("semantic", "semantic_instance"):
        folder = root / "official/ai_001_001/images/scene_cam_00_geometry_hdf5"
        with h5py.File(folder / f"frame.0003.{name}.hdf5", "r+") as file:
            file["dataset"][:] = -1
    convert(root)
    (record,) = DatasetCatalog.get("hypersim_train")
    assert not {"annotations", "sem_seg_file_name"} & record.keys()
    assert Depth().read(record).any()


@pytest.mark.parametrize(("split", "scene"), [("train", "ai_001_001"), ("val", "ai_021_002")])
def test_depth_normals_and_camera_show_one_plane(root, split, scene):
    convert(root, "--scenes", scene)
    (record,) = DatasetCatalog.get(f"hypersim_{split}")
    fx, fy, cx, cy = record["intrinsics"]
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    points = np.stack([(x - cx) / fx, (y - cy) / fy, np.ones(SIZE)], axis=2)
    points *= Depth().read(record)[..., None]
    known = points[..., 2] > 0
    assert known.sum() == HEIGHT * WIDTH - 1 and ("scene_id" in record) == (split == "train")
    distances = np.einsum("hwc,hwc->hw", points, Normals().read(record))[known]
    # 127 levels of normals, 11 bits of distances.
    np.testing.assert_allclose(distances, -3, rtol=0.02)


def test_depth_of_a_skewed_sensor_is_along_its_normal(root):
    scene = "ai_042_003"
    convert(root, "--scenes", scene)
    (record,) = DatasetCatalog.get("hypersim_val")
    camera = camera_of(scene, root / "official" / CAMERA_TABLE, SIZE)
    true_rays = rays(CAMERAS[scene])
    np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-9)
    lengths = np.linalg.norm(camera.rays, axis=2, keepdims=True)
    np.testing.assert_allclose(camera.rays / lengths, true_rays @ camera.axes.T, atol=1e-6)
    # Of a point at a distance along its ray, the part across the sensor.
    across, up, _ = np.array(CAMERAS[scene]).T
    axis = np.cross(up, across) / np.linalg.norm(np.cross(up, across))
    expected = -3 / (true_rays @ NORMAL) * (true_rays @ axis)
    depth, normals = Depth().read(record), Normals().read(record)
    known = depth > 0
    np.testing.assert_allclose(depth[known], expected[known], rtol=0.002)
    assert known.sum() == HEIGHT * WIDTH - 1
    assert np.abs(normals[known] - camera.axes @ NORMAL).max() < 0.006
    # The intrinsics leave out the skew: a row's mistake is that of its opposite, reversed.
    fx, fy, cx, cy = record["intrinsics"]
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mistake = camera.rays[..., :2] - np.stack([(x - cx) / fx, (y - cy) / fy], axis=2)
    np.testing.assert_allclose(mistake.mean(axis=0), 0, atol=1e-6)
    assert np.abs(mistake[0, :, 0]).min() > 0.01 and np.abs(mistake[..., 1]).max() < 1e-6


def split_table(frame: str, split: str) -> bytes:
    """Return the table of splits with one frame."""
    return (
        "scene_name,camera_name,frame_id,included_in_public_release,exclude_reason,"
        "split_partition_name\n"
        f"ai_001_001,cam_00,{frame},True,,{split}\n"
    ).encode()


def camera_table(value: str) -> bytes:
    """Return the table of cameras with one whose matrix has one value everywhere."""
    names = [f"M_cam_from_uv_{i}{j}" for i in range(3) for j in range(3)]
    rows = (["scene_name", *names], ["ai_001_001"] + [value] * 9)
    return "\n".join(",".join(row) for row in rows).encode()


GEOMETRY = "ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0003"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (SPLIT_TABLE, None, "is missing; --toolkit must name"),
        (SPLIT_TABLE, b"\xff\xfe", "is no CSV file .*clone Hypersim's repository again"),
        (SPLIT_TABLE, split_table("x", "train"), "has frame_id 'x', split_partition_name 'train'"),
        (SPLIT_TABLE, split_table("3", "dev"), "has frame_id '3', split_partition_name 'dev'"),
        (CAMERA_TABLE, b"scene_name\nai_001_001\n", "has no column M_cam_from_uv_00"),
        (CAMERA_TABLE, camera_table("0"), "no camera of ai_001_001 .*leave the scene out"),
        (CAMERA_TABLE, camera_table("nan"), "no camera of ai_001_001 .*leave the scene out"),
        (f"{GEOMETRY}.semantic.hdf5", None, "is missing; .* leave it out by --scenes"),
        (f"{GEOMETRY}.semantic.hdf5", b"<html>", "cannot be read .*download the scene again"),
        (f"{GEOMETRY}.semantic.hdf5", np.full(SIZE, 41, np.int16), "semantic has a class 41 of 40"),
        (
            f"{GEOMETRY}.semantic.hdf5",
            np.ones((6, 8), np.int16),
            r"semantic is \(6, 8\), the image",
        ),
        (f"{GEOMETRY}.normal_cam.hdf5", np.ones(SIZE, np.float16), r"not \(H, W, 3\)"),
    ],
)
def test_bad_input_is_one_line_with_its_file(root, name, content, message):
    path = root / "official" / name
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with h5py.File(path, "w") as file:
            file["dataset"] = content
    with pytest.raises(SystemExit, match=message) as stop:
        convert(root)
    place = path if "/images/" not in name else path.parents[1]
    assert str(place) in str(stop.value) and "\n" not in str(stop.value)
    assert not list(root.rglob("hypersim_*.json"))


def test_scenes_that_are_not_there_are_named(root):
    with pytest.raises(SystemExit, match="has no folder ai_099_001 with released frames"):
        convert(root, "--scenes", "ai_001_001", "ai_099_001")
