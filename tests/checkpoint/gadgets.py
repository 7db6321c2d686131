"""Pickles that create a file as soon as they are loaded: each is a known way to run code."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch


class Call:
    """Pickled, it is a call: of a function or of what another call returns."""

    def __init__(self, function: Callable, *arguments: object):
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable, tuple]:
        return self.call


def gadgets(trace: Path) -> dict[str, bytes]:
    """Return pickles by the way in which they create ``trace``."""
    touch, code = f"touch {trace}", f"open({str(trace)!r}, 'w')"
    system = Call(os.system, touch)
    build = f"ctypes\nSimpleNamespace\n)\x81}}S'__setstate__'\ncposix\nsystem\nsbS'{touch}'\nb."
    return {
        **{f"system, protocol {i}": pickle.dumps(system, protocol=i) for i in (0, 2, 4)},
        "among weights": pickle.dumps({"layer1.0.conv1.weight": torch.zeros(1), "bias": system}),
        "eval": pickle.dumps(Call(eval, code)),
        "BUILD": build.encode("latin1"),
        "Python 2": f"c__builtin__\neval\n(S{code!r}\ntR.".encode(),
        "dotted name": f"\x80\x04\x8c\x02os\x8c\x0epath.os.system\x93(S'{touch}'\ntR.".encode(
            "latin1"
        ),
    }


def as_pickle(content: bytes, folder: Path) -> Path:
    return _written(folder / "weights.pkl", content)


def as_zip(content: bytes, folder: Path) -> Path:
    """Write a file as PyTorch does since 1.6."""
    with zipfile.ZipFile(folder / "weights.pth", "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", "3\n")
    return folder / "weights.pth"


def as_old_pth(content: bytes, folder: Path) -> Path:
    """Write a file as PyTorch did before: the header's pickles come first."""
    stream = io.BytesIO()
    torch.save({}, stream, _use_new_zipfile_serialization=False)
    stream.seek(0)
    for _ in range(3):
        pickle.load(stream)
    return _written(folder / "weights.pth", stream.getvalue()[: stream.tell()] + content)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


CONTAINERS = (as_pickle, as_zip, as_old_pth)
