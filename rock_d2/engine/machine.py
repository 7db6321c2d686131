"""The code and the machine that a run or a measurement is made with."""

import platform
import subprocess
import sys
from pathlib import Path

import torch
from detectron2.utils.collect_env import collect_env_info


def machine(*, on_gpu: bool) -> str:
    """Return the GPU or the processor, the threads that PyTorch uses, and its version."""
    name = torch.cuda.get_device_name() if on_gpu else processor()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def processor() -> str:
    """Return the name of the CPU, where the system gives one."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def git_commit() -> str:
    """Return the commit that this code is at, and whether files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40"]
    try:
        found = subprocess.run(
            [*command, "--dirty=, with changes"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown: this is no git checkout"
    return found.stdout.strip()


def environment(*, on_gpu: bool) -> str:
    """Return the command, the commit, the machine and the versions of libraries."""
    facts = {
        "command": " ".join(sys.argv),
        "commit": git_commit(),
        "machine": machine(on_gpu=on_gpu),
    }
    listed = "".join(f"{name}: {fact}\n" for name, fact in facts.items())
    return f"{listed}\n{collect_env_info()}\n"
