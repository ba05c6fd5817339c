"""The tickets as a gateway sees them: what the files hold, with what its clients did since on top of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from perdure.admission import ClientUse, ServedTicket


@dataclass(frozen=True, slots=True)
class Use:
    """What is to be written of a client. If it binds no key, it is dropped where the key was forgotten meanwhile."""

    use: ClientUse | None
    """`None`: the client is to be forgotten."""
    binds: bool
    ticket_id: bytes
    """Of the ticket that was used: another one may have its name since."""


Uses: TypeAlias = "Mapping[str, Mapping[bytes, Use]]"
"""By the ticket's name and the client's key."""


@dataclass(frozen=True, slots=True)
class View:
    """Tickets by name, and their names by ticket id. Of two tickets with one secret, the first by name has the id; the
    others are `doubles`."""

    tickets: Mapping[str, ServedTicket] = field(default_factory=dict)
    names: Mapping[bytes, str] = field(default_factory=dict)
    doubles: frozenset[str] = frozenset()

    def find(self, ticket_id: bytes) -> ServedTicket | None:
        name = self.names.get(ticket_id)
        return None if name is None else self.tickets[name]

    def with_ticket(self, ticket: ServedTicket) -> View:
        """With another state of a ticket that is in it already."""
        return View({**self.tickets, ticket.name: ticket}, self.names, self.doubles)


def view_of(held: Mapping[str, ServedTicket], *uses: Uses) -> View:
    """`held` with the `uses`, the later ones on top."""
    tickets = {}
    for name in sorted(held):
        ticket = held[name]
        for each in uses:
            ticket = with_uses(ticket, each.get(name, {}))
        tickets[name] = ticket
    names: dict[bytes, str] = {}
    doubles = {name for name, ticket in tickets.items() if names.setdefault(ticket.ticket_id, name) != name}
    return View(tickets, names, frozenset(doubles))


def changes(before: View, after: View) -> Iterator[tuple[str, str]]:
    """Each ticket that is not as it was, by name, and what has become of it."""
    for name in sorted(before.tickets.keys() | after.tickets.keys()):
        old, new = before.tickets.get(name), after.tickets.get(name)
        if old is None or new is None:
            yield name, "created" if old is None else "gone"
        elif old.revoked_at is None and new.revoked_at is not None:
            yield name, "revoked"
        elif old != new:
            yield name, "changed"


def with_uses(ticket: ServedTicket, uses: Mapping[bytes, Use]) -> ServedTicket:
    """The ticket with what is to be written of its clients."""
    for key, each in uses.items():
        if each.ticket_id != ticket.ticket_id:
            continue
        if each.use is None:
            ticket = ticket.without_client(key)
        elif each.binds or key in ticket.clients:
            ticket = ticket.with_use(key, each.use)
    return ticket
