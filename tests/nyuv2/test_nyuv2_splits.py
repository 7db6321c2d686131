import itertools

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from nyuv2prep.splits import choose_val, make_splits, read_splits, scene_of_video

SCENES = [
    "kitchen_0001a",
    "kitchen_0001b",
    "bedroom_0002",
    "bedroom_0002",
    "cafe_0003",
    "cafe_0004",
]


@pytest.fixture
def splits_file(tmp_path):
    def write(train=(1, 2, 3, 4, 6), test=(5,), **more):
        # SciPy keeps the type: columns of uint16, as in the official file.
        columns = {"trainNdxs": train, "testNdxs": test} | more
        arrays = {
            name: np.array(values, dtype=np.uint16)[:, None]
            for name, values in columns.items()
            if values is not None
        }
        scipy.io.savemat(tmp_path / "splits.mat", arrays)
        return tmp_path / "splits.mat"

    return write


def test_only_a_letter_after_digits_is_a_video():
    names = ["kitchen_0028a", "kitchen_0028", "nyu_office_0", "study", "study_0001ab"]
    scenes = ["kitchen_0028", "kitchen_0028", "nyu_office_0", "study", "study_0001ab"]
    assert [scene_of_video(name) for name in names] == scenes


def test_videos_of_a_scene_stay_together(splits_file):
    splits = make_splits(splits_file(), SCENES, num_val=2, val_scenes_file=None)
    assert splits["nyuv2_train"] == [1, 2, 3, 4, 6] and splits["nyuv2_test"] == [5]
    assert splits["nyuv2_val122"] in ([1, 2], [3, 4])


def test_order_of_the_choice_is_fixed():
    # SHA-1 of the names begins with 42 for s2, 64 for s1, cf for s4, dd for s3.
    frames = [(1, "s1"), (2, "s2"), (3, "s3"), (4, "s4")]
    assert [choose_val(frames, count) for count in (1, 2, 3)] == [[2], [1, 2], [1, 2, 4]]


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8), count=st.integers(1, 40))
def test_choice_is_exact_whenever_there_is_one(sizes, count):
    scenes = [f"study_{i:04d}" for i, size in enumerate(sizes) for _ in range(size)]
    frames = list(enumerate(scenes, start=1))
    sums = {
        sum(chosen) for r in range(len(sizes) + 1) for chosen in itertools.combinations(sizes, r)
    }
    if count not in sums:
        with pytest.raises(ValueError, match="no choice of whole scenes"):
            choose_val(frames, count)
        return
    val = choose_val(frames, count)
    assert len(val) == count
    chosen = {scenes[frame - 1] for frame in val}
    assert [frame for frame, scene in frames if scene in chosen] == val


def test_official_numbers(splits_file):
    rng = np.random.default_rng(0)
    videos = [f"study_{i:04d}" for i in range(999) for _ in range(rng.integers(1, 6))][:1449]
    train, test = np.arange(1, 796), np.arange(796, 1450)
    splits = make_splits(splits_file(train, test), videos, num_val=122, val_scenes_file=None)
    assert {name: len(frames) for name, frames in splits.items()} == {
        "nyuv2_train": 795,
        "nyuv2_test": 654,
        "nyuv2_train673": 673,
        "nyuv2_val122": 122,
    }
    with pytest.raises(ValueError, match="796 training and 653 test frames where NYUv2 has 795"):
        read_splits(splits_file(np.arange(1, 797), np.arange(797, 1450)), num_frames=1449)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"test": (5, 6)}, "share frames: 1, the first is 6"),
        ({"train": (1, 2, 3, 6)}, "1 of 6 frames are in neither split, the first is 4"),
        ({"train": (0, 1, 2, 3, 5), "test": (4,)}, "from 0 to 5 where frames count from 1 to 6"),
        ({"test": (5, 7)}, "from 5 to 7 where"),
        ({"train": (1, 1, 2, 3, 4, 6)}, "names a frame twice"),
        ({"train": None}, "variable trainNdxs is missing"),
        ({"test": ()}, "testNdxs is empty"),
    ],
)
def test_bad_splits_are_refused_in_one_line(splits_file, columns, message):
    with pytest.raises(ValueError, match=message) as error:
        read_splits(splits_file(**columns), num_frames=6)
    assert "splits.mat: " in str(error.value) and str(error.value).endswith("splits.mat again")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [np.inf, np.nan, 1.5, 1j])
def test_what_is_no_number_of_a_frame_is_refused(tmp_path, value):
    train = np.array([1, 2, 3, 4, value])[:, None]
    scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": train, "testNdxs": np.array([[5]])})
    with pytest.raises(ValueError, match=r"splits.mat: trainNdxs holds .*, not frame numbers"):
        read_splits(tmp_path / "splits.mat", num_frames=5)


def test_a_file_that_is_no_mat_file(tmp_path):
    (tmp_path / "splits.mat").write_bytes(b"<html>404 Not Found</html>")
    with pytest.raises(ValueError, match="not a MATLAB 5 file"):
        read_splits(tmp_path / "splits.mat", num_frames=6)
    with pytest.raises(FileNotFoundError, match="--splits names it"):
        read_splits(tmp_path / "absent.mat", num_frames=6)


def test_listed_scenes_override_the_rule(splits_file, tmp_path):
    listed = tmp_path / "val.txt"
    listed.write_text("kitchen_0001a\n\ncafe_0004\n")
    splits = make_splits(splits_file(), SCENES, num_val=2, val_scenes_file=listed)
    assert splits["nyuv2_val122"] == [1, 6]
    assert splits["nyuv2_train673"] == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "kitchen_0001\nkitchen_0001a",
            "lines that are no video of NYUv2: 1, the first is 'kitchen_0001'",
        ),
        ("cafe_0004", "1 training frames where 2 are wanted: .* --val-images 1"),
    ],
)
def test_bad_lists_are_refused(splits_file, tmp_path, text, message):
    (tmp_path / "val.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        make_splits(splits_file(), SCENES, 2, tmp_path / "val.txt")


def test_validation_cannot_take_all(splits_file):
    with pytest.raises(ValueError, match="takes all 5 training frames"):
        make_splits(splits_file(), SCENES, num_val=5, val_scenes_file=None)
