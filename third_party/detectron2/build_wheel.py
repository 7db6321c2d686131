"""Packs the source archive of Detectron2 v0.6 and our additions into a pure-Python wheel."""

import base64
import hashlib
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ADDITIONS = HERE / "additions"
METADATA = HERE / "METADATA"
WHEEL_NAME = "detectron2-0.6-py3-none-any.whl"
INFO = "detectron2-0.6.dist-info"

# What setup.py of v0.6 installs inside the package (PROJECTS there).
PROJECTS = {
    "projects/PointRend/point_rend": "detectron2/projects/point_rend",
    "projects/DeepLab/deeplab": "detectron2/projects/deeplab",
    "projects/Panoptic-DeepLab/panoptic_deeplab": "detectron2/projects/panoptic_deeplab",
}
# The only change to a file of Detectron2: everything else that we bring is a file of its own.
INIT_LINE = b"from . import _compat  # noqa: F401  (added by rock_d2's third_party/detectron2)\n"

_WHEEL = b"""Wheel-Version: 1.0
Generator: rock_d2 third_party/detectron2
Root-Is-Purelib: true
Tag: py3-none-any
"""


def package_files(source: Path) -> dict[str, bytes]:
    """Path in the wheel -> content; `detectron2/__init__.py` last, see `build_wheel`."""
    files = {}
    for origin, destination in {"detectron2": "detectron2", **PROJECTS}.items():
        for path in sorted((source / origin).rglob("*")):
            if path.suffix in (".py", ".yaml"):
                relative = path.relative_to(source / origin).as_posix()
                files[f"{destination}/{relative}"] = path.read_bytes()
    for path in sorted(ADDITIONS.glob("*.py")):
        files[f"detectron2/{path.name}"] = path.read_bytes()
    init = files.pop("detectron2/__init__.py")
    files["detectron2/__init__.py"] = INIT_LINE + init
    return files


def build_wheel(source: Path, directory: Path) -> Path:
    """Write the wheel of the unpacked archive `source` into `directory`.

    pip copies a wheel's files in their order here, so an installation that was cut short lacks
    `detectron2/__init__.py`, and therefore `detectron2.__version__`, or its metadata.
    """
    files = package_files(source)
    files[f"{INFO}/LICENSE"] = (source / "LICENSE").read_bytes()
    files[f"{INFO}/WHEEL"] = _WHEEL
    files[f"{INFO}/METADATA"] = METADATA.read_bytes()

    record = []
    wheel = directory / WHEEL_NAME
    with zipfile.ZipFile(wheel, mode="w", compression=zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record.append(f"{name},sha256={digest.decode()},{len(content)}\n")
        archive.writestr(f"{INFO}/RECORD", "".join([*record, f"{INFO}/RECORD,,\n"]))
    return wheel
