"""The ticket: what a client must hold to find one gateway, to know it again, and be believed by it."""

from __future__ import annotations

import base64
import codecs
import hashlib
import logging
import os
import string
import struct
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from perdure.errors import TicketError
from perdure.eventlog import log_event
from perdure.private_files import expanded, read_file, readable_by_others
from perdure.urls import without_login

log = logging.getLogger(__name__)

PREFIX = "perdure2-"
"""Names the format's version, and lets a secret scanner recognise a leaked ticket."""

OLD_PREFIX = "perdure1-"
"""perdure 0.1's tickets: they name no gateway key, so nothing of them can be used."""

SECRET_BYTES = 32
"""256 bits: the pre-shared key of the handshake between the holder and the gateway (docs/protocol.md)."""

KEY_BYTES = 32
"""Of an X25519 public key: RFC 7748, section 5."""

TICKET_ID_BYTES = 16
"""128 bits: no two of a gateway's tickets have the same id by chance, and nobody finds a second secret with one."""

MAX_INSTANT = 253402300800
"""Unix seconds of the year 10000, which a date of four digits cannot write."""

_CHECK_BYTES = 4
"""A truncated or mistyped ticket passes with a chance of 2^-32; it is no protection against an attacker."""

MAX_TICKET_CHARACTERS = 1024

MAX_TICKET_FILE_BYTES = 4096
"""Of a file that holds one: what is read of it."""

_HEADER = struct.Struct(f">Q{KEY_BYTES}s{SECRET_BYTES}s")

_NO_WHITE_SPACE = str.maketrans("", "", string.whitespace)
"""Takes out ASCII's white space: none of base64url is any, and mail programs break long lines."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """The rendezvous' URL, the gateway's X25519 public key, the ticket's own secret, and when it ends (Unix seconds; 0:
    never)."""

    rendezvous_url: str
    gateway: bytes
    secret: bytes
    expires_at: int = 0

    def __post_init__(self) -> None:
        if len(self.gateway) != KEY_BYTES:
            raise ValueError(f"a gateway's public key has {KEY_BYTES} bytes, not {len(self.gateway)}")
        if len(self.secret) != SECRET_BYTES:
            raise ValueError(f"a ticket's secret has {SECRET_BYTES} bytes, not {len(self.secret)}")
        check_rendezvous_url(self.rendezvous_url)

    def __repr__(self) -> str:
        gateway = base64.b64encode(self.gateway).decode()
        return (
            f"Ticket(rendezvous_url={self.rendezvous_url!r}, gateway={gateway!r}, secret=<hidden>, "
            f"expires_at={self.expires_at})"
        )

    @property
    def ticket_id(self) -> bytes:
        """Names the ticket without telling its secret: 16 bytes."""
        return ticket_id(self.secret)

    def is_expired(self, now: float) -> bool:
        """Whether the ticket has ended at `now` (Unix seconds)."""
        return 0 < self.expires_at <= now

    def encode(self) -> str:
        """One line of text without spaces: safe in a shell, a URL's fragment and an e-mail."""
        body = _HEADER.pack(self.expires_at, self.gateway, self.secret) + self.rendezvous_url.encode()
        return PREFIX + _encoded(_checksum(body) + body)


def ticket_id(secret: bytes) -> bytes:
    """The id of the ticket with this secret."""
    return hashlib.sha256(b"perdure ticket id" + secret).digest()[:TICKET_ID_BYTES]


def parse_ticket(text: str, *, now: float) -> Ticket:
    """Read a ticket that `perdure serve` or `perdure ticket create` printed.

    Args:
        text: the ticket; ASCII white space is ignored, also inside: a mail program may have broken the line.
        now: Unix seconds, to see whether it has expired.

    Raises:
        TicketError: it is malformed, truncated, or expired (`error.expired`). The message never repeats the ticket.
    """
    text = text.translate(_NO_WHITE_SPACE)
    if not text:
        raise TicketError("the ticket is empty; copy the whole line that `perdure ticket create` printed")
    if ">" in text and text.replace(">", "").startswith((PREFIX, OLD_PREFIX)):
        raise TicketError("the ticket holds a >, as mail programs begin quoted lines: take each > out of it")
    if text.startswith(OLD_PREFIX):
        raise TicketError(
            "this ticket is of perdure 0.1, and its gateway is no longer reached by it; "
            "ask the gateway's owner for a new one (`perdure ticket create`)"
        )
    if not text.startswith(PREFIX):
        raise TicketError(
            f"this is not a ticket: it does not begin with {PREFIX!r}, as `perdure ticket create` prints them"
        )
    if len(text) > MAX_TICKET_CHARACTERS:
        raise TicketError(f"this is not a ticket: it has {len(text)} characters, over {MAX_TICKET_CHARACTERS}")
    encoded = text[len(PREFIX) :]
    try:
        raw = _decoded(encoded)
    except ValueError as error:
        raise TicketError("the ticket is malformed or truncated; copy it again, whole") from error
    check, body = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
    # Some of the last character's bits mean nothing to base64: a changed one would pass unseen.
    if len(body) <= _HEADER.size or check != _checksum(body) or _encoded(raw) != encoded:
        raise TicketError("the ticket is truncated or mistyped (its checksum is wrong); copy it again, whole")
    expires_at, gateway, secret = _HEADER.unpack_from(body)
    try:
        ticket = Ticket(body[_HEADER.size :].decode(), gateway, secret, expires_at)
    except ValueError as error:
        raise TicketError(f"the ticket names no usable rendezvous: {error}") from error
    if ticket.is_expired(now):
        text = f"the ticket expired at {instant_text(expires_at)}, and this machine's clock says {instant_text(now)}"
        raise TicketError(f"{text}; ask the gateway's owner for a new one", expired=True)
    return ticket


