"""The code and the machine that a run or a measurement is made with."""

import platform
import subprocess
from pathlib import Path

import torch


def machine(*, on_gpu: bool) -> str:
    """Return the GPU or the processor, the threads that PyTorch uses, and its version."""
    name = platform.processor() or platform.machine()
    if on_gpu:
        name = torch.cuda.get_device_name()
    elif (file := Path("/proc/cpuinfo")).exists():
        models = [line for line in file.read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":", 1)[1].strip() if models else name
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def git_commit() -> str:
    """Return the commit that this code is at, and whether files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40"]
    try:
        done = subprocess.run([*command, "--dirty=, with changes"], capture_output=True, text=True)
    except OSError:
        return "unknown: there is no git"
    return done.stdout.strip() or "unknown: this is no git checkout"
