"""What is fuzzed of the texts that a person or an application passes on: tickets, tickets' files, keys, messages."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import tempfile
from pathlib import Path
from typing import Literal

from perdure.configfile import layered, read_file
from perdure.errors import ProtocolError, TicketError
from perdure.keys import key_text, load_key, public_bytes
from perdure.signaling import application
from perdure.signaling.messages import Answer, Candidate, Offer
from perdure.ticket import PREFIX, parse_ticket
from perdure.ticket_store.authorized_keys import parse_authorized_keys
from perdure.ticket_store.record import decode_ticket, encode_ticket
from perdure.turn.answer import MAX_SERVERS, read_answer
from perdure_lab.scenario.parse import parse_scenario

ENDS_BEFORE = 2.0**31
"""Unix seconds: tickets that ended before it are expired."""

READER = bytes(range(16))
"""The id of the end that reads an application's text."""


def tickets(data: bytes) -> None:
    """A ticket's text: the input as it is, and what has the input inside, with the checksum that fits."""
    body = hashlib.sha256(b"perdure ticket" + data).digest()[:4] + data
    encoded = base64.urlsafe_b64encode(body).decode().rstrip("=")
    for text in (data.decode("utf-8", "surrogateescape"), PREFIX + encoded):
        try:
            ticket = parse_ticket(text, now=ENDS_BEFORE)
        except TicketError as error:
            assert encoded not in str(error)
            continue
        assert ticket.encode() == "".join(text.split())


def records(data: bytes) -> None:
    """A ticket's file in a gateway's folder."""
    try:
        ticket = decode_ticket(data, name="ada")
    except ValueError:
        return
    written = encode_ticket(ticket)
    assert decode_ticket(written, name="ada") == ticket


def keys(data: bytes) -> None:
    """The file of the clients' keys that a gateway admits, and the file of a private key."""
    try:
        found = parse_authorized_keys(data.decode("utf-8", "replace"))
    except ValueError as error:
        check(error, "line ")
    else:
        assert parse_authorized_keys("\n".join(map(key_text, found))) == found
    path = _file()
    path.write_bytes(data)
    with contextlib.suppress(TicketError):
        public_bytes(load_key(path))


def ice_servers(data: bytes) -> None:
    """What an HTTP service answers that issues TURN credentials."""
    try:
        issued = read_answer(data, now=ENDS_BEFORE)
    except ProtocolError:
        return
    assert 0 < len(issued.servers) <= MAX_SERVERS
    assert issued.lifetime is None or issued.lifetime > 0


def application_texts(data: bytes) -> None:
    """What an application hands over of the other end: a message, a description, a candidate."""
    text = data.decode("utf-8", "surrogateescape")
    for given in (data, text):
        try:
            session, sender, body = application.read_text(given, receiver=READER)
        except ProtocolError:
            continue
        written = application.write_text(session, sender, body, receiver=READER)
        assert application.read_text(written, receiver=READER) == (session, sender, body)
    _read_description(text, "offer")
    _read_description(text, "answer")
    try:
        candidate = application.read_candidate(text)
    except ProtocolError:
        return
    assert _as_data(candidate) == candidate


def _read_description(text: str, kind: Literal["offer", "answer"]) -> None:
    try:
        session, message = application.read_description(text, kind)
    except ProtocolError:
        return
    assert isinstance(message, Offer if kind == "offer" else Answer)
    assert application.read_description(application.describe(session, message), kind) == (session, message)


def _as_data(candidate: Candidate) -> Candidate:
    """As an `icecandidate` signal has it, and read again."""
    data = {name: getattr(candidate, name) for name in candidate.__struct_fields__}
    return application.read_candidate({name: value for name, value in data.items() if value is not None})


def settings(data: bytes) -> None:
    """A `--config` file."""
    path = _file()
    path.write_bytes(data)
    try:
        layered(read_file(path))
    except ValueError as error:
        check(error, str(path))


def scenarios(data: bytes) -> None:
    """A scenario of the lab."""
    try:
        parse_scenario(data.decode("utf-8", "replace"), source="own.toml", name="own")
    except ValueError as error:
        check(error, "own.toml:")


def check(error: ValueError, *beginnings: str) -> None:
    """Raise it where it is not one of ours, which say what is wrong with the input."""
    if not str(error).startswith(beginnings):
        raise error


def _file() -> Path:
    if not _files:
        _files.append(Path(tempfile.mkdtemp(prefix="perdure-fuzz-")) / "input")
        _files[0].touch(0o600)  # a key that others can read is refused unread
    return _files[0]


_files: list[Path] = []
