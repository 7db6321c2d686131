"""What settings choose, by name."""

from collections.abc import Collection
from typing import Any

from fvcore.common.registry import Registry


def registered(registry: Registry, name: str, *, setting: str) -> Any:
    """Return the part of that name; raise ValueError if there is none."""
    check_choice(name, sorted(known for known, _ in registry), setting=setting)
    return registry.get(name)


def check_choice(value: Any, choices: Collection[Any], *, setting: str) -> None:
    """Raise ValueError if the value of a setting is none of its choices."""
    if value not in choices:
        known = ", ".join(map(str, choices))
        raise ValueError(f"{setting} is {value!r}; it must be one of: {known}")
