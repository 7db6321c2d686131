"""Random damage: to bytes, to lines of text and to nested lists and dicts."""

import copy
import math
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np

Generator = np.random.Generator


def changed_bytes(rng: Generator, content: bytes) -> tuple[str, bytes]:
    """What was done, and the bytes after it."""
    change = CHANGES_OF_BYTES[rng.integers(len(CHANGES_OF_BYTES))]
    # Headers and tables stand at the ends.
    size = len(content)
    place = int(size * rng.beta(0.3, 0.3)) if size else 0
    return f"{change.__name__.removeprefix('_')} at byte {place} of {size}", change(
        rng, content, place
    )


def _cut_off(rng: Generator, content: bytes, place: int) -> bytes:
    return content[:place]


def _removed(rng: Generator, content: bytes, place: int) -> bytes:
    return content[:place] + content[place + int(rng.integers(1, 64)) :]


def _flipped(rng: Generator, content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    for i in range(place, min(place + int(rng.integers(1, 5)), len(changed))):
        changed[i] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _overwritten(rng: Generator, content: bytes, place: int) -> bytes:
    new = rng.bytes(int(rng.integers(1, 32)))
    return content[:place] + new + content[place + len(new) :]


def _inserted(rng: Generator, content: bytes, place: int) -> bytes:
    return content[:place] + rng.bytes(int(rng.integers(1, 32))) + content[place:]


def _largest(rng: Generator, content: bytes, place: int) -> bytes:
    """Fields of sizes become huge."""
    return content[:place] + b"\xff" * 4 + content[place + 4 :]


def _zeroed(rng: Generator, content: bytes, place: int) -> bytes:
    length = min(int(rng.integers(1, 512)), len(content) - place)
    return content[:place] + b"\0" * length + content[place + length :]


def _replaced(rng: Generator, content: bytes, place: int) -> bytes:
    return (b"", b"\0", b"<html>404: Not Found</html>", rng.bytes(200))[rng.integers(4)]


CHANGES_OF_BYTES: tuple[Callable, ...] = (
    *(_cut_off, _removed, _flipped, _overwritten, _inserted, _largest, _zeroed, _replaced),
)

# What people and programs put where something else belongs.
ODD_VALUES = (
    *(None, True, False, 0, -1, 1, 10**6, 2**31, 2**63, -(10**30), 0.5, -0.0, 1e308),
    *(math.nan, math.inf, -math.inf, "", "0", "nowhere.png", "..", "/", "a\0b", "\ud800"),
    *("x" * 999, [], [[]], [None], {}, {"": []}, [0] * 4, [1, 2, 3], [math.nan] * 4, ["a"] * 4),
)


def changed_tree(rng: Generator, tree: Any, odd_values: tuple = ODD_VALUES) -> tuple[str, Any]:
    """What was done to nested lists and dicts, and a copy of them after it."""
    tree = copy.deepcopy(tree)
    places = list(_places(tree))
    if not places:
        return "nothing in it to change", tree
    # Each level alike, else nearly all places are numbers within a list within a list.
    level = int(rng.choice(sorted({len(path) for path, *_ in places})))
    at_level = [place for place in places if len(place[0]) == level]
    path, parent, key = at_level[rng.integers(len(at_level))]
    where = "".join(f"[{part!r}]" for part in path)
    match rng.integers(6):
        case 0:
            del parent[key]
            return f"{where} deleted", tree
        case 1:
            _, other, other_key = places[rng.integers(len(places))]
            parent[key] = copy.deepcopy(other[other_key])
            return f"{where} replaced by what stands elsewhere", tree
        case 2 if isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
            return f"{where} doubled", tree
        case 3 if isinstance(parent, dict):
            parent[f"{key}_"] = parent.pop(key)
            return f"{where} renamed", tree
    parent[key] = copy.deepcopy(odd_values[rng.integers(len(odd_values))])
    return f"{where} = {reprlib.repr(parent[key])}", tree


def _places(tree: Any, path: tuple = ()):
    """Of each element: its path, and the container and key that hold it."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield (*path, key), tree, key
        if isinstance(value, dict | list):
            yield from _places(value, (*path, key))


ODD_LINES = (
    *("MODEL: 3", "MODEL:", "- 1", ": :", "a: [", "\t", "x: !!python/name:os.system", "_BASE_: 3"),
    *("_BASE_: nowhere.yaml", "VERSION: 1", "VERSION: many", "? [1, 2]", "&a [*a]", "%YAML 9.9"),
    *('MODEL: {SSD: "yes"}', "SOLVER: [1]", "INPUT: {SIZE: 3}", "DATASETS: {TRAIN: [nothing]}"),
    *("MODEL: {NUM: 1}", "{" * 3000, "'", "\x07", "OUTPUT_DIR: 2020-01-01", "SEED: 0x1F"),
)


def changed_lines(rng: Generator, text: str) -> tuple[str, str]:
    """What was done to the lines of a text, and the text after it."""
    lines = text.splitlines() or [""]
    place = int(rng.integers(len(lines)))
    match rng.integers(5):
        case 0:
            what, new = "deleted", lines[:place] + lines[place + 1 :]
        case 1:
            what, new = "doubled", lines[:place] + lines[place : place + 1] + lines[place:]
        case 2:
            new = [*lines]
            new[place] = " " * int(rng.integers(1, 5)) + new[place]
            what = "indented"
        case 3:
            odd = ODD_LINES[rng.integers(len(ODD_LINES))]
            what, new = f"before it {reprlib.repr(odd)}", [*lines[:place], odd, *lines[place:]]
        case _:
            value = reprlib.repr(ODD_VALUES[rng.integers(len(ODD_VALUES))])
            new = [*lines]
            new[place] = f"{new[place].partition(':')[0]}: {value}"
            what = f"its value {value}"
    return f"line {place + 1}: {what}", "\n".join(new) + "\n"
