"""The Python API: the numbers of the test loader, for images as files and as arrays."""

import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import detection_utils
from detectron2.modeling import build_model
from PIL import Image
from tiny import detector_cfg
from tiny_model import CONFIG, OPTS, tiny_config

from rock_d2 import RockDatasetMapper
from rock_d2.predictor import Predictor
from rock_d2.visualization import draw_output

pytest_plugins = ("tiny_weights",)


@pytest.fixture(scope="module")
def predictor(tiny_weights) -> Predictor:
    return Predictor(CONFIG, tiny_weights["rock"], opts=OPTS, batch_size=2)


@pytest.fixture(scope="module")
def images(rooms_root) -> list:
    return sorted((rooms_root / "rooms" / "images").iterdir())[:3]


def assert_equal(found, wanted) -> None:
    assert found.keys() == wanted.keys()
    boxes, truth = found["instances"], wanted["instances"]
    torch.testing.assert_close(boxes.scores, truth.scores)
    torch.testing.assert_close(boxes.pred_boxes.tensor, truth.pred_boxes.tensor)
    for task in found.keys() - {"instances"}:
        torch.testing.assert_close(found[task], wanted[task])


def test_equals_model_on_test_loader_items(predictor, images):
    record = {"file_name": str(images[0]), "height": 120, "width": 160}
    item = RockDatasetMapper(tiny_config(), is_train=False)(record)
    with torch.no_grad():
        wanted = predictor.model([item])[0]
    assert len(wanted["instances"]) > 10
    assert_equal(predictor(images[0]), wanted)
    # Equation 2: the scores are the softmax of the maps' means; 96 x 128 at stride 8.
    encodings = predictor(images[0], encodings=True)["encodings"]
    assert encodings.keys() == {"scene", "depth", "normals"}
    assert encodings["scene"].shape == (27, 12, 16)
    torch.testing.assert_close(encodings["scene"].mean(dim=(1, 2)).softmax(dim=0), wanted["scene"])


def test_files_arrays_one_and_many_agree(predictor, images):
    arrays = [detection_utils.read_image(str(image), format="RGB") for image in images]
    together = predictor(images)
    assert len(together) == 3
    for output, path, array in zip(together, images, arrays, strict=True):
        assert_equal(predictor(str(path)), output)
        assert_equal(predictor(array), output)


@pytest.fixture
def folder(images, tmp_path):
    """Two images, a file that is none, and a video of them that loses nothing."""
    folder = tmp_path / "rooms"
    folder.mkdir()
    for name, image in zip(("a.png", "b.png"), images, strict=False):
        shutil.copy(image, folder / name)
    (folder / "notes.txt").write_text("no image")
    codec = cv2.VideoWriter_fourcc(*"FFV1")
    video = cv2.VideoWriter(str(folder / "walk.avi"), codec, 5, (160, 120))
    for name in ("a.png", "b.png"):
        video.write(cv2.imread(str(folder / name)))
    video.release()
    return folder


