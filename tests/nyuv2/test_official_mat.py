import re
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from roomgen.frame import Frame
from roomgen.nyuv2_labels import label_gaps, label_ids
from roomgen.nyuv2_mat import split_by_scene, video_names, write_nyuv2_mat
from roomgen.nyuv2_normals import EigenNormals, LadickyNormals, NpyNormals
from synthetic_scene import altered_frame, synthetic_frame

# Room and scene type of each frame.
ROOMS = (
    ("kitchen_0004", "kitchen"),
    ("kitchen_0004", "kitchen"),
    ("kitchen_0004", "kitchen"),
    ("gym_0001", "excercise_room"),
    ("gym_0001", "excercise_room"),
    ("bedroom_0010", "bedroom"),
)
UP_RIGHT_BACK = ((0, -1, 0), (1, 0, 0), (0, 0, -1))


def make_frames(rooms=ROOMS):
    for index, (sequence, scene_type) in enumerate(rooms):
        yield synthetic_frame(sequence, scene_type, shift=5 * index)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(make_frames())


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("nyuv2")
    layouts = (EigenNormals(), LadickyNormals(), NpyNormals(axes=UP_RIGHT_BACK))
    write_nyuv2_mat(make_frames(), num_frames=len(ROOMS), root=root, seed=0, normals=layouts)
    return root


@pytest.fixture(scope="module")
def mat(root):
    with h5py.File(root / "nyu_depth_v2_labeled.mat") as file:
        yield file


@pytest.fixture(scope="module")
def splits(root) -> dict[str, np.ndarray]:
    return scipy.io.loadmat(root / "splits.mat")


def strings(file: h5py.File, name: str) -> list[str]:
    return ["".join(chr(code.item()) for code in file[ref]) for ref in file[name][0, :]]


def test_shapes_and_types(mat):
    n = len(ROOMS)
    found = {name: (mat[name].shape, mat[name].dtype.name) for name in mat if name != "#refs#"}
    assert found == {
        "accelData": ((4, n), "float32"),
        "depths": ((n, 640, 480), "float32"),
        "rawDepths": ((n, 640, 480), "float32"),
        "images": ((n, 3, 640, 480), "uint8"),
        "instances": ((n, 640, 480), "uint8"),
        "labels": ((n, 640, 480), "uint16"),
        "names": ((1, 894), "object"),
        "rawDepthFilenames": ((1, n), "object"),
        "rawRgbFilenames": ((1, n), "object"),
        "scenes": ((1, n), "object"),
        "sceneTypes": ((1, n), "object"),
    }
    assert mat["depths"].chunks == (1, 640, 480)


def test_matlab_attributes(mat):
    assert {name: mat[name].attrs["MATLAB_class"] for name in mat if name != "#refs#"} == {
        "accelData": b"single",
        "depths": b"single",
        "rawDepths": b"single",
        "images": b"uint8",
        "instances": b"uint8",
        "labels": b"uint16",
        "names": b"cell",
        "rawDepthFilenames": b"cell",
        "rawRgbFilenames": b"cell",
        "scenes": b"cell",
        "sceneTypes": b"cell",
    }
    name = mat[mat["names"][0, 4]]
    assert name.shape == (5, 1) and name.dtype == np.uint16
    assert name.attrs["MATLAB_class"] == b"char" and name.attrs["MATLAB_int_decode"] == 2
    assert name.name.startswith("/#refs#/")


def test_user_block_is_that_of_matlab_73(root, mat):
    header = (root / "nyu_depth_v2_labeled.mat").read_bytes()[:520]
    assert header.startswith(b"MATLAB 7.3 MAT-file, ")
    assert header[124:128] == b"\x00\x02IM"
    assert header[128:512] == bytes(384)
    assert header[512:520] == b"\x89HDF\r\n\x1a\n"
    assert mat.userblock_size == 512
    # scipy knows the version by the header and hands the file on to HDF5 readers.
    with pytest.raises(NotImplementedError, match=r"HDF reader for matlab v7\.3"):
        scipy.io.loadmat(root / "nyu_depth_v2_labeled.mat")


def test_images_and_depths_are_those_of_the_frames(mat, frames):
    for i, frame in enumerate(frames):
        image = mat["images"][i].transpose(2, 1, 0)
        np.testing.assert_array_equal(image[6:474, 7:632], frame.image[6:474, 7:632])
        np.testing.assert_array_equal(mat["depths"][i].T, frame.depth)


def test_images_have_a_white_border(mat):
    image = mat["images"][0].transpose(2, 1, 0)
    border = np.ones((480, 640), dtype=bool)
    border[6:474, 7:632] = False
    assert (image[border] == 255).all()
    assert image[~border].max() < 255


def test_raw_depth_has_holes_and_differs_a_little_elsewhere(mat, frames):
    for i, frame in enumerate(frames):
        raw = mat["rawDepths"][i].T
        valid = raw > 0
        assert 0.6 < valid.mean() < 0.9
        assert raw.max() <= 10
        assert 0.001 < np.median(np.abs(raw - frame.depth)[valid]) < 0.03


def test_key_of_label_and_instance_maps_one_to_one_to_objects(mat, frames):
    for i, frame in enumerate(frames):
        truth = np.where(label_gaps(frame.instances), 0, frame.instances)
        labels, instances = mat["labels"][i].T, mat["instances"][i].T
        keys = (labels.astype(int) << 6) + instances
        pairs = set(zip(truth.ravel().tolist(), keys.ravel().tolist(), strict=True))
        assert len(pairs) == len({key for _, key in pairs}) == len({index for index, _ in pairs})
        names = strings(mat, "names")
        for index, key in pairs - {(0, 0)}:
            assert names[(key >> 6) - 1] == frame.objects[index - 1].name


