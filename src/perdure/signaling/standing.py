"""How much a connection at the rendezvous has proved. Where there are too many, who has proved less goes first."""

from __future__ import annotations

import enum


class Standing(enum.IntEnum):
    """The least first."""

    NEW = 0
    """It has not joined a room, or is about to end."""
    WAITING = 1
    """A client of a room without a gateway: anybody may invent a room."""
    STRANGER = 2
    """A client for whom its room's gateway does not vouch (yet)."""
    PROVED = 3
    """A gateway, which has proved its key, or a client for whom one has vouched. Anybody may make a key."""
