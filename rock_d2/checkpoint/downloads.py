"""Weights by address: downloaded once into the cache, checked against the hash in their name."""

import re
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlparse
from urllib.request import urlopen

from detectron2.utils.file_io import Detectron2Handler, PathManager
from iopath.common.file_io import file_lock, get_cache_dir

from rock_d2.files import atomic_file, hash_of

DOWNLOADED = ("http", "https", "ftp")
MOST_BYTES = 8 << 30
# Seconds without an answer.
TIMEOUT = 60
BLOCK = 1 << 20

# Names with the start of a hash: of MD5 in Detectron2's model zoo (its MODEL_ZOO.md), of SHA-256
# in torchvision's, timm's and torch.hub's (torch.hub.load_state_dict_from_url).
HASHED_NAMES = (
    ("md5", re.compile(r".*/detectron2/.*model_final_([0-9a-fA-F]{6})\.pkl")),
    ("sha256", re.compile(r".*-([0-9a-fA-F]{8,64})\.(?:pth|pth\.tar|pt|bin|safetensors)")),
)


def local_file(path: str) -> str:
    """Return the file itself, downloaded first if ``path`` is an address.

    Raises:
        OSError, ValueError: if there is no such file, or another one than its name says.
    """
    address = path.replace(Detectron2Handler.PREFIX, Detectron2Handler.S3_DETECTRON2_PREFIX)
    if urlparse(address).scheme in DOWNLOADED:
        return str(_downloaded(address))
    found = PathManager.get_local_path(path)
    if not Path(found).is_file():
        raise FileNotFoundError(
            f'{path}: is no file; set MODEL.WEIGHTS to a file, or to "" to start from scratch'
        )
    return found


def cached_file(address: str) -> Path:
    """Return where Detectron2 looks before it downloads.

    Raises:
        ValueError: if that is outside of the cache.
    """
    cache = Path(get_cache_dir()).resolve()
    parsed = urlparse(address)
    name = parsed.path.lstrip("/") + (f"?{parsed.query}" if parsed.query else "")
    found = (cache / name).resolve()
    if cache not in found.parents:
        raise ValueError(f"{address}: its place {found} is outside of the cache {cache}")
    return found


def _downloaded(address: str) -> Path:
    file = cached_file(address)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(str(file)):
        if file.is_file():
            check_hash(address, file, remedy=f"delete {file} to download it again")
            return file
        try:
            with atomic_file(file) as part:
                _copy(address, part)
                part.flush()
                check_hash(address, Path(part.name), remedy="the file is not kept")
        except (OSError, HTTPException) as error:
            raise FileNotFoundError(
                f"{address}: cannot be downloaded ({error}); put it at {file} by hand, or set "
                'MODEL.WEIGHTS to a file, or to "" to start from scratch'
            ) from error
    return file


def _copy(address: str, file: BinaryIO) -> None:
    size = 0
    with urlopen(address, timeout=TIMEOUT) as response:
        stated = response.headers.get("Content-Length")
        while block := response.read(BLOCK):
            size += file.write(block)
            if size > MOST_BYTES:
                raise OSError(f"it is larger than {MOST_BYTES} bytes")
    if not size or (stated is not None and int(stated) != size):
        raise OSError(f"{size} of {stated} bytes arrived")


def check_hash(address: str, file: Path, *, remedy: str) -> None:
    """Raise ValueError if the address's name has a hash and the file has another."""
    for algorithm, pattern in HASHED_NAMES:
        named = pattern.fullmatch(urlparse(address).path)
        if named:
            wanted, found = named[1].lower(), hash_of(file, algorithm)
            if not found.startswith(wanted):
                raise ValueError(
                    f"{address}: the file has another content than its name says: its "
                    f"{algorithm} begins with {found[: len(wanted)]}, not {wanted}; {remedy}"
                )
