"""The tickets that a gateway serves, and whether it admits a client that holds one. Pure.

1. A ticket that is revoked, or gone, admits nobody; and the sessions that it began end.
2. An expired ticket begins no session; those that it began go on.
3. A list of authorized keys, where there is one, must name the client's key, for as long as its sessions last.
4. A ticket for so many clients binds each client's key when its first session is proved. A key that is bound stays so
   until it is forgotten; the others are told that the ticket is used up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from perdure.keys import key_text
from perdure.ticket import instant_text, ticket_id

MAX_CLIENTS = 1024
"""Remembered of a ticket, 0.3 KiB each in its file; of a ticket for any number of clients, the one that was away for
longest is forgotten first. Also the most that a ticket may be limited to."""


class Verdict(StrEnum):
    """What the gateway says to a client that has proved to hold a ticket."""

    OK = "ok"
    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"
    NOT_AUTHORIZED = "not authorized"
    USED_UP = "used up"

    @property
    def ends_session(self) -> bool:
        """Whether a session that is under way ends, and not only a new one is refused."""
        return self in {Verdict.UNKNOWN, Verdict.REVOKED, Verdict.NOT_AUTHORIZED}


@dataclass(frozen=True, slots=True)
class Holder:
    """Who is at the other end of a gateway's tube: a ticket by its name and id, and the client's public key."""

    ticket: str = field(compare=False)
    """Its name, which its owner may change; empty where the gateway does not know it any more."""
    ticket_id: bytes
    """16 bytes, which name the ticket for good."""
    client_key: bytes
    """The client's X25519 public key: 32 bytes."""

    def __repr__(self) -> str:
        return f"Holder(ticket={self.ticket!r}, key={self.key!r})"

    @property
    def key(self) -> str:
        """The client's public key as `perdure client-key` shows it: 44 characters of base64."""
        return key_text(self.client_key)

    @property
    def short_key(self) -> str:
        """As much of it as tells clients apart, for a log."""
        return self.key[:8]


@dataclass(frozen=True, slots=True)
class Admission:
    """The verdict.

    Args:
        detail: what it does not say about the ticket, as `at …` of one that was revoked, or nothing. The holder is told
            both.
    """

    verdict: Verdict
    detail: str = ""

    @property
    def why(self) -> str:
        """For the gateway's log: a sentence without a full stop; nothing where the client is admitted."""
        match self.verdict:
            case Verdict.OK:
                return ""
            case Verdict.UNKNOWN:
                return "the gateway has no such ticket"
            case Verdict.NOT_AUTHORIZED:
                return "the client's key is not among the authorized keys"
            case Verdict.REVOKED:
                return f"the ticket was revoked {self.detail}"
            case Verdict.EXPIRED:
                return f"the ticket expired {self.detail}"
            case Verdict.USED_UP:
                return f"the ticket is used up: {self.detail}"


@dataclass(frozen=True, slots=True)
class ClientUse:
    """How one client used a ticket: Unix seconds, where it came from last, and its tunnels that are live now."""

    first_used_at: int
    last_used_at: int
    address: str | None = None
    tunnels: int = 0


@dataclass(frozen=True, slots=True)
class ServedTicket:
    """One ticket as its gateway keeps it. Instants are Unix seconds.

    Args:
        expires_at: 0: never.
        uses: how many clients, told apart by their keys, may use it; `None`: any number.
        allow: what it may reach, as `--allow` has it, within what the gateway allows; nothing: all that it allows.
        clients: who used it, by public key.
    """

    name: str
    secret: bytes = field(repr=False)
    created_at: int
    expires_at: int = 0
    uses: int | None = None
    allow: tuple[str, ...] = ()
    revoked_at: int | None = None
    clients: Mapping[bytes, ClientUse] = field(default_factory=dict, hash=False)

    @property
    def ticket_id(self) -> bytes:
        return ticket_id(self.secret)

    @property
    def tunnels(self) -> int:
        """Live ones, of all its clients."""
        return sum(use.tunnels for use in self.clients.values())

    @property
    def last_use(self) -> ClientUse | None:
        return max(self.clients.values(), key=lambda use: use.last_used_at, default=None)

    def is_usable(self, now: float) -> bool:
        """Whether it begins sessions at all."""
        return self.revoked_at is None and not 0 < self.expires_at <= now

    def with_use(self, client_key: bytes, use: ClientUse) -> ServedTicket:
        """With what is now known of a client; within the bound."""
        clients = {**self.clients, client_key: use}
        if len(clients) > MAX_CLIENTS:
            oldest = min(clients, key=lambda key: (key == client_key, clients[key].tunnels, clients[key].last_used_at))
            del clients[oldest]
        return replace(self, clients=clients)

    def without_client(self, client_key: bytes) -> ServedTicket:
        return replace(self, clients={key: use for key, use in self.clients.items() if key != client_key})


def judge(
    ticket: ServedTicket | None, client_key: bytes, *, authorized: frozenset[bytes] | None, now: float
) -> Admission:
    """Whether the gateway admits the client of this key by `ticket`; `None`: there is no such ticket.

    Args:
        authorized: the only client keys that are admitted; `None`: any.
        now: Unix seconds, by the gateway's clock.
    """
    if ticket is None:
        return Admission(Verdict.UNKNOWN)
    if ticket.revoked_at is not None:
        return Admission(Verdict.REVOKED, f"at {instant_text(ticket.revoked_at)}")
    if authorized is not None and client_key not in authorized:
        return Admission(Verdict.NOT_AUTHORIZED)
    if 0 < ticket.expires_at <= now:
        clocks = f"at {instant_text(ticket.expires_at)}, and the gateway's clock says {instant_text(now)}"
        return Admission(Verdict.EXPIRED, clocks)
    if ticket.uses is not None and client_key not in ticket.clients and len(ticket.clients) >= ticket.uses:
        others = "one client, and another one has" if ticket.uses == 1 else f"{ticket.uses} clients, and others have"
        return Admission(Verdict.USED_UP, f"it is for {others} used it")
    return Admission(Verdict.OK)
