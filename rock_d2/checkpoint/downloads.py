"""Weights by address: fetched once, and checked against the hash in their name."""

import re
from pathlib import Path
from urllib.parse import urlparse

from detectron2.utils.file_io import Detectron2Handler, PathManager
from iopath.common.file_io import get_cache_dir

from rock_d2.files import hash_of

# Names that tell the start of a hash: of MD5 in Detectron2's model zoo (its MODEL_ZOO.md), of
# SHA-256 in torchvision's, timm's and torch.hub's (torch.hub.load_state_dict_from_url).
HASHED_NAMES = (
    ("md5", re.compile(r"/detectron2/.*model_final_([0-9a-f]{6})\.pkl")),
    ("sha256", re.compile(r".*-([0-9a-f]{8,64})\.(?:pth|pt|safetensors)")),
)


def local_file(path: str) -> str:
    """The file itself, fetched first if ``path`` is an address."""
    is_address = "://" in path
    try:
        found = PathManager.get_local_path(path)
        reason = "is no file"
    except OSError as error:
        found, reason = "", f"cannot be fetched ({error})"
    if Path(found).is_file():
        if is_address:
            check_hash(path, Path(found))
        return found
    remedy = f"put it at {cached_file(path)} by hand, or " if is_address else ""
    raise FileNotFoundError(
        f'{path}: {reason}; {remedy}set MODEL.WEIGHTS to the file, or to "" to start from scratch'
    )


def check_hash(address: str, file: Path) -> None:
    """Raises ValueError if the address's name tells a hash and the file's is another."""
    for algorithm, name in HASHED_NAMES:
        told = name.fullmatch(urlparse(full_address(address)).path)
        if not told:
            continue
        found = hash_of(file, algorithm)
        if not found.startswith(told[1]):
            raise ValueError(
                f"{file}: is not what {address} names: its {algorithm} begins with "
                f"{found[: len(told[1])]}, not {told[1]}; delete it, and it is fetched anew"
            )
        return


def full_address(address: str) -> str:
    if not address.startswith(Detectron2Handler.PREFIX):
        return address
    name = address.removeprefix(Detectron2Handler.PREFIX)
    return Detectron2Handler.S3_DETECTRON2_PREFIX + name


def cached_file(address: str) -> Path:
    """Where Detectron2 looks before it downloads."""
    return Path(get_cache_dir()) / urlparse(full_address(address)).path.lstrip("/")
