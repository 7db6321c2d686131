"""Packs the source archive of Detectron2 v0.6 into a pure-Python wheel for today's libraries."""

import base64
import hashlib
import re
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
WHEEL_NAME = "detectron2-0.6-py3-none-any.whl"
INFO = "detectron2-0.6.dist-info"

# What setup.py of v0.6 installs inside the package (PROJECTS there).
PROJECTS = {
    "projects/PointRend/point_rend": "detectron2/projects/point_rend",
    "projects/DeepLab/deeplab": "detectron2/projects/deeplab",
    "projects/Panoptic-DeepLab/panoptic_deeplab": "detectron2/projects/panoptic_deeplab",
}

# Names that NumPy 1.24 and Pillow 10 removed, in all files.
RENAMED = (
    (r"\bnp\.(bool|int|float|str)\b", r"\1"),
    (r"\bImage\.LINEAR\b", "Image.BILINEAR"),
)
# File, old text, new text; each as Detectron2's main branch has it, or simpler.
CHANGES = (
    # Today's PyTorch warns of torch.jit.script, which Detectron2 and fvcore call when imported.
    (
        "detectron2/__init__.py",
        "from .utils.env import setup_environment\n",
        "import warnings\n\n"
        "warnings.filterwarnings('ignore', '.*torch.jit.script.* is deprecated')\n"
        "from .utils.env import setup_environment\n",
    ),
    # setuptools 82 has no pkg_resources.
    ("detectron2/model_zoo/model_zoo.py", "import pkg_resources\n", ""),
    (
        "detectron2/model_zoo/model_zoo.py",
        'pkg_resources.resource_filename(\n        "detectron2.model_zoo", '
        'os.path.join("configs", config_path)\n    )',
        'os.path.join(os.path.dirname(__file__), "configs", config_path)',
    ),
    # PyTorch no longer contains Caffe2.
    (
        "detectron2/export/__init__.py",
        "from .api import *\n",
        "try:\n    from .api import *\nexcept ImportError:  # no Caffe2\n    pass\n",
    ),
    # The evaluator uses the compiled COCOeval by default.
    (
        "detectron2/evaluation/coco_evaluation.py",
        "from detectron2.evaluation.fast_eval_api import COCOeval_opt\n",
        "COCOeval_opt = COCOeval\n",
    ),
    # PyTorch warns of a call without `indexing`.
    (
        "detectron2/modeling/anchor_generator.py",
        "torch.meshgrid(shifts_y, shifts_x)",
        'torch.meshgrid(shifts_y, shifts_x, indexing="ij")',
    ),
)
NOTE = "# Changed by rock_d2's third_party/detectron2; its README.md says what.\n"

_WHEEL = b"""Wheel-Version: 1.0
Generator: rock_d2 third_party/detectron2
Root-Is-Purelib: true
Tag: py3-none-any
"""


def recipe_hash() -> str:
    """Return a hash of all that a wheel is made from; it is kept in the wheel."""
    files = (HERE / name for name in ("_C.py", "METADATA", "build_wheel.py", "source.txt"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def changed(name: str, text: str) -> str:
    """Return a source file with its changes; raise ValueError if one has no place."""
    new = text
    for pattern, replacement in RENAMED:
        new = re.sub(pattern, replacement, new)
    for _, old, replacement in (change for change in CHANGES if change[0] == name):
        if old not in new:
            raise ValueError(f"{name}: not the file of Detectron2 v0.6, it lacks {old!r}")
        new = new.replace(old, replacement)
    return new if new == text else NOTE + new


def package_files(source: Path) -> dict[str, bytes]:
    """Return path in the wheel -> content; `detectron2/__init__.py` last, see `build_wheel`."""
    files = {}
    for origin, destination in {"detectron2": "detectron2", **PROJECTS}.items():
        for path in sorted((source / origin).rglob("*")):
            name = f"{destination}/{path.relative_to(source / origin).as_posix()}"
            if path.suffix == ".py":
                files[name] = changed(name, path.read_text(encoding="utf-8")).encode()
            elif path.suffix == ".yaml":
                files[name] = path.read_bytes()
    files["detectron2/_C.py"] = (HERE / "_C.py").read_bytes()
    files["detectron2/__init__.py"] = files.pop("detectron2/__init__.py")
    return files


def build_wheel(source: Path, directory: Path) -> Path:
    """Write the wheel of the unpacked archive `source` into `directory`.

    pip copies a wheel's files in their order here, so an installation that was cut short lacks
    `detectron2/__init__.py`, and therefore `detectron2.__version__`, or its metadata.
    """
    files = package_files(source)
    files[f"{INFO}/LICENSE"] = (source / "LICENSE").read_bytes()
    files[f"{INFO}/WHEEL"] = _WHEEL
    files[f"{INFO}/METADATA"] = (HERE / "METADATA").read_bytes()
    files[f"{INFO}/recipe.sha256"] = recipe_hash().encode()
    record = []
    wheel = directory / WHEEL_NAME
    with zipfile.ZipFile(wheel, mode="w", compression=zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record.append(f"{name},sha256={digest.decode()},{len(content)}\n")
        archive.writestr(f"{INFO}/RECORD", "".join([*record, f"{INFO}/RECORD,,\n"]))
    return wheel
