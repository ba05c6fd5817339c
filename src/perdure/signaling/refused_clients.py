"""What a gateway's owner reads in the log about clients that are not let in."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from perdure.eventlog import log_event
from perdure.signaling.rate import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.admission import Holder

_logger = logging.getLogger("perdure.signaling")

FULL_LOG_INTERVAL = 60.0
"""Seconds between two lines of a gateway that has no room: each client that waits knocks again after 5 s."""

LINES_AT_ONCE = 60
LINES_PER_SECOND = 1 / 6
"""A client gives up once it is refused. One with a revoked ticket that does not, may ask 25 times a second: 2 million
lines a day, each below what `perdure.line_limit` leaves out."""


class RefusedClients:
    """A line for each refusal, but in a flood: there some say how many were not logged.

    Args:
        now: seconds on the event loop's clock.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._full_at: float | None = None
        """When the gateway's having no room was logged last."""
        self._lines = TokenBucket(LINES_PER_SECOND, LINES_AT_ONCE, now=0.0)
        self._not_logged = 0

    def refused(self, holder: Holder, why: str) -> None:
        """The client was told that it may not come in, and will not come back."""
        if self._lines.take(self._now()):
            _log(holder, why, not_logged=self._not_logged)
            self._not_logged = 0
        else:
            self._not_logged += 1

    def has_no_room(self, holder: Holder) -> None:
        """The client was told that it has to wait: a line in `FULL_LOG_INTERVAL`, whoever it is."""
        now = self._now()
        if self._full_at is None or now - self._full_at >= FULL_LOG_INTERVAL:
            self._full_at = now
            _log(holder, "there is no room for another session; it waits, as others may")


def _log(holder: Holder, why: str, *, not_logged: int = 0) -> None:
    # The name is empty where the gateway has no such ticket.
    ticket, key, before = holder.ticket, holder.short_key, {"not_logged_before": not_logged} if not_logged else {}
    log_event(_logger, logging.WARNING, "client-refused", ticket=ticket, key=key, why=why, **before)
