"""A served ticket as a file has it: JSON that a person can read, checked whole when it is read."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec

from perdure.admission import MAX_CLIENTS, ClientUse, ServedTicket
from perdure.keys import key_text, parse_key_text
from perdure.streams.allow import parse_allow
from perdure.ticket import MAX_INSTANT, SECRET_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_RECORD_BYTES = 512 * 1024
"""1024 clients with 0.3 KiB each, and as much again for the targets."""

MAX_ALLOWED = 256
"""Targets of a ticket's allow list, of at most `MAX_ALLOWED_CHARACTERS` each."""

MAX_ALLOWED_CHARACTERS = 512

MAX_ADDRESS_CHARACTERS = 64
"""An IPv6 address with a zone and a port has fewer."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


class _Client(msgspec.Struct, forbid_unknown_fields=True):
    first_used_at: datetime
    last_used_at: datetime
    address: Annotated[str, msgspec.Meta(max_length=MAX_ADDRESS_CHARACTERS)] | None
    tunnels: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    secret: bytes
    created_at: datetime
    expires_at: datetime | None
    uses: Annotated[int, msgspec.Meta(ge=1, le=MAX_CLIENTS)] | None
    allow: list[str]
    revoked_at: datetime | None
    clients: Annotated[dict[str, _Client], msgspec.Meta(max_length=MAX_CLIENTS)]


def check_name(name: str) -> None:
    """Raise `ValueError` unless `name` can be a ticket's, and its file's."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:80]!r} cannot be a ticket's name: that has 1 to 64 of the characters A-Z a-z 0-9 . _ - "
            "and does not begin with a dot"
        )


def check_ticket(ticket: ServedTicket) -> None:
    """Raise `ValueError` unless the ticket is one that can be written and read again."""
    check_name(ticket.name)
    if len(ticket.secret) != SECRET_BYTES:
        raise ValueError(f"a ticket's secret has {SECRET_BYTES} bytes, not {len(ticket.secret)}")
    check_uses(ticket.uses)
    if not 0 <= ticket.expires_at < MAX_INSTANT:
        raise ValueError("a ticket expires between 1970 and the end of the year 9999, or never")
    check_allow(ticket.allow)


def check_uses(uses: int | None) -> None:
    """Raise `ValueError` unless a ticket can be for so many clients."""
    if uses is not None and not 1 <= uses <= MAX_CLIENTS:
        raise ValueError(f"a ticket is for 1 to {MAX_CLIENTS} clients, or for any number; not for {uses}")


def check_allow(allow: Sequence[str]) -> None:
    """Raise `ValueError` unless these are targets as `--allow` takes them, and not more than a file may hold."""
    if len(allow) > MAX_ALLOWED or any(len(target) > MAX_ALLOWED_CHARACTERS for target in allow):
        raise ValueError(f"a ticket allows at most {MAX_ALLOWED} targets of {MAX_ALLOWED_CHARACTERS} characters")
    parse_allow(allow)


def writable_instant(now: float) -> int:
    """Unix seconds as a file can hold them: a clock that is far off must not make a ticket unreadable."""
    return int(min(max(now, 0), MAX_INSTANT - 1))


def encode_ticket(ticket: ServedTicket) -> bytes:
    """The content of its file."""
    record = _Record(
        name=ticket.name,
        secret=ticket.secret,
        created_at=_date(ticket.created_at),
        expires_at=_date(ticket.expires_at) if ticket.expires_at else None,
        uses=ticket.uses,
        allow=list(ticket.allow),
        revoked_at=None if ticket.revoked_at is None else _date(ticket.revoked_at),
        clients={
            key_text(key): _Client(_date(use.first_used_at), _date(use.last_used_at), use.address, use.tunnels)
            for key, use in ticket.clients.items()
        },
    )
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def decode_ticket(content: bytes, *, name: str) -> ServedTicket:
    """The ticket in a file called `name`.json.

    Raises:
        ValueError: it holds no ticket of that name; the message repeats no secret.
    """
    try:
        record = msgspec.json.decode(content, type=_Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it holds no ticket: {error}") from error
    if record.name != name:
        raise ValueError(f"it holds the ticket {record.name[:80]!r}, which belongs into a file of that name")
    ticket = ServedTicket(
        name,
        record.secret,
        _seconds(record.created_at),
        expires_at=0 if record.expires_at is None else _seconds(record.expires_at, earliest=1),
        uses=record.uses,
        allow=tuple(record.allow),
        revoked_at=None if record.revoked_at is None else _seconds(record.revoked_at),
        clients={
            parse_key_text(key): ClientUse(
                _seconds(use.first_used_at), _seconds(use.last_used_at), use.address, use.tunnels
            )
            for key, use in record.clients.items()
        },
    )
    check_ticket(ticket)
    return ticket


def _date(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _seconds(date: datetime, *, earliest: int = 0) -> int:
    if date.tzinfo is None:
        raise ValueError(f"{date.isoformat()} has no time zone; write it as 2026-11-29T12:00:00Z")
    at = math.floor(date.timestamp())
    if not earliest <= at < MAX_INSTANT:  # of other instants, not all can be written again; and 0 would mean: never
        raise ValueError(f"{date.isoformat()} is not between 1970 and the end of the year 9999")
    return at
