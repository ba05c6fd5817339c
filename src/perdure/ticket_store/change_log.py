"""What the log says when a store's tickets change: one line a ticket."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from perdure.eventlog import log_event
from perdure.ticket_store.view import changes

if TYPE_CHECKING:
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
