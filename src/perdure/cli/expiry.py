"""How a person says a time: when a ticket ends, or since when something is to be shown."""

from __future__ import annotations

import re
from datetime import datetime

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_expiry(text: str, now: float) -> float:
    """Unix seconds of `30m`, `12h`, `7d` or `2w` from `now`, or of an ISO 8601 time, which is local unless it says.

    Raises:
        ValueError: it is none of these, or is past.
    """
    at = _parse(text, now, 1)
    if at == now:
        raise ValueError(f"a ticket that ends in {text} admits nobody; leave --expires out if it is not to expire")
    if at <= now:
        raise ValueError(f"{text} is past")
    return at


def parse_since(text: str, now: float) -> float:
    """Unix seconds of `30m`, `12h`, `7d` or `2w` before `now`, or of an ISO 8601 time.

    Raises:
        ValueError: it is none of these.
    """
    return _parse(text, now, -1)


def _parse(text: str, now: float, sign: int) -> float:
    if found := re.fullmatch("([0-9]{1,6})([mhdw])", text):
        return now + sign * int(found[1]) * _SECONDS[found[2]]
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"a time is 30m, 12h, 7d, 2w or 2026-12-24T18:00, not {text[:64]!r}") from error
