"""Parts by the names that settings give them."""

from typing import Any

from fvcore.common.registry import Registry


def registered(registry: Registry, name: str, *, setting: str) -> Any:
    """Return the part of that name.

    Raises:
        ValueError: if there is none; the message has the setting and the names that there are.
    """
    if name not in registry:
        known = ", ".join(sorted(known for known, _ in registry))
        raise ValueError(f"{setting}: {name!r} is none of {known}")
    return registry.get(name)
