"""Which addresses a path has lost a moment ago, and whether one of them comes back. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from perdure.netmon.state import canonical

if TYPE_CHECKING:
    from perdure.netmon.state import Change

RETURNS_WITHIN = 10.0
"""Seconds for which an address may be away and still be the same network's when it is back: a cable with a loose
contact, a Wi-Fi that reconnects. Later it may be of another network that gives out the same address."""

MOST_LOST = 4
"""Remembered at once; a machine has an uplink or two."""


class LostAddress(NamedTuple):
    ip: str
    at: float


class Lost(NamedTuple):
    """What one path has lost."""

    addresses: tuple[LostAddress, ...] = ()
    """The last one at the end."""
    is_return: bool = False
    """Whether the change that was seen last brought one of them back, and the path has no other address."""


def after(lost: tuple[LostAddress, ...], change: Change, address: str | None, now: float) -> Lost:
    """What is lost after a change.

    Args:
        lost: what was lost before.
        address: the path's own, as it was before the change; `None` where there is no path.
        now: seconds on a clock that runs on during sleep.
    """
    recent = tuple(each for each in lost if now - each.at <= RETURNS_WITHIN)
    away = tuple(each for each in recent if each.ip not in change.after.holders)
    has_returned = any(change.returns(each.ip) for each in recent)
    if address is None:
        return Lost(away, has_returned)
    if not change.invalidates(address):
        return Lost(away, has_returned and change.returns(address))
    ip = canonical(address)
    if ip in change.after.holders:  # the default route has left it
        return Lost(away)
    if all(each.ip != ip for each in away):
        away = (*away, LostAddress(ip, now))[-MOST_LOST:]
    return Lost(away, has_returned)
