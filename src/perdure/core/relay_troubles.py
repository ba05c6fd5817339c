"""What a tube's core is told of TURN servers, for a person."""

from __future__ import annotations

from typing import NamedTuple


class RelayTroubles(NamedTuple):
    """What is wrong with TURN servers now."""

    sentences: tuple[str, ...] = ()
    allow_no_path: bool = False
    """Whether no path can be found until that is mended, so that there is nothing else to check."""
