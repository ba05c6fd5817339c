"""Tickets for tests: of no gateway at all, and of one that is to come."""

from __future__ import annotations

from perdure.ticket import Ticket
from perdure.ticket_store import DEFAULT_TICKET, TicketStore

GATEWAY = bytes(reversed(range(32)))
"""The public key in `ticket_for`'s; nobody has the private one."""


def ticket_for(url: str, secret: bytes = bytes(32), expires_at: int = 0) -> Ticket:
    """A ticket of no gateway that exists."""
    return Ticket(url, GATEWAY, secret, expires_at)


def tickets_with_default() -> TicketStore:
    """What a gateway serves; its ticket `default` can be handed out before."""
    tickets = TicketStore()
    tickets.create(DEFAULT_TICKET, now=0)
    return tickets
