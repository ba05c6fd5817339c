"""`perdure demo`."""

from __future__ import annotations


def demo() -> None:
    """The main job on one machine."""
