"""Reading config files as data: Detectron2's own reader runs what a tag in a file asks for."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.utils.file_io import PathManager
from fvcore.common.config import BASE_KEY

from rock_d2.config import add_rock_config

# A few aliases of aliases can stand for more values than any memory holds.
MOST_VALUES = 100_000
# Detectron2's versions of configs; the first is upgraded.
VERSIONS = (1, 2)


def load_config(config: CfgNode | str | os.PathLike, opts: Sequence[str] = ()) -> CfgNode:
    """A config of its own, from a file or another config, with KEY VALUE pairs merged.

    Raises ValueError or OSError if these are no settings.
    """
    if isinstance(config, CfgNode):
        cfg = config.clone()
        cfg.defrost()
    else:
        cfg = get_cfg()
        add_rock_config(cfg)
        merge_file(cfg, config)
    merge_pairs(cfg, opts)
    return cfg


def merge_file(cfg: CfgNode, path: str | os.PathLike) -> None:
    """Merges a config file and those that its ``_BASE_`` names.

    Raises ValueError or OSError, which name the file, if anything is wrong with it.
    """
    check_file(cfg, str(path), ())
    try:
        cfg.merge_from_file(str(path), allow_unsafe=False)
    except (KeyError, AssertionError) as problem:
        # yacs raises these for keys that do not exist and for parts that are no parts.
        raise ValueError(f"{path}: {problem.args[0]}") from None
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from None


def merge_pairs(cfg: CfgNode, pairs: Sequence[Any]) -> None:
    """Merges KEY, VALUE, KEY, VALUE and so on; raises ValueError."""
    try:
        cfg.merge_from_list(list(pairs))
    except (KeyError, AssertionError) as problem:
        words = " ".join(map(str, pairs))
        raise ValueError(f"{words}: {problem.args[0]}") from None


def check_file(cfg: CfgNode, path: str, readers: tuple[str, ...]) -> None:
    """Raises ValueError or OSError if a config or one of its bases is no plain config.

    Args:
        cfg: what it is to be merged into.
        path: of the config.
        readers: the configs that name it as their base, directly or not.
    """
    place = os.path.realpath(path) if "://" not in path else path
    if place in readers:
        raise ValueError(f"{path}: is its own {BASE_KEY}, directly or not; remove one of these")
    if not PathManager.isfile(path):
        reader = f", which {readers[-1]} names as its {BASE_KEY}" if readers else ""
        raise FileNotFoundError(f"{path}: there is no such config file{reader}")
    content = read_mapping(path)
    flat = next(flat_parts(cfg, content), None)
    if flat is not None:
        raise ValueError(f"{path}: {flat} must hold settings by name")
    bases = content.get(BASE_KEY, [])
    bases = bases if isinstance(bases, list) else [bases]
    for base in bases:
        if not isinstance(base, str):
            raise ValueError(f"{path}: {BASE_KEY} is {base!r}, not a file's name")
        check_file(cfg, _place_of(base, path), (*readers, place))


def _place_of(base: str, path: str) -> str:
    """Where a base lies, as fvcore finds it: beside the file that names it."""
    if base.startswith("~"):
        base = str(Path(base).expanduser())
    folder, slash, _ = path.rpartition("/")
    is_whole = base.startswith(("/", "https://", "http://"))
    return base if is_whole else f"{folder}{slash}{base}"


def read_mapping(path: str) -> dict[str, Any]:
    try:
        with PathManager.open(path, "r") as file:
            content = yaml.safe_load(file)
    except yaml.YAMLError as problem:
        reason = " ".join(str(problem).split())
        raise ValueError(f"{path}: is no YAML of plain values: {reason}") from None
    except (UnicodeDecodeError, RecursionError) as problem:
        raise ValueError(f"{path}: is no YAML of plain values: {problem}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds {type(content).__name__}, not settings by name")
    if number_of_values(content, {}) > MOST_VALUES:
        raise ValueError(f"{path}: its aliases stand for more than {MOST_VALUES} values")
    odd = next(odd_names(content), None)
    if odd is not None:
        raise ValueError(f"{path}: {odd!r} is no setting's name")
    version = content.get("VERSION", VERSIONS[-1])
    if version not in VERSIONS:
        raise ValueError(f"{path}: VERSION is {version!r}; it must be {VERSIONS[-1]}")
    return content


def number_of_values(value: Any, counted: dict[int, float]) -> float:
    """With all aliases written out; without end if a value holds itself."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in counted:
        counted[id(value)] = float("inf")
        parts = value.values() if isinstance(value, dict) else value
        counted[id(value)] = 1 + sum(number_of_values(part, counted) for part in parts)
    return counted[id(value)]


def flat_parts(cfg: CfgNode, content: dict[str, Any], place: str = "") -> Iterator[str]:
    """Names of what has parts in the config and none in the content."""
    for name, value in content.items():
        if isinstance(cfg.get(name), CfgNode):
            if not isinstance(value, dict):
                yield f"{place}{name}"
            else:
                yield from flat_parts(cfg[name], value, f"{place}{name}.")


def odd_names(content: dict[Any, Any]) -> Iterator[Any]:
    for name, value in content.items():
        if not isinstance(name, str):
            yield name
        if isinstance(value, dict):
            yield from odd_names(value)
