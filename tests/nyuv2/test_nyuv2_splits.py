import numpy as np
import pytest
import scipy.io
from nyuv2prep.splits import make_splits, read_splits

SCENES = (
    "kitchen_0001a",
    "kitchen_0001b",
    "bedroom_0002",
    "bedroom_0002",
    "cafe_0003",
    "cafe_0004",
)


@pytest.fixture
def splits_file(tmp_path):
    def write(train=(1, 2, 3, 4, 6), test=(5,), **more):
        # Columns of uint16, as in the official file, where the values allow it.
        columns = {"trainNdxs": train, "testNdxs": test} | more
        arrays = {
            name: np.array(values, None if isinstance(values[-1], float) else np.uint16)[:, None]
            for name, values in columns.items()
            if values
        }
        scipy.io.savemat(tmp_path / "splits.mat", arrays)
        return tmp_path / "splits.mat"

    return write


def test_videos_of_a_scene_stay_together(splits_file):
    splits = make_splits(splits_file(), SCENES, num_val=2, val_scenes_file=None)
    assert splits["nyuv2_train"] == [1, 2, 3, 4, 6] and splits["nyuv2_test"] == [5]
    assert splits["nyuv2_val122"] in ([1, 2], [3, 4])
    whole = make_splits(splits_file(), SCENES, num_val=0, val_scenes_file=None)
    assert whole == {"nyuv2_train": [1, 2, 3, 4, 6], "nyuv2_test": [5]}


def test_official_numbers(splits_file):
    rng = np.random.default_rng(0)
    videos = [f"study_{i:04d}" for i in range(999) for _ in range(rng.integers(1, 6))][:1449]
    train, test = list(range(1, 796)), list(range(796, 1450))
    splits = make_splits(splits_file(train, test), videos, num_val=122, val_scenes_file=None)
    assert [len(frames) for frames in splits.values()] == [795, 654, 673, 122]
    with pytest.raises(ValueError, match="796 training and 653 test frames where NYUv2 has 795"):
        read_splits(splits_file([*train, 796], test[1:]), num_frames=1449)


@pytest.mark.parametrize(
    "columns",
    [
        {"test": (5, 6)},  # 6 trains, too
        {"train": (1, 2, 3, 6)},  # 4 is in neither
        {"test": (5, 7)},
        {"train": None},
        {"train": (1, 2, 3, 4, float("nan"))},
    ],
)
def test_what_does_not_divide_the_frames_is_refused(splits_file, columns):
    with pytest.raises(ValueError, match=r"^\S+splits.mat: .* download splits.mat again$"):
        read_splits(splits_file(**columns), num_frames=6)


def test_listed_scenes_override_the_rule(splits_file, tmp_path):
    listed = tmp_path / "val.txt"
    listed.write_text("kitchen_0001a\n\ncafe_0004\n")
    splits = make_splits(splits_file(), SCENES, num_val=2, val_scenes_file=listed)
    assert splits["nyuv2_val122"] == [1, 6]
    assert splits["nyuv2_train673"] == [2, 3, 4]
    for text in ("kitchen_0001\nkitchen_0001a", "cafe_0004"):
        listed.write_text(text)
        with pytest.raises(ValueError, match=r"val\.txt: "):
            make_splits(splits_file(), SCENES, num_val=2, val_scenes_file=listed)
