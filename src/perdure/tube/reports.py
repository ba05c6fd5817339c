"""What an application reports of the network, parsed once into the core's event."""

from __future__ import annotations

from collections.abc import Mapping

from perdure.core.events import NetworkChanged
from perdure.core.restart import Trigger

MAX_SLEPT_SECONDS = 10 * 365 * 86400.0
"""No machine sleeps longer and is asked about its tunnels."""


def network_changed(change: Trigger, data: Mapping[str, object]) -> NetworkChanged:
    """The event of `change`; `data` as `TunnelConnectionManager.handle_network_change` takes it.

    Raises:
        ValueError: an unknown key, or a value of another type or out of its range.
    """
    if not isinstance(change, Trigger):
        raise ValueError(f"a network change is a NetworkChangeType, not {change!r}")
    if not isinstance(data, Mapping):
        raise ValueError(f"what is known of a network change comes as a dict, not as {type(data).__name__}")
    kinds = {"has_address": bool, "is_new_address": bool, "slept_seconds": (int, float), "detail": str}
    for name, value in data.items():
        kind = kinds.get(name)
        if kind is None:
            raise ValueError(f"{name!r} says nothing about a network change; known are {', '.join(kinds)}")
        if not isinstance(value, kind) or (name == "slept_seconds" and isinstance(value, bool)):  # type: ignore[arg-type]
            raise ValueError(f"{name} is {value!r}, which is of another type")
        if isinstance(value, float | int) and not 0 <= value <= MAX_SLEPT_SECONDS:
            raise ValueError(f"{name} is {value}, outside 0 to {MAX_SLEPT_SECONDS:.0f} s")
    return NetworkChanged(change, **data)  # type: ignore[arg-type]
