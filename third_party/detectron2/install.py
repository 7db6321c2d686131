"""Installs Detectron2 v0.6 into the environment of the Python that runs this script.

    python third_party/detectron2/install.py

Does nothing where `import detectron2` works already, be it v0.6 or the main branch. PyTorch has to
be installed first. README.md beside this file says what the wheel is made of.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from build_wheel import INFO, build_wheel, recipe_hash

SOURCE = Path(__file__).resolve().parent / "source.txt"
# A folder without __init__.py imports, too, but has no version.
PROBE = "import detectron2; detectron2.__version__; print('folder', detectron2.__path__[0])"


def run_pip(*args: str) -> None:
    """Run pip; when it fails, its own output has said why."""
    if subprocess.call([sys.executable, "-m", "pip", "--quiet", *args]):
        sys.exit(f"detectron2: `pip {args[0]}` failed, see its message above")


def installed_package() -> Path | None:
    """Return the folder of a Detectron2 that imports, or None if there is none."""
    result = subprocess.run([sys.executable, "-c", PROBE], cwd=SOURCE.parent, capture_output=True)
    found = re.search(r"^folder (.+)$", result.stdout.decode(), flags=re.MULTILINE)
    return Path(found[1].strip()) if result.returncode == 0 and found else None


def is_outdated(package: Path) -> bool:
    """Return whether `package` is our wheel, made by another recipe than today's."""
    if not (package / "_C.py").exists():
        return False
    stamp = package.with_name(INFO) / "recipe.sha256"
    return not stamp.exists() or stamp.read_text() != recipe_hash()


def download(directory: Path) -> Path:
    """Get the source archive with pip, which runs the archive's setup.py: that needs torch."""
    options = ["--no-deps", "--no-build-isolation", "--no-binary=:all:", "--require-hashes"]
    run_pip("download", *options, f"--dest={directory}", f"--requirement={SOURCE}")
    return next(directory.glob("*.tar.gz"))


def unpack(archive: Path, directory: Path) -> Path:
    expected = re.search(r"sha256:([0-9a-f]{64})", SOURCE.read_text())[1]
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    if actual != expected:
        sys.exit(f"detectron2: {archive} has sha256 {actual}, expected {expected}: do not use it")
    with tarfile.open(archive) as tar:
        # Python 3.12 warns if no filter is chosen; early releases of 3.10 and 3.11 have none.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(directory)
    return next(path for path in directory.iterdir() if path.is_dir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, help="use this source archive, download nothing")
    args = parser.parse_args()

    package = installed_package()
    if package is not None and not is_outdated(package):
        print(f"detectron2: already installed in {package}, nothing to do")
        return
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        archive = args.archive or download(directory)
        wheel = build_wheel(unpack(archive, directory), directory)
        # Two steps: the first brings what is missing, the second replaces an outdated detectron2.
        run_pip("install", str(wheel))
        if package is not None:
            run_pip("install", "--no-deps", "--force-reinstall", str(wheel))
    package = installed_package()
    if package is None:
        sys.exit("detectron2: installed, but `import detectron2` fails; run it to see why")
    print(f"detectron2: installed in {package}")


if __name__ == "__main__":
    main()
