"""The tickets that a gateway serves: kept in a folder that its owner's commands change while it runs, or in memory."""

from __future__ import annotations

from perdure.ticket_store.record import check_name
from perdure.ticket_store.store import DEFAULT_TICKET, POLL_INTERVAL, TicketStore

__all__ = ["DEFAULT_TICKET", "POLL_INTERVAL", "TicketStore", "check_name"]
