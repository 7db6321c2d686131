"""Sets in tar files: the same batches as from the many files they were made of."""

from itertools import islice

import pytest
import torch
from trainings import config, differing

from rock_d2 import build_train_loader
from rock_d2.image_files import read_pixels
from rock_d2.tasks import Depth


def batches(folder, root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    items = [x for batch in islice(build_train_loader(config(folder)), 2) for x in batch]
    return [
        {k: v for k, v in item.items() if not k.endswith("file_name") and k != "instances"}
        | {"boxes": item["instances"].gt_boxes.tensor, "kinds": item["instances"].gt_classes}
        for item in items
    ]


def test_shards_give_the_same_batches(rooms_root, tmp_path, monkeypatch):
    pytest.importorskip("webdataset")
    from check_dataset import check_dataset
    from make_shards import make_shards

    expected = batches(tmp_path, rooms_root, monkeypatch)
    # Of a few images each.
    made = make_shards("rooms_train", tmp_path / "sharded", max_bytes=3e5)
    folder = tmp_path / "sharded/rooms"
    assert made == folder / "annotations/rooms_train.json"
    assert len(list(folder.iterdir())) == 1 + len(list(folder.glob("rooms_train-*.tar"))) > 2
    found = batches(tmp_path, tmp_path / "sharded", monkeypatch)
    assert len(found) == 8 and {"image", "depth", "normals", "scene"} <= found[0].keys()
    assert list(differing(found, expected)) == []
    assert not torch.equal(found[0]["image"], found[1]["image"])
    report = check_dataset("rooms_train", [Depth()], num_processes=1)
    assert report.problems == [] and report.coverage["depth"] > 0.5
    with pytest.raises(ValueError, match=r"rooms_train.json is there"):
        make_shards("rooms_train", tmp_path / "sharded", max_bytes=3e5)
    # Tar files of before do not come into the new ones.
    made.unlink()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    make_shards("rooms_train", tmp_path / "sharded", max_bytes=1e9)
    assert len(list(folder.glob("rooms_train-*.tar"))) == 1
    assert list(differing(batches(tmp_path, tmp_path / "sharded", monkeypatch), expected)) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.tar#0+9/x.png", "is no image"), ("b.tar#0+9/x.png", "is missing")],
)
def test_a_wrong_place_in_a_tar_file_is_an_error_of_one_line(tmp_path, name, message):
    (tmp_path / "a.tar").write_bytes(bytes(20))
    with pytest.raises(ValueError, match=rf"^{tmp_path}/{name[0]}.tar#.*x.png.* {message}"):
        read_pixels(tmp_path / name)
