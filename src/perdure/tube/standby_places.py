"""How many warm spares the tubes of a registry hold: those that they offered, and those of their peers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.transport.base import Carrier

MAX_STANDBYS = 64
"""Warm spares of a registry, and as many more of its peers'. Each is a peer connection more; a client has one or two
tubes, and a gateway's busiest clients have theirs. So that no peer takes the place of this end's own."""


class StandbyPlaces:
    """A place for each warm spare, until it is used or closed."""

    __slots__ = ("_own", "_peers")

    def __init__(self) -> None:
        self._own: set[int] = set()
        """Ids of carriers: those of an application's transport may not be hashable."""
        self._peers: set[int] = set()

    def has_room(self, *, is_own: bool) -> bool:
        return len(self._own if is_own else self._peers) < MAX_STANDBYS

    def take(self, carrier: Carrier, *, is_own: bool) -> None:
        (self._own if is_own else self._peers).add(id(carrier))

    def give_back(self, carrier: Carrier) -> None:
        """It is used or closed. One without a place: nothing."""
        self._own.discard(id(carrier))
        self._peers.discard(id(carrier))

    def has(self, carrier: Carrier) -> bool:
        return id(carrier) in self._own or id(carrier) in self._peers
