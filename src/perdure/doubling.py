"""A wait that doubles with each failure."""

from __future__ import annotations


def doubled(first: float, times: int, longest: float) -> float:
    """`first`, doubled so many times; `longest` at most."""
    return min(longest, first * 2.0 ** min(max(0, times), 32))
