"""Brings `.venv` up to date: makes it, finishes it, or finds it current and leaves at once.

    python3 third_party/bootstrap.py

`make` calls this before everything else. `.venv/stamp`, written last, holds a hash of all that the
environment was built from: any other content, or none, means that there is work to do. Standard
library only.
"""

import hashlib
import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "dev,nyuv2"


class SetupError(Exception):
    """Ends the program; its message is the one line that the user reads."""


def say(message):
    print(f"rock_d2: {message}", file=sys.stderr, flush=True)


def run(what, *command):
    if subprocess.call(list(map(str, command)), cwd=ROOT, stdin=subprocess.DEVNULL):
        raise SetupError(f"could not {what}, see the message above; mend that, then run make again")


class Environment:
    """A virtual environment in `root`/.venv and what it is built from."""

    def __init__(self, root):
        self.root = root
        self.folder = root / ".venv"
        self.stamp = self.folder / "stamp"
        self.python = self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def fingerprint(self):
        """Return a hash of the inputs, Python's version and the folder, which scripts name."""
        digest = hashlib.sha256(repr((sys.version_info[:2], str(self.root))).encode())
        detectron2 = (self.root / "third_party" / "detectron2").rglob("*")
        names = ("setup.py", "pyproject.toml", "third_party/bootstrap.py")
        sources = sorted(path for path in detectron2 if path.is_file() and path.suffix != ".pyc")
        for path in [*(self.root / name for name in names), *sources]:
            digest.update(repr((path.name, path.read_bytes())).encode())
        return digest.hexdigest()

    def is_current(self):
        # exists() follows the link: false when the Python it was made with has been removed.
        if not (self.python.exists() and self.stamp.exists()):
            return False
        return self.stamp.read_text() == self.fingerprint()

    def is_usable(self):
        """Return whether .venv can be finished: this Python's version, with pip."""
        probe = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
        with suppress(OSError):
            command = [str(self.python), "-c", probe]
            return subprocess.call(command, stderr=subprocess.DEVNULL) == 0
        return False

    def update(self):
        fingerprint = self.fingerprint()  # of what is installed, should a file change meanwhile
        self.stamp.unlink(missing_ok=True)
        if not self.is_usable():
            say("creating .venv with Python {}.{}".format(*sys.version_info[:2]))
            run("create .venv", sys.executable, "-m", "venv", "--clear", self.folder)
        say("installing PyTorch and the rest (minutes and 6 GB the first time)")
        pip = (self.python, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
        run("install rock_d2", *pip, "install", "--editable", f"{self.root}[{EXTRAS}]")
        run("install Detectron2", self.python, self.root / "third_party/detectron2/install.py")
        self.stamp.write_text(fingerprint)
        say(".venv is ready")


@contextmanager
def locked(path):
    """Let one process in at a time, where the system has such locks; the others wait."""
    with path.open("w") as file:
        with suppress(ImportError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main():
    environment = Environment(ROOT)
    if environment.is_current():
        return 0
    try:
        with locked(ROOT / ".venv.lock"):
            if not environment.is_current():  # unless the process we waited for has done it
                environment.update()
    except (SetupError, OSError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; run make again to finish .venv")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
