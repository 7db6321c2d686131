"""Detectron2 as third_party/detectron2 installs it, on today's PyTorch, NumPy, Pillow, setuptools.

The tests of Detectron2 itself hold for its main branch too; those of our wheel are skipped there.
"""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64decode
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from detectron2 import model_zoo
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.layers import nms_rotated
from detectron2.structures import Boxes, Instances, RotatedBoxes, pairwise_iou_rotated

FOLDER = Path(__file__).parents[2] / "third_party" / "detectron2"
MODULES = (
    "detectron2.data.transforms",
    "detectron2.model_zoo",
    "detectron2.export",
    "detectron2.utils.analysis",
    "detectron2.projects.point_rend",
    "detectron2.projects.deeplab",
)

ours = pytest.mark.skipif(
    not (importlib.util.find_spec("detectron2._C").origin or "").endswith("_C.py"),
    reason="Detectron2 is another build",
)


def run(*args: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *args]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def scripts():
    """The modules install and build_wheel."""
    sys.path.insert(0, str(FOLDER))
    import build_wheel
    import install

    yield install, build_wheel
    sys.path.remove(str(FOLDER))


def test_modules_are_imported_in_another_order():
    result = run("-c", f"import {', '.join(MODULES[::-1])}")
    assert result.returncode == 0, result.stderr


@ours
def test_rotated_operators_say_why_they_are_missing():
    x = torch.ones(2, 5)
    with pytest.raises(RuntimeError, match=r"'box_iou_rotated' is not available.*its compiled"):
        pairwise_iou_rotated(RotatedBoxes(x), RotatedBoxes(x))
    with pytest.raises(RuntimeError, match=r"'nms_rotated' is not available.*its compiled"):
        nms_rotated(x, x[:, 0], 0.5)


def test_model_zoo_finds_its_configs():
    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
    assert cfg.MODEL.MASK_ON


def test_coco_evaluator_with_default_arguments(tmp_path):
    """Two classes, one object each; one is found exactly, one is missed: AP is 50."""
    boxes = [[10, 10, 30, 40], [50, 20, 40, 40]]
    annotations = [
        {"id": i + 1, "image_id": 7, "category_id": i + 1, "bbox": box, "iscrowd": 0}
        | {"area": box[2] * box[3]}
        for i, box in enumerate(boxes)
    ]
    path = tmp_path / "instances.json"
    content = {
        "info": {},
        "images": [{"id": 7, "file_name": "7.jpg", "height": 100, "width": 100}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "bed"}, {"id": 2, "name": "lamp"}],
    }
    path.write_text(json.dumps(content))
    register_coco_instances("third_party_test", {}, str(path), str(tmp_path))
    try:
        inputs = DatasetCatalog.get("third_party_test")
        evaluator = COCOEvaluator("third_party_test", output_dir=str(tmp_path))
        evaluator.reset()
        found = Instances(
            (100, 100),
            pred_boxes=Boxes(torch.tensor([[10.0, 10, 40, 50]])),
            scores=torch.tensor([0.9]),
            pred_classes=torch.tensor([0]),
        )
        evaluator.process(inputs, [{"instances": found}])
        results = evaluator.evaluate()["bbox"]
    finally:
        DatasetCatalog.remove("third_party_test")
        MetadataCatalog.remove("third_party_test")
    assert results["AP-bed"] == pytest.approx(100)
    assert results["AP-lamp"] == pytest.approx(0)
    assert results["AP"] == pytest.approx(50)


def test_install_leaves_an_existing_detectron2_alone(tmp_path):
    init = tmp_path / "detectron2" / "__init__.py"
    init.parent.mkdir()
    init.write_text("__version__ = '0.6'\n")
    # Any use of pip would fail.
    result = run(str(FOLDER / "install.py"), PYTHONPATH=str(tmp_path), PIP_NO_INDEX="1")
    assert result.returncode == 0, result.stderr
    assert f"already installed in {init.parent}" in result.stdout


def test_install_renews_only_its_own_outdated_build(scripts, tmp_path):
    install, build_wheel = scripts
    package, info = tmp_path / "detectron2", tmp_path / install.INFO
    package.mkdir()
    info.mkdir()
    assert not install.is_outdated(package)  # somebody else's, with a compiled _C
    (package / "_C.py").touch()
    assert install.is_outdated(package)
    (info / "recipe.sha256").write_text(build_wheel.recipe_hash())
    assert not install.is_outdated(package)
    (info / "recipe.sha256").write_text("old")
    assert install.is_outdated(package)


def test_archive_with_another_content_is_refused(scripts, tmp_path):
    install, _ = scripts
    archive = tmp_path / "pb1-detectron2-0.6.tar.gz"
    archive.write_bytes(b"forged")
    with pytest.raises(SystemExit, match=sha256(b"forged").hexdigest()):
        install.unpack(archive, tmp_path)


@pytest.fixture
def wheel(scripts, tmp_path):
    """The files of a wheel built from a small source."""
    _, build_wheel = scripts
    sources = {
        "detectron2/__init__.py": "__version__ = '0.6'\n",
        "detectron2/layers/masks.py": "x.astype(np.bool), np.bool_, y.LINEAR, Image.LINEAR\n",
        "detectron2/model_zoo/configs/a.yaml": "A: np.bool\n",
        **{f"{project}/__init__.py": f"# {project}\n" for project in build_wheel.PROJECTS},
        "detectron2/layers/csrc/vision.cpp": "not for the wheel",
        "LICENSE": "Apache",
    }
    for name, old, _ in build_wheel.CHANGES:
        sources[name] = sources.get(name, "# before\n") + old
    for name, text in sources.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with zipfile.ZipFile(build_wheel.build_wheel(tmp_path / "source", tmp_path)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_wheel_changes_only_lines_that_its_table_names(scripts, wheel):
    _, build_wheel = scripts
    note = build_wheel.NOTE
    assert wheel["detectron2/__init__.py"] == b"__version__ = '0.6'\n"
    assert wheel["detectron2/model_zoo/configs/a.yaml"] == b"A: np.bool\n"
    assert wheel["detectron2/layers/masks.py"].decode() == (
        f"{note}x.astype(bool), np.bool_, y.LINEAR, Image.BILINEAR\n"
    )
    for name, _, new in build_wheel.CHANGES:
        text = wheel[name].decode()
        assert text.startswith(f"{note}# before\n") and new in text
    with pytest.raises(ValueError, match=r"model_zoo\.py: not the file of Detectron2 v0\.6"):
        build_wheel.changed("detectron2/model_zoo/model_zoo.py", "import os\n")


def test_wheel_has_a_right_record_and_ends_with_the_package(wheel):
    package = [name for name in wheel if name.startswith("detectron2/")]
    assert "detectron2/_C.py" in package and "detectron2/projects/deeplab/__init__.py" in package
    assert not [name for name in package if name.endswith(".cpp")]
    # Copied last, so that an installation that was cut short does not import.
    assert package[-1] == "detectron2/__init__.py"
    record = wheel.pop("detectron2-0.6.dist-info/RECORD").decode().splitlines()
    rows = dict(line.split(",", maxsplit=1) for line in record[:-1])
    assert rows.keys() == wheel.keys()
    for name, content in wheel.items():
        digest, size = rows[name].removeprefix("sha256=").split(",")
        assert urlsafe_b64decode(digest + "=") == sha256(content).digest()
        assert int(size) == len(content)
