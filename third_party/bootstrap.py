"""Brings `.venv` up to date: makes it, finishes it, or finds it current and leaves at once.

    python3 third_party/bootstrap.py

`make` calls this before everything else. `.venv/stamp`, written last, holds a hash of all that the
environment was built from: any other content, or none, means that there is work to do. Standard
library only; the syntax is Python 3.6's, so that an old Python gets as far as saying what it lacks.
"""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

OLDEST = (3, 10)
CANDIDATES = ("python3.13", "python3.12", "python3.11", "python3.10")
ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "dev,nyuv2"

NETWORK_SIGNS = (
    "Connection refused",
    "ConnectTimeoutError",
    "Failed to establish a new connection",
    "Name or service not known",
    "Network is unreachable",
    "ProxyError",
    "ReadTimeoutError",
    "SSLError",
    "Temporary failure in name resolution",
    "Connection reset by peer",
)
DISK_FULL = (
    "the disk is full: .venv needs 6 GB, and pip puts downloads in its cache and $TMPDIR; "
    "free some space, then run make again"
)


class SetupError(Exception):
    """Ends the program; its message is the one line that the user reads."""


def say(message):
    print("rock_d2: " + message, file=sys.stderr, flush=True)


class Environment:
    """A virtual environment in `root`/.venv and what it is built from."""

    def __init__(self, root):
        self.root = root
        self.folder = root / ".venv"
        self.stamp = self.folder / "stamp"
        self.log = self.folder / "bootstrap.log"
        scripts = "Scripts/python.exe" if os.name == "nt" else "bin/python"
        self.python = self.folder / scripts

    def inputs(self):
        detectron2 = (self.root / "third_party" / "detectron2").rglob("*")
        return [
            self.root / "setup.py",
            self.root / "pyproject.toml",
            self.root / "third_party" / "bootstrap.py",
            *sorted(p for p in detectron2 if p.is_file() and p.suffix != ".pyc"),
        ]

    def fingerprint(self):
        """Hash of the inputs, Python's version and the folder, which scripts in .venv name."""
        digest = hashlib.sha256(repr((sys.version_info[:2], str(self.root))).encode())
        for path in self.inputs():
            content = path.read_bytes()
            digest.update(repr((path.name, len(content))).encode() + content)
        return digest.hexdigest()

    def is_current(self):
        # exists() follows the link: false when the Python it was made with has been removed.
        if not (self.python.exists() and self.stamp.exists()):
            return False
        return self.stamp.read_text() == self.fingerprint()

    def is_usable(self):
        """Whether what lies in .venv can be finished: this Python's version, with pip."""
        if not self.python.exists():
            return False
        probe = "import sys, pip; sys.exit(sys.version_info[:2] != {})".format(sys.version_info[:2])
        command = [str(self.python), "-c", probe]
        try:
            return subprocess.call(command, stderr=subprocess.DEVNULL, cwd=self.folder) == 0
        except OSError:  # not executable
            return False

    def update(self):
        fingerprint = self.fingerprint()  # of what is installed, should a file change meanwhile
        if self.stamp.exists():
            self.stamp.unlink()
        if not self.is_usable():
            if self.folder.exists():
                say("replacing the unusable .venv")
                shutil.rmtree(self.folder)
            say("creating .venv with Python {}.{}".format(*sys.version_info[:2]))
            self.run("create .venv", [sys.executable, "-m", "venv", str(self.folder)])
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        say("installing PyTorch and the rest (minutes the first time; log: {})".format(self.log))
        project = "{}[{}]".format(self.root, EXTRAS)
        self.run("install rock_d2", [*pip, "install", "--editable", project])
        say("installing Detectron2")
        script = self.root / "third_party" / "detectron2" / "install.py"
        self.run("install Detectron2", [str(self.python), str(script)])
        self.write_stamp(fingerprint)
        say(".venv is ready")

    def write_stamp(self, fingerprint):
        # Renaming is atomic: a stamp is never seen half-written.
        temporary = self.folder / "stamp.new"
        temporary.write_text(fingerprint)
        temporary.replace(self.stamp)

    def run(self, what, command):
        """Run `command` with its output in the log; raise SetupError with one line if it fails."""
        self.folder.mkdir(exist_ok=True)
        lines = []
        process = subprocess.Popen(
            command,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            close_fds=False,  # a child that outlives us keeps the lock
        )
        with self.log.open("a", encoding="utf-8", errors="replace", buffering=1) as log:
            for line in process.stdout:
                lines.append(line.rstrip())
                # On a full disk the message matters, not the log.
                if shutil.disk_usage(self.folder).free > len(line):
                    log.write(line)
        if process.wait():
            # Some programs, ensurepip among them, keep the reason to themselves.
            free = min(
                shutil.disk_usage(path).free for path in (self.folder, tempfile.gettempdir())
            )
            raise SetupError(DISK_FULL if free < 2**20 else explain(what, lines, self.log))


def explain(what, lines, log):
    """One line that says why `lines`, the output of a failed command, failed and what to do."""
    text = "\n".join(lines)
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return DISK_FULL
    if "ensurepip is not available" in text:
        return "this Python cannot make .venv: install its python3-venv package and run make again"
    errors = [line.strip() for line in lines if line.strip().startswith("ERROR: ")]
    # pip tries again and goes on after some network troubles: they count if it got no package.
    got_nothing = "No matching distribution" in text or "due to an OSError" in text or not errors
    if got_nothing and any(sign in text for sign in NETWORK_SIGNS):
        return (
            "no network: pip cannot reach the package index; check the connection, HTTPS_PROXY and "
            "`pip config list`, then run make again"
        )
    reason = (errors or [line for line in lines if line] or ["no output"])[-1]
    reason = reason.replace("ERROR: ", "")
    return "could not {}: {} (see {}); mend that, then run make again".format(what, reason, log)


@contextmanager
def locked(path):
    """Only one process at a time: the others wait here."""
    with path.open("w") as file:
        os.set_inheritable(file.fileno(), True)
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting for another make that is building .venv")
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def hand_over():
    """Run this script with a newer Python from PATH, if there is one."""
    accept = "import sys; sys.exit(sys.version_info < {})".format(OLDEST)
    for name in CANDIDATES:
        path = shutil.which(name)
        if path and subprocess.call([path, "-c", accept], stderr=subprocess.DEVNULL) == 0:
            return subprocess.call([path, __file__])
    raise SetupError(
        "needs Python 3.10 to 3.13, but {} is {}.{}: install one of them, or name it: "
        "make PYTHON=/path/to/python3.12 test".format(sys.executable, *sys.version_info[:2])
    )


def main():
    try:
        if sys.version_info < OLDEST:
            return hand_over()
        environment = Environment(ROOT)
        if environment.is_current():
            return 0
        with locked(ROOT / ".venv.lock"):
            if not environment.is_current():  # unless the process we waited for has done it
                environment.update()
    except SetupError as error:
        say(str(error))
        return 1
    except OSError as error:
        other = "cannot make .venv: {}; mend that, then run make again".format(error)
        say(DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else other)
        return 1
    except KeyboardInterrupt:
        say("interrupted; run make again to finish .venv")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
