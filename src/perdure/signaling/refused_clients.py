"""What a gateway's owner reads in the log about clients that are not let in."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from perdure.eventlog import log_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.admission import Holder

_logger = logging.getLogger("perdure.signaling")

FULL_LOG_INTERVAL = 60.0
"""Seconds between two lines of a gateway that has no room: each client that waits knocks again after 5 s."""


class RefusedClients:
    """A line for each refusal: such a client gives up. `perdure.line_limit` bounds the lines of a flood.

    Args:
        now: seconds on the event loop's clock.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._full_at: float | None = None
        """When the gateway's having no room was logged last."""

    def refused(self, holder: Holder, why: str) -> None:
        """The client was told that it may not come in, and will not come back."""
        _log(holder, why)

    def has_no_room(self, holder: Holder) -> None:
        """The client was told that it has to wait: a line in `FULL_LOG_INTERVAL`, whoever it is."""
        now = self._now()
        if self._full_at is None or now - self._full_at >= FULL_LOG_INTERVAL:
            self._full_at = now
            _log(holder, "there is no room for another session; it waits, as others may")


def _log(holder: Holder, why: str) -> None:
    # The name is empty where the gateway has no such ticket.
    log_event(_logger, logging.WARNING, "client-refused", ticket=holder.ticket, key=holder.short_key, why=why)