@pytest.fixture
def address(folder):
    """That of the folder, and one that nobody serves."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_every_kind_of_source_gives_the_same(predictor, folder, address):
    first, second = wanted = predictor([folder / "a.png", folder / "b.png"])
    with Image.open(folder / "a.png") as photo:
        assert_equal(predictor(photo), first)
    assert_equal(predictor(f"{address}/a.png?size=full"), first)
    video = cv2.VideoCapture(str(folder / "walk.avi"))
    patterns = (f"{folder}/*.png", f"{folder.parent}/room*")
    several = [folder, *patterns, [f"{address}/a.png", [folder / "b.png"]], video]
    for source in several:
        for found, truth in zip(predictor(source), wanted, strict=True):
            assert_equal(found, truth)
    assert [found.name for found in predictor(folder)] == [f"{folder}/a.png", f"{folder}/b.png"]
    # Without an end: the results come as the images do.
    endless = chain([folder / "walk.avi", folder / "b.png"], iter(lambda: folder / "a.png", None))
    stream = predictor.stream(endless)
    for truth in (first, second, second, first, first):
        assert_equal(next(stream), truth)


def test_what_cannot_be_read_is_named_or_left_out(predictor, folder, address):
    for source, problem in (
        (f"{address}/c.png", r"c\.png: cannot be downloaded \(HTTP Error 404"),
        ("http://127.0.0.1:1/a.png", r"a\.png: cannot be downloaded .*save the image"),
        (f"{address}/notes.txt", r"http.*notes\.txt: is no image of the formats"),
        (folder / "*.jpg", r"\*\.jpg: is missing"),
        (str(folder / "notes.mp4"), r"notes\.mp4: is missing"),
    ):
        with pytest.raises((OSError, ValueError), match=problem):
            predictor(source)
    (folder / "aa.png").write_text("no image")
    problems = []
    found = list(predictor.stream(folder, on_error=problems.append))
    assert [result.name[-5:] for result in found] == ["a.png", "b.png"]
    assert len(problems) == 1 and "aa.png: is no image" in problems[0]


def test_takes_labels_as_the_test_loader_does(tiny_weights, rooms_root, images):
    given = ("MODEL.ROCK.GIVEN", '["Depth", "Scene"]')
    predictor = Predictor(CONFIG, tiny_weights["rock"], opts=[*OPTS, *given])
    files = [rooms_root / "rooms" / "depth" / image.name for image in images[:2]]
    record = {"file_name": str(images[0]), "height": 120, "width": 160}
    record |= {"depth_file_name": str(files[0]), "scene_id": 3}
    cfg = tiny_config()
    cfg.merge_from_list(list(given))
    item = RockDatasetMapper(cfg, is_train=False)(record)
    assert {"depth", "scene"} <= item.keys() and "normals" not in item
    with torch.no_grad():
        wanted = predictor.model([item])[0]
    found, other = predictor(images[:2], depth=[files[0], None], scene=[3, None])
    assert_equal(found, wanted)
    metres = cv2.imread(str(files[0]), cv2.IMREAD_UNCHANGED) / 1000
    assert_equal(predictor(images[0], depth=metres.astype(np.float32), scene=3), wanted)
    for wrong, problem in ((metres[:9], "9 x 160, its"), (metres - 99, "unknown pixels must be 0")):
        with pytest.raises(ValueError, match=rf"depth.* {problem}"):
            predictor(images[0], depth=wrong)
    plain, expected = predictor(images[:2])
    assert_equal(other, expected)
    assert not torch.equal(found["instances"].scores, plain["instances"].scores)
    with pytest.raises(ValueError, match=r"normals: .* but those of: .*depth.*MODEL\.ROCK\.GIVEN"):
        predictor(images[0], normals=files[0])
    with pytest.raises(ValueError, match=r"depth: there are 1 labels and 2 images"):
        predictor(images[:2], depth=files[:1])


def assert_own_sizes(predictor, sizes) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    images = [pixels[:height, :width] for height, width in sizes]
    for output, image in zip(predictor(images), images, strict=True):
        size = image.shape[:2]
        if "instances" in output:
            assert output["instances"].image_size == size
            corners = output["instances"].pred_boxes.tensor
            assert (corners <= corners.new_tensor([*size[::-1]] * 2)).all()
        maps = [output[task.name] for task in predictor.tasks if task.is_map]
        assert [tuple(values.shape[1:]) for values in maps] == [size, size]
        picture = draw_output(image, output, predictor.tasks, predictor.metadata, 0.5)
        assert picture.shape[1] == (4 if "instances" in output else 3) * 484 - 4


@pytest.mark.parametrize("detector", ["retinanet", "mask_rcnn", "none"])
def test_any_detector_sees_images_at_their_own_proportions(detector, tmp_path):
    cfg = detector_cfg("mask_rcnn" if detector == "none" else detector)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "MODEL.NECK.NAME", "ROCK"])
    cfg.INPUT.SIZE, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = [], 64, 128
    if detector == "none":
        cfg.MODEL.DETECTOR = ""
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "model.pth")
    predictor = Predictor(cfg, tmp_path / "model.pth", batch_size=3)
    assert_own_sizes(predictor, [(50, 301), (333, 70), (120, 160)])
    assert predictor(np.zeros((120, 160, 3), np.uint8), encodings=True)["encodings"].keys() == {
        *("scene", "depth", "normals")
    }


def test_refuses_what_is_no_image(predictor, tmp_path):
    with pytest.raises(ValueError, match=r"image is float64 \(9, 9, 3\); it must be uint8"):
        predictor(np.zeros((9, 9, 3)))
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", "."):
        with pytest.raises(ValueError, match=r"not a regular file|no regular file"):
            predictor(tmp_path / name)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text.png: is no image"):
        predictor([tmp_path / "text.png"])
