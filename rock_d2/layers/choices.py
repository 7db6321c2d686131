"""Settings that choose a part by its name."""

from collections.abc import Sequence
from typing import Any

from detectron2.layers import get_norm
from fvcore.common.registry import Registry


def registered(registry: Registry, name: str, *, setting: str) -> Any:
    """Return the part that a setting names.

    Raises:
        ValueError: if there is none of that name; the message lists those that there are.
    """
    if name not in registry:
        known = ", ".join(known for known, _ in registry)
        raise ValueError(f"{setting} is {name!r}; it must be one of {known}")
    return registry.get(name)


def check_norm(norm: str, channels: Sequence[int], *, setting: str) -> None:
    """Raise ValueError unless Detectron2's get_norm knows the name, for these channels."""
    for count in set(channels):
        try:
            get_norm(norm, count)
        except (KeyError, ValueError) as problem:
            raise ValueError(
                f"{setting} is {norm!r}, which Detectron2's get_norm does not know, or not for "
                f"{count} channels: {problem}"
            ) from None
