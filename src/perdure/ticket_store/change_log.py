"""What the log says when tickets change: one line a ticket, and one where none is left that admits anybody."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from perdure.eventlog import log_event
from perdure.ticket_store.view import changes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure.admission import ServedTicket
    from perdure.ticket_store.view import View

log = logging.getLogger(__name__)


def log_doubles(before: View, after: View) -> None:
    """Name the tickets that are newly left out, because another one has their secret."""
    for name in sorted(after.doubles - before.doubles):
        text = f"the ticket {name} has the secret of another one, and is left out"
        log_event(log, logging.WARNING, "ticket-file", problem=text)


def log_changes(before: View, after: View) -> bool:
    """Say what has become of each ticket that is not as it was; whether there is any."""
    found = list(changes(before, after))
    for name, change in found:
        log_event(log, logging.INFO, "ticket", name=name, change=change)
    return bool(found)


class UsableLog:
    """Says that no ticket admits anybody (any more): once, until one does again."""

    def __init__(self) -> None:
        self._is_told = False

    def look(self, tickets: Iterable[ServedTicket], *, now: float) -> None:
        """Take what the tickets are at `now` (Unix seconds)."""
        is_nobodys = not any(ticket.is_usable(now) for ticket in tickets)
        if is_nobodys and not self._is_told:
            problem = "no ticket admits anybody: `perdure ticket create NAME` makes one"
            log_event(log, logging.WARNING, "ticket-store", problem=problem)
        self._is_told = is_nobodys
