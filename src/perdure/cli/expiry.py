"""How a person says when a ticket ends."""

from __future__ import annotations

import re
from datetime import datetime

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_expiry(text: str, now: float) -> float:
    """Unix seconds of `30m`, `12h`, `7d` or `2w` from `now`, or of an ISO 8601 time, which is local unless it says.

    Raises:
        ValueError: it is none of these, or is past.
    """
    if found := re.fullmatch("([0-9]{1,6})([mhdw])", text):
        at = now + int(found[1]) * _SECONDS[found[2]]
    else:
        try:
            at = datetime.fromisoformat(text).astimezone().timestamp()
        except (ValueError, OverflowError, OSError) as error:
            raise ValueError(f"a time is 30m, 12h, 7d, 2w or 2026-12-24T18:00, not {text[:64]!r}") from error
    if at <= now:
        raise ValueError(f"{text} is past")
    return at
