"""Detectron2 as third_party/detectron2 installs it, on today's PyTorch, NumPy, Pillow, setuptools.

The tests of what Detectron2 does hold for its main branch too; those of our additions are skipped.
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
from detectron2.layers import ROIAlignRotated, nms_rotated
from detectron2.modeling import build_model
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
CRITICAL = "PIL.Image, matplotlib.pyplot, numpy, pkgutil, setuptools, torch, torchvision"

ours = pytest.mark.skipif(
    importlib.util.find_spec("detectron2._compat") is None, reason="Detectron2 is another build"
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


@pytest.mark.parametrize("module", MODULES)
def test_module_is_imported_first(module):
    result = run("-c", f"import {module}")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("modules", [MODULES, MODULES[::-1]], ids=["forward", "backward"])
def test_modules_are_imported_after_their_dependencies(modules):
    result = run("-c", f"import {CRITICAL}, {', '.join(modules)}")
    assert result.returncode == 0, result.stderr


@ours
def test_stand_ins_are_not_left_for_others_to_find():
    probe = "import sys, detectron2.model_zoo, detectron2.export; print(*sys.modules)"
    modules = run("-c", probe).stdout.split()
    assert "detectron2.export.shared" in modules
    assert not [name for name in modules if name.split(".")[0] == "caffe2"]
    real = importlib.util.find_spec("pkg_resources") is not None
    assert ("pkg_resources" in modules) == real


def test_rock_d2_without_detectron2_says_how_to_install_it():
    result = run("-c", "import sys; sys.modules['detectron2'] = None; import rock_d2")
    assert result.returncode == 1
    last_line = result.stderr.strip().splitlines()[-1]
    assert last_line == (
        "ImportError: rock_d2 needs Detectron2; "
        "install it with: python third_party/detectron2/install.py"
    )


def test_collect_env_runs():
    result = run("-m", "detectron2.utils.collect_env")
    assert result.returncode == 0, result.stderr
    assert torch.__version__ in result.stdout


@ours
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("box_iou_rotated", lambda x: pairwise_iou_rotated(RotatedBoxes(x), RotatedBoxes(x))),
        ("nms_rotated", lambda x: nms_rotated(x, x[:, 0], 0.5)),
        (
            "roi_align_rotated_forward",
            lambda x: ROIAlignRotated((7, 7), 1.0, 0)(torch.ones(1, 3, 8, 8), torch.ones(2, 6)),
        ),
    ],
)
def test_rotated_operator_says_its_name_and_the_reason(name, call):
    with pytest.raises(RuntimeError, match=f"'{name}' is not available.*without its compiled"):
        call(torch.ones(2, 5))


@ours
@pytest.mark.parametrize("name", ["deform_conv_forward", "modulated_deform_conv_forward"])
def test_deformable_operator_says_its_name_and_the_reason(name):
    # Called directly: on the CPU Detectron2 stops earlier, with an error of its own.
    from detectron2 import _C

    with pytest.raises(RuntimeError, match=f"'{name}' is not available.*without its compiled"):
        getattr(_C, name)(torch.ones(1), 3)


@ours
def test_caffe2_export_says_why_it_is_refused():
    from detectron2.export import Caffe2Model

    with pytest.raises(RuntimeError, match=r"PyTorch no longer contains Caffe2"):
        Caffe2Model.load_protobuf("nowhere")


@pytest.mark.parametrize("name", ["retinanet_R_50_FPN_1x", "faster_rcnn_R_50_FPN_1x"])
def test_model_zoo_config_builds_and_runs(name):
    cfg = model_zoo.get_config(f"COCO-Detection/{name}.yaml")
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg).eval()
    image = torch.zeros(3, 64, 96, dtype=torch.uint8)
    with torch.no_grad():
        (output,) = model([{"image": image, "height": 128, "width": 192}])
    assert output["instances"].image_size == (128, 192)
    assert output["instances"].pred_boxes.tensor.shape[1] == 4


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
    assert [path.name for path in init.parent.iterdir() if path.is_file()] == ["__init__.py"]


def test_half_copied_detectron2_does_not_count_as_installed(scripts, tmp_path):
    install, _ = scripts
    package = tmp_path / "detectron2"
    package.mkdir()
    # -S hides the Detectron2 that is really there.
    probe = ("-S", "-c", install.PROBE)
    assert run(*probe, PYTHONPATH=str(tmp_path)).returncode == 1
    (package / "__init__.py").write_text("__version__ = '0.6'\n")
    assert run(*probe, PYTHONPATH=str(tmp_path)).returncode == 0


@pytest.mark.parametrize("file", ["detectron2/_C.py", "detectron2-0.6.dist-info/METADATA"])
def test_install_renews_only_its_own_outdated_build(scripts, file, tmp_path):
    install, _ = scripts
    package, info = tmp_path / "detectron2", tmp_path / "detectron2-0.6.dist-info"
    package.mkdir()
    info.mkdir()
    assert not install.is_outdated(package)  # no _compat.py: somebody else's
    for path in install.ADDITIONS.glob("*.py"):
        (package / path.name).write_bytes(path.read_bytes())
    (info / "METADATA").write_bytes((FOLDER / "METADATA").read_bytes())
    assert not install.is_outdated(package)
    (tmp_path / file).write_text("old")
    assert install.is_outdated(package)
    (tmp_path / file).unlink()
    assert install.is_outdated(package)


@ours
def test_what_pip_installed_is_not_outdated(scripts):
    install, _ = scripts
    assert not install.is_outdated(install.installed_package())


def test_archive_with_another_content_is_refused(scripts, tmp_path):
    install, _ = scripts
    archive = tmp_path / "pb1-detectron2-0.6.tar.gz"
    archive.write_bytes(b"forged")
    with pytest.raises(SystemExit, match=sha256(b"forged").hexdigest()):
        install.unpack(archive, tmp_path)


def test_wheel_holds_the_sources_unchanged_and_our_additions(scripts, tmp_path):
    _, build_wheel = scripts
    sources = {
        "detectron2/__init__.py": "__version__ = '0.6'\n",
        "detectron2/layers/__init__.py": "",
        "detectron2/model_zoo/configs/a.yaml": "A: 1\n",
        **{f"{project}/__init__.py": f"# {project}\n" for project in build_wheel.PROJECTS},
        "detectron2/layers/csrc/vision.cpp": "not for the wheel",
        "LICENSE": "Apache",
    }
    for name, text in sources.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    with zipfile.ZipFile(build_wheel.build_wheel(tmp_path / "source", tmp_path)) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist()}

    additions = {f"detectron2/{path.name}" for path in build_wheel.ADDITIONS.glob("*.py")}
    package = [name for name in files if name.startswith("detectron2/")]
    assert set(package) - additions == {
        "detectron2/__init__.py",
        "detectron2/layers/__init__.py",
        "detectron2/model_zoo/configs/a.yaml",
        "detectron2/projects/point_rend/__init__.py",
        "detectron2/projects/deeplab/__init__.py",
        "detectron2/projects/panoptic_deeplab/__init__.py",
    }
    assert files["detectron2/model_zoo/configs/a.yaml"] == b"A: 1\n"
    assert files["detectron2/__init__.py"] == build_wheel.INIT_LINE + b"__version__ = '0.6'\n"
    # Copied last, so that an installation that was cut short does not import.
    assert package[-1] == "detectron2/__init__.py"

    record = files.pop("detectron2-0.6.dist-info/RECORD").decode().splitlines()
    rows = dict(line.split(",", maxsplit=1) for line in record[:-1])
    assert rows.keys() == files.keys()
    for name, content in files.items():
        digest, size = rows[name].removeprefix("sha256=").split(",")
        assert urlsafe_b64decode(digest + "=") == sha256(content).digest()
        assert int(size) == len(content)
