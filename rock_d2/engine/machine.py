"""What a run or a measurement was made on."""

import platform
from pathlib import Path

import torch


def machine(*, on_gpu: bool) -> str:
    """The GPU or the processor, the threads that PyTorch uses, and its version."""
    name = torch.cuda.get_device_name() if on_gpu else processor()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def processor() -> str:
    """The name of the CPU, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
