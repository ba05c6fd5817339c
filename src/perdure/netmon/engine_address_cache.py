"""Which local addresses the WebRTC engine can know. Pure.

libwebrtc keeps one list of local networks for the process, reads it when its first peer connection is made, and again
every 2 s while there is one. An ICE restart gathers only from that list (measured: up to 2.8 s of silence when the
address is missing there), whereas an engine that starts afresh sees everything at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.netmon.state import InterfaceAddress, Snapshot

KNOWN_AFTER = 2.5
"""Seconds until the engine has surely seen an address: libwebrtc's 2 s, and time for its threads to come to it."""

_SINCE_BEFORE = float("-inf")


class EngineAddressCache:
    """Since when each address has been there for the engine to see. Instants are seconds on a clock that stands still
    while the machine sleeps, as the engine's timer does."""

    __slots__ = ("_is_first", "_seen_at")

    def __init__(self) -> None:
        self._seen_at: dict[InterfaceAddress, float] = {}
        self._is_first = True

    def saw(self, snapshot: Snapshot, now: float) -> None:
        """What is there now. What the first snapshot holds was there before; an address that comes back begins anew, as
        the engine may have noticed that it was away."""
        appeared_at = _SINCE_BEFORE if self._is_first else now
        self._seen_at = {address: self._seen_at.get(address, appeared_at) for address in snapshot.bindable}
        self._is_first = False

    def stopped(self, seconds: float) -> None:
        """The process was stopped for `seconds` while the clock ran, and the engine with it: they do not count."""
        self._seen_at = {address: at + seconds for address, at in self._seen_at.items()}

    def is_new(self, snapshot: Snapshot, now: float) -> bool:
        """Whether the engine knows no address of the interfaces with the default routes (without one: of any)."""
        in_use = frozenset(address for address in snapshot.bindable if address.interface in snapshot.default_interfaces)
        addresses = in_use or snapshot.bindable
        return bool(addresses) and not any(_is_known(self._seen_at.get(address, now), now) for address in addresses)


def _is_known(seen_at: float, now: float) -> bool:
    return now - seen_at >= KNOWN_AFTER
