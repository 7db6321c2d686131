"""Reading config files as plain values: Detectron2's own reader runs what YAML tags ask for."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager
from fvcore.common.config import BASE_KEY

# Base configs of a config, direct and indirect.
MOST_BASES = 100


def merge_file(cfg: CfgNode, path: str) -> None:
    """Merge a config file and its bases.

    Raises:
        ValueError, OSError: if they are no settings; the message names the file.
    """
    for number, (file, content) in enumerate(_files(path)):
        if number > MOST_BASES:
            raise ValueError(f"{path}: more than {MOST_BASES} configs by {BASE_KEY}")
        for name in _values_for_nodes(cfg, content):
            raise ValueError(f"{file}: {name} must hold settings by name")
    try:
        cfg.merge_from_file(path, allow_unsafe=False)
    except (KeyError, AssertionError, ValueError, TypeError, AttributeError) as problem:
        raise ValueError(f"{path}: {' '.join(str(problem).split())}") from None


def _values_for_nodes(cfg: CfgNode, content: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Yield the names of settings that are nodes in the config and values in a file."""
    for name, value in content.items():
        if isinstance(cfg.get(name), CfgNode):
            if isinstance(value, dict):
                yield from _values_for_nodes(cfg[name], value, f"{place}{name}.")
            else:
                yield f"{place}{name}"


def _files(path: str, readers: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a config and its bases, direct and indirect, with their contents.

    Args:
        path: of the config.
        readers: the configs whose base it is, directly or not.
    """
    content = _read(path)
    yield path, content
    bases = content.get(BASE_KEY, [])
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str):
            raise ValueError(f"{path}: {BASE_KEY} is {base!r}, not a file's name")
        base = _beside(path, base)
        if base in (path, *readers):
            raise ValueError(f"{path}: {base} is its own {BASE_KEY}, directly or not")
        if not PathManager.isfile(base):
            raise FileNotFoundError(f"{base}: there is no such config, the {BASE_KEY} of {path}")
        yield from _files(base, (path, *readers))


class _PlainLoader(yaml.SafeLoader):
    """Reads plain values.

    An alias may stand for a list of plain values, as in configs that Detectron2 has written:
    aliases of aliases could stand for more than any memory holds.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        # A list that holds itself has no end yet.
        is_plain = isinstance(node, yaml.SequenceNode) and node.end_mark is not None
        if is_alias and not (is_plain and all(isinstance(x, yaml.ScalarNode) for x in node.value)):
            raise yaml.YAMLError("an alias (*name) stands for more than a list of plain values")
        return node


def _read(path: str) -> dict[str, Any]:
    if not PathManager.isfile(path):
        raise FileNotFoundError(f"{path}: there is no such config file")
    try:
        with PathManager.open(path, "r") as file:
            content = yaml.load(file, _PlainLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as problem:
        reason = " ".join(str(problem).split())
        raise ValueError(f"{path}: is no YAML of plain values: {reason}") from None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ValueError(f"{path}: holds {type(content).__name__}, not settings by name")
    return content


def _beside(path: str, base: str) -> str:
    """Return where fvcore looks for a base: beside the file that names it."""
    base = str(Path(base).expanduser()) if base.startswith("~") else base
    is_whole = base.startswith(("/", "https://", "http://"))
    # Not Path's, which would change the slashes of an address.
    return base if is_whole else os.path.normpath(f"{os.path.dirname(path) or '.'}/{base}")  # noqa: PTH120
