"""What an application reports of the network, parsed once into the core's event."""

from __future__ import annotations

from collections.abc import Mapping

from perdure.core.decision import Trigger
from perdure.core.events import NetworkChanged

MAX_SLEPT_SECONDS = 10 * 365 * 86400.0
"""No machine sleeps longer and is asked about its tunnels."""


_KINDS: dict[str, type | tuple[type, ...]] = {
    "has_address": bool,
    "is_new_address": bool,
    "local_address_lost": bool,
    "slept_seconds": (int, float),
    "detail": str,
}


def network_changed(change: Trigger, data: Mapping[str, object]) -> NetworkChanged:
    """The event of `change`; `data` as `TunnelConnectionManager.report_network_change` takes it.

    Who reports a change of interface or address, and says nothing of having none, has one.

    Raises:
        ValueError: no change of a network, an unknown key, or a value of another type or out of its range.
    """
    if not isinstance(change, Trigger):
        raise ValueError(f"a network change is a NetworkChangeType, not {change!r}")
    if change is Trigger.REQUEST:
        raise ValueError("a recovery is asked for with restart_ice() or rebuild()")
    if not isinstance(data, Mapping):
        raise ValueError(f"what is known of a network change comes as a dict, not as {type(data).__name__}")
    for name, value in data.items():
        kind = _KINDS.get(name)
        if kind is None:
            raise ValueError(f"{name!r} says nothing about a network change; known are {', '.join(_KINDS)}")
        if not isinstance(value, kind) or (name == "slept_seconds" and isinstance(value, bool)):
            raise ValueError(f"{name} is {value!r}, which is of another type")
        if isinstance(value, float | int) and not 0 <= value <= MAX_SLEPT_SECONDS:
            raise ValueError(f"{name} is {value}, outside 0 to {MAX_SLEPT_SECONDS:.0f} s")
        if name != "detail" and not change.is_network_event:
            raise ValueError(f"{name} goes with a change of the network, not with {change.name}")
    known = {"has_address": None if change is Trigger.WAKE_UP else True} if change.is_network_event else {}
    return NetworkChanged(change, **{**known, **data})  # type: ignore[arg-type]