def test_instance_ids_restart_in_every_class(mat):
    labels, instances = mat["labels"][0].T, mat["instances"][0].T
    ids = {
        name: sorted(set(instances[labels == label_ids()[name]].tolist()))
        for name in ("wall", "floor", "chair", "box", "vase", "garbage bin")
    }
    assert ids == {
        "wall": [1],
        "floor": [1],
        "chair": [1, 2],
        "box": [1],
        "vase": [0, 1],  # the last one is the stray
        "garbage bin": [],  # hidden
    }


def test_share_of_unlabelled_pixels(mat):
    # NYUv2's first frame: 7 %.
    assert 0.05 < (mat["labels"][0] == 0).mean() < 0.09


def test_names_are_the_894_in_their_order(mat):
    names = strings(mat, "names")
    assert (names[0], names[4], names[20], names[171]) == ("book", "chair", "wall", "television")
    assert len(set(names)) == 894


def test_scenes_and_file_names(mat):
    assert strings(mat, "sceneTypes") == [scene_type for _, scene_type in ROOMS]
    scenes = strings(mat, "scenes")
    assert scenes == [
        *("kitchen_0004a", "kitchen_0004a", "kitchen_0004b"),
        *("gym_0001", "gym_0001", "bedroom_0010"),
    ]
    for name, pattern in (("rawDepthFilenames", r"d-.*\.pgm"), ("rawRgbFilenames", r"r-.*\.ppm")):
        files = strings(mat, name)
        assert [file.split("/")[0] for file in files] == scenes
        assert all(re.fullmatch(pattern, file.split("/")[1]) for file in files)
        assert len(set(files)) == len(ROOMS)


def test_every_fifth_room_of_two_frames_is_filmed_twice():
    rooms = [f"study_{room:04d}" for room in range(12) for _ in range(3)] + ["cafe_0001"]
    names = video_names(rooms)
    assert [name for name in names if name[-1] in "ab"] == [
        f"study_{room:04d}{letter}" for room in (0, 5, 10) for letter in "aab"
    ]
    assert names[-1] == "cafe_0001"


def test_splits_are_one_based_disjoint_and_complete(splits):
    train, test = splits["trainNdxs"], splits["testNdxs"]
    assert train.dtype == test.dtype == np.uint16
    assert train.shape[1] == test.shape[1] == 1
    assert sorted([*train[:, 0], *test[:, 0]]) == list(range(1, len(ROOMS) + 1))


def test_no_scene_is_in_both_splits(mat, splits):
    groups = [re.sub(r"[ab]$", "", scene) for scene in strings(mat, "scenes")]
    train = {groups[i - 1] for i in splits["trainNdxs"][:, 0]}
    test = {groups[i - 1] for i in splits["testNdxs"][:, 0]}
    assert train and test and not train & test


def test_split_has_the_official_ratio_in_runs_of_whole_scenes():
    rng = np.random.default_rng(0)
    videos = [f"study_{i:04d}" for i in range(464) for _ in range(rng.integers(1, 6))]
    is_test = split_by_scene(videos)
    assert abs(is_test.mean() - 654 / 1449) < 0.005
    assert 150 < np.count_nonzero(np.diff(is_test)) < 464


def test_one_room_cannot_be_split():
    with pytest.raises(ValueError, match="render two rooms or more"):
        split_by_scene(["study_0001a", "study_0001b"])


def test_same_seed_same_bytes(root, tmp_path):
    layouts = (EigenNormals(), LadickyNormals(), NpyNormals(axes=UP_RIGHT_BACK))
    write_nyuv2_mat(make_frames(), num_frames=len(ROOMS), root=tmp_path, seed=0, normals=layouts)
    paths = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert paths == sorted(
        path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()
    )
    for path in paths:
        assert (root / path).read_bytes() == (tmp_path / path).read_bytes(), path


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    def peak(num_frames: int) -> int:
        rooms = [(f"study_{i:04d}", "study") for i in range(num_frames)]
        tracemalloc.start()
        write_nyuv2_mat(make_frames(rooms), num_frames, tmp_path / str(num_frames), seed=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak(6) < 1.2 * peak(3)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (lambda: make_frames(ROOMS[:2]), "2 frames came where 3 were announced"),
        (lambda: make_frames(ROOMS[:4]), "more frames than the 3"),
        (lambda: [altered_frame(depth=np.ones((240, 320), np.float32))], "frame 0: depth is"),
        (lambda: [altered_frame(scene_type="exercise_room")], "'exercise_room' is no scene type"),
        (lambda: [altered_frame(sequence="kitchen_0004a")], "must end in a number"),
    ],
)
def test_a_failed_run_says_why_and_leaves_nothing_behind(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        write_nyuv2_mat(frames(), num_frames=3, root=tmp_path, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_not_replaced(tmp_path):
    (tmp_path / "splits.mat").write_bytes(b"the official one")
    with pytest.raises(FileExistsError, match="choose another folder"):
        write_nyuv2_mat(make_frames(), num_frames=len(ROOMS), root=tmp_path, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["splits.mat"]


def test_two_layouts_cannot_share_a_folder(tmp_path):
    with pytest.raises(ValueError, match="share a folder"):
        write_nyuv2_mat(
            make_frames(),
            num_frames=len(ROOMS),
            root=tmp_path,
            seed=0,
            normals=(EigenNormals(), EigenNormals(axes=UP_RIGHT_BACK)),
        )
