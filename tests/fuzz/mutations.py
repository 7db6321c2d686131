"""Random damage: to bytes, and to nested lists and dicts.

Each function returns a description of the damage and the damaged input.
"""

import copy
import math
import reprlib
from collections.abc import Iterator
from typing import Any

import numpy as np

Generator = np.random.Generator

# What people and programs put where something else belongs.
ODD_VALUES = (
    *(None, True, False, 0, -1, 1, 10**6, 2**31, 2**63, -(10**30), 0.5, -0.0, 1e308),
    *(math.nan, math.inf, -math.inf, "", "0", "nowhere.png", "..", "/", "a\0b", "\ud800"),
    *("x" * 999, [], [[]], [None], {}, {"": []}, [0] * 4, [1, 2, 3], [math.nan] * 4, ["a"] * 4),
)


def changed_bytes(rng: Generator, content: bytes) -> tuple[str, bytes]:
    size = len(content)
    # Headers and tables are at the ends.
    place = int(size * rng.beta(0.3, 0.3)) if size else 0
    before, after = content[:place], content[place:]
    new, count = rng.bytes(int(rng.integers(1, 32))), int(rng.integers(1, 64))
    flipped = bytes(byte ^ 1 << int(rng.integers(8)) for byte in after[: 1 + count % 4])
    others = (b"", b"\0", b"<html>404: Not Found</html>", rng.bytes(200))
    changes = {
        "cut off": before,
        "removed": before + after[count:],
        "flipped": before + flipped + after[len(flipped) :],
        "overwritten": before + new + after[len(new) :],
        "inserted": before + new + after,
        "largest": before + b"\xff" * 4 + after[4:],  # fields of sizes become huge
        "zeroed": before + b"\0" * min(8 * count, len(after)) + after[8 * count :],
        "replaced": others[rng.integers(len(others))],
    }
    name = str(rng.choice(list(changes)))
    return f"{name} at byte {place} of {size}", changes[name]


def changed_tree(rng: Generator, tree: Any, odd_values: tuple = ODD_VALUES) -> tuple[str, Any]:
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


def _places(tree: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield of each element its path, and the container and key that hold it."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield (*path, key), tree, key
        if isinstance(value, dict | list):
            yield from _places(value, (*path, key))
