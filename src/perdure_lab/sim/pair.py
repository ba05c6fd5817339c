"""The pair of addresses that a carrier's two ends use."""

from __future__ import annotations

from typing import NamedTuple


class Pair(NamedTuple):
    """What ICE has chosen: an address of each end, and what is between them."""

    addresses: tuple[str, str]
    relay: int | None
    """Which end's allocation at the relay is between them; `None`: there is nothing between them."""
    rebindings: tuple[int, int]
    """How often the NATs of both had lost their mappings when it was chosen, or when ICE followed the last time."""
