"""The ticket: what a client must hold to find one gateway and be believed by it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from perdure.errors import TicketError

PREFIX = "perdure1-"
"""Names the format's version, and lets a secret scanner recognise a leaked ticket."""

SECRET_BYTES = 32
"""256 bits: the root of every signaling key (docs/signaling.md)."""

_CHECK_BYTES = 4
"""A truncated or mistyped ticket passes with a chance of 2^-32; it is no protection against an attacker."""

MAX_TICKET_CHARACTERS = 1024

MAX_TICKET_FILE_BYTES = 4096
"""Of a file that holds one: what is read of it."""

_HEADER = struct.Struct(f">Q{SECRET_BYTES}s")


@dataclass(frozen=True, slots=True)
class Ticket:
    """The rendezvous' URL, the secret, and when the ticket ends (Unix seconds; 0: never)."""

    rendezvous_url: str
    secret: bytes
    expires_at: int = 0

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise ValueError(f"a ticket's secret has {SECRET_BYTES} bytes, not {len(self.secret)}")
        check_rendezvous_url(self.rendezvous_url)

    def __repr__(self) -> str:
        return f"Ticket(rendezvous_url={self.rendezvous_url!r}, secret=<hidden>, expires_at={self.expires_at})"

    def is_expired(self, now: float) -> bool:
        """Whether the ticket has ended at `now` (Unix seconds)."""
        return 0 < self.expires_at <= now

    def encode(self) -> str:
        """One line of text without spaces: safe in a shell, a URL's fragment and an e-mail."""
        body = _HEADER.pack(self.expires_at, self.secret) + self.rendezvous_url.encode()
        return PREFIX + _encoded(_checksum(body) + body)


def parse_ticket(text: str, *, now: float) -> Ticket:
    """Read a ticket that `perdure serve` printed.

    Args:
        text: the ticket; white space around it is ignored.
        now: Unix seconds, to see whether it has expired.

    Raises:
        TicketError: it is malformed, truncated, or expired (`error.expired`). The message never repeats the ticket.
    """
    text = text.strip()
    if not text:
        raise TicketError("the ticket is empty; copy the whole first line that `perdure serve` printed")
    if not text.startswith(PREFIX):
        raise TicketError(f"this is not a ticket: it does not begin with {PREFIX!r}, as `perdure serve` prints them")
    if len(text) > MAX_TICKET_CHARACTERS:
        raise TicketError(f"this is not a ticket: it has {len(text)} characters, over {MAX_TICKET_CHARACTERS}")
    encoded = text[len(PREFIX) :]
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TicketError("the ticket is malformed or truncated; copy it again, whole") from error
    check, body = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
    # Some of the last character's bits mean nothing to base64: a changed one would pass unseen.
    if len(body) <= _HEADER.size or check != _checksum(body) or _encoded(raw) != encoded:
        raise TicketError("the ticket is truncated or mistyped (its checksum is wrong); copy it again, whole")
    expires_at, secret = _HEADER.unpack_from(body)
    try:
        ticket = Ticket(body[_HEADER.size :].decode(), secret, expires_at)
    except ValueError as error:
        raise TicketError(f"the ticket names no usable rendezvous: {error}") from error
    if ticket.is_expired(now):
        ended = f"{datetime.fromtimestamp(expires_at, UTC):%Y-%m-%d %H:%M} UTC" if expires_at < 2**37 else "long ago"
        raise TicketError(f"the ticket expired at {ended}; ask the gateway's owner for a new one", expired=True)
    return ticket


def load_ticket(ticket: Ticket | str) -> Ticket:
    """A ticket as a program has it: a `Ticket`, its text, or `@FILE`, a file that holds it.

    Raises:
        TypeError: it is neither a `Ticket` nor a text.
        TicketError: it is malformed, truncated, or expired; or the file cannot be read. No message repeats the ticket.
    """
    if isinstance(ticket, Ticket):
        return ticket
    if not isinstance(ticket, str):
        raise TypeError(f"a ticket is a Ticket, its text, or @FILE, not {type(ticket).__name__}")
    if ticket.startswith("@"):
        return read_ticket(Path(ticket[1:]).expanduser())
    if len(ticket) < 256 and Path(ticket).is_file():
        raise TicketError(f"{ticket} is a file and not a ticket: did you mean @{ticket}?")
    return parse_ticket(ticket, now=time.time())


def read_ticket(path: Path) -> Ticket:
    """The ticket in a file.

    Raises:
        TicketError: it is malformed, truncated, or expired; or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_TICKET_FILE_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise TicketError(f"the ticket file {path} cannot be read: {error.strerror}") from error
    return parse_ticket(text, now=time.time())


def check_rendezvous_url(url: str) -> None:
    """Raise `ValueError` unless `url` is a ws:// or wss:// URL with a host, of at most 512 characters."""
    parts = urlsplit(url)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        raise ValueError(f"a rendezvous URL looks like ws://HOST:PORT or wss://HOST, not {url!r}")
    if len(url) > 512:
        raise ValueError(f"a rendezvous URL has at most 512 characters, not {len(url)}")
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"the port in {url!r} is not a number from 0 to 65535") from error


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"perdure ticket" + body).digest()[:_CHECK_BYTES]