def is_whole(text: str) -> bool:
    """Whether nothing is missing of a ticket; one that has expired is whole."""
    try:
        parse_ticket(text, now=0)
    except TicketError:
        return False
    return True


def load_ticket(ticket: Ticket | Path | str) -> Ticket:
    """A ticket as a program has it: a `Ticket`, its text, or the file that holds it, as a path or `@FILE`.

    Raises:
        TypeError: it is none of these.
        TicketError: it is malformed, truncated, or expired; or the file cannot be read. No message repeats the ticket.
    """
    if isinstance(ticket, Ticket):
        return ticket
    if isinstance(ticket, Path):
        return read_ticket(ticket.expanduser())
    if not isinstance(ticket, str):
        raise TypeError(f"a ticket is a Ticket, its text, or its file's path or @FILE, not {type(ticket).__name__}")
    if ticket.startswith("@"):
        return read_ticket(expanded(ticket[1:]))
    if len(ticket) < 256 and os.path.isfile(ticket):
        raise TicketError(f"{ticket} is a file and not a ticket: did you mean @{ticket}?")
    return parse_ticket(ticket, now=time.time())


def read_ticket(path: Path) -> Ticket:
    """The ticket in a file. One that others can read is logged as a warning.

    Raises:
        TicketError: it is malformed, truncated, or expired; or the file cannot be read, or is no regular file.
    """
    try:
        content, status = read_file(path, limit=MAX_TICKET_FILE_BYTES)
    except OSError as error:
        raise TicketError(f"the ticket file {path} cannot be read: {error.strerror}") from error
    if readable_by_others(status):
        text = f"others can read the ticket file {path}: chmod 600 {path}"
        log_event(log, logging.WARNING, "ticket-file", problem=text)
    return parse_ticket(decoded_file(content), now=time.time())


def decoded_file(content: bytes) -> str:
    """The text of a ticket's file, also of one that Windows wrote: UTF-8 or UTF-16 with a byte order mark."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    return content.decode("utf-8-sig", "replace")


def check_rendezvous_url(url: str) -> None:
    """Raise `ValueError` unless `url` is a ws:// or wss:// URL with a host, of at most 512 bytes; `TypeError` where it
    is no text. No message shows a password."""
    if not isinstance(url, str):
        raise TypeError(f"a rendezvous URL is a text, ws://HOST:PORT or wss://HOST, not {type(url).__name__}")
    shown = repr(without_login(url)) if "://" in url or "@" not in url else "one without ://"
    written = "; in a password, a space is written %20" if "@" in url else ""
    if not url.isprintable() or " " in url:  # urlsplit leaves out some of these, and a terminal obeys others
        raise ValueError(f"a rendezvous URL has no spaces and no control characters: {shown}{written}")
    parts = urlsplit(url)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        raise ValueError(f"a rendezvous URL looks like ws://HOST:PORT or wss://HOST, not {shown}")
    if (size := len(url.encode())) > 512:
        raise ValueError(f"a rendezvous URL has at most 512 bytes, not {size}")
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"the port in {shown} is not a number from 0 to 65535") from error


def instant_text(at: float) -> str:
    """Unix seconds as a person reads them: `2026-11-29 12:00:00 UTC`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC" if at < MAX_INSTANT else "after the year 9999"


def _decoded(encoded: str) -> bytes:
    """Raises `ValueError`: it is no base64url."""
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"perdure ticket" + body).digest()[:_CHECK_BYTES]
