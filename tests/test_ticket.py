"""The ticket: it survives copying, and a bad copy is refused with what to do about it."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import TicketError
from perdure.private_files import write_file
from perdure.ticket import (
    KEY_BYTES,
    MAX_TICKET_CHARACTERS,
    MAX_TICKET_FILE_BYTES,
    SECRET_BYTES,
    TICKET_ID_BYTES,
    Ticket,
    load_ticket,
    parse_ticket,
    read_ticket,
)
from support.tickets import ticket_for

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0
SECRET = bytes(range(SECRET_BYTES))
OF_0_1 = "perdure1-sZmAPAAAAAAAAAAAAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh93czovLzEyNy4wLjAuMTox"
"""As perdure 0.1 wrote it: check, end, secret and URL."""

TICKETS = st.builds(
    Ticket,
    st.sampled_from(
        ["ws://127.0.0.1:8765", "wss://rendezvous.example", "wss://rendezvous.example/a/path", "ws://[::1]:1"]
    ),
    st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES),
    st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES),
    st.sampled_from([0, int(NOW) + 1, 2**63]),
)


@given(TICKETS)
def test_a_ticket_is_read_as_it_was_written(ticket: Ticket) -> None:
    text = ticket.encode()
    assert parse_ticket(text, now=NOW) == ticket
    assert parse_ticket(f"  {text}\r\n", now=NOW) == ticket


@given(TICKETS, st.lists(st.tuples(st.integers(0, 300), st.sampled_from(["\n", "\r\n", " ", "\t", "\v\f"]))))
def test_a_ticket_is_read_though_a_mail_program_has_broken_its_line(
    ticket: Ticket, breaks: list[tuple[int, str]]
) -> None:
    text = ticket.encode()
    for place, white_space in breaks:
        text = text[:place] + white_space + text[place:]
    assert parse_ticket(text, now=NOW) == ticket


@pytest.mark.parametrize("begin", ["> ", ">", ">> "])
def test_a_ticket_that_a_mail_program_has_quoted_is_told_so(begin: str) -> None:
    text = ticket_for("ws://127.0.0.1:1", SECRET).encode()
    for quoted in (f"{begin}{text[:60]}\n{begin}{text[60:]}\n", f"{text[:60]}\n{begin}{text[60:]}\n"):
        with pytest.raises(TicketError, match="the ticket holds a >, as mail programs begin quoted lines"):
            parse_ticket(quoted, now=NOW)


@given(st.sampled_from(["\u00a0", "\u2003", "\u200b", "\ufeff", "\x1c", "\x85"]), st.integers(0, 100))
def test_white_space_beyond_ascii_is_refused(character: str, place: int) -> None:
    text = ticket_for("ws://127.0.0.1:1", SECRET).encode()
    with pytest.raises(TicketError):
        parse_ticket(text[:place] + character + text[place:], now=NOW)


@given(TICKETS)
def test_a_ticket_is_one_word_of_plain_characters(ticket: Ticket) -> None:
    text = ticket.encode()
    assert text.isascii()
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert len(text) <= MAX_TICKET_CHARACTERS


@given(TICKETS, st.data())
def test_any_one_changed_character_is_refused(ticket: Ticket, data: st.DataObject) -> None:
    text = ticket.encode()
    place = data.draw(st.integers(0, len(text) - 1), label="place")
    character = data.draw(
        st.one_of(st.sampled_from("ABab01-_=+/ \n"), st.characters()).filter(lambda found: found != text[place]),
        label="character",
    )
    changed = text[:place] + character + text[place + 1 :]
    with pytest.raises(TicketError):
        parse_ticket(changed, now=NOW)


@pytest.mark.parametrize("last", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
def test_a_changed_last_character_is_refused_although_base64_ignores_some_of_its_bits(last: str) -> None:
    for url in ("ws://a.example", "ws://ab.example", "ws://abc.example"):
        text = ticket_for(url, SECRET).encode()
        if last != text[-1]:
            with pytest.raises(TicketError):
                parse_ticket(text[:-1] + last, now=NOW)


@given(TICKETS, st.data())
def test_any_truncation_is_refused(ticket: Ticket, data: st.DataObject) -> None:
    text = ticket.encode()
    with pytest.raises(TicketError):
        parse_ticket(text[: data.draw(st.integers(0, len(text) - 1))], now=NOW)


@given(TICKETS, st.data(), st.sampled_from("A=-_>+"))
def test_any_one_inserted_character_is_refused(ticket: Ticket, data: st.DataObject, character: str) -> None:
    text = ticket.encode()
    place = data.draw(st.integers(1, len(text) - 1))
    with pytest.raises(TicketError):
        parse_ticket(text[:place] + character + text[place:], now=NOW)


@given(st.text(max_size=200))
def test_any_other_text_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(TicketError):
        parse_ticket("perdure2-" + text, now=NOW)
    with pytest.raises(TicketError) as caught:
        parse_ticket("secret" + text, now=NOW)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the ticket is empty; copy the whole line that `perdure ticket create` printed"),
        ("  \n", r"the ticket is empty"),
        ("hello", r"this is not a ticket: it does not begin with 'perdure2-'"),
        ("perdure3-AAAA", r"this is not a ticket: it does not begin with 'perdure2-'"),
        (OF_0_1, r"this ticket is of perdure 0\.1, .*; ask the gateway's owner for a new one"),
        (OF_0_1[:40] + "\n" + OF_0_1[40:], r"this ticket is of perdure 0\.1"),
        (OF_0_1[:-1], r"this ticket is of perdure 0\.1"),
        ("perdure1-", r"this ticket is of perdure 0\.1"),
        ("> " + OF_0_1, r"the ticket holds a >"),
        ("perdure2-", r"truncated"),
        ("perdure2-???", r"the ticket is malformed or truncated; copy it again, whole"),
        ("perdure2-" + "A" * 120, r"truncated or mistyped \(its checksum is wrong\); copy it again, whole"),
        ("perdure2-" + "A" * 2000, r"it has 2009 characters, over 1024"),
    ],
)
def test_a_message_says_what_is_wrong_and_what_to_do(text: str, message: str) -> None:
    with pytest.raises(TicketError, match=message) as caught:
        parse_ticket(text, now=NOW)
    assert not caught.value.expired


def test_an_expired_ticket_says_since_when() -> None:
    ticket = ticket_for("ws://127.0.0.1:1", SECRET, int(NOW))
    assert parse_ticket(ticket.encode(), now=NOW - 1) == ticket
    with pytest.raises(
        TicketError,
        match=r"expired at 2027-01-15 08:00:00 UTC, and this machine's clock says 2027-01-15 08:00:01 UTC; ask",
    ) as caught:
        parse_ticket(ticket.encode(), now=NOW + 1)
    assert caught.value.expired


def test_a_ticket_without_an_end_never_expires() -> None:
    assert not ticket_for("ws://127.0.0.1:1", SECRET).is_expired(2.0**62)


@given(TICKETS)
def test_the_secret_is_never_shown(ticket: Ticket) -> None:
    for shown in (repr(ticket), str(ticket), f"{ticket}"):
        assert "<hidden>" in shown
        assert repr(ticket.secret) not in shown
        assert ticket.secret.hex() not in shown
        assert ticket.encode() not in shown


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33)])
def test_a_secret_has_256_bits(secret: bytes) -> None:
    with pytest.raises(ValueError, match="a ticket's secret has 32 bytes"):
        ticket_for("ws://127.0.0.1:1", secret)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:1",
        "http://host",
        "ws://",
        "ws:///path",
        "ws://host:port",
        "ws://host:70000",
        "ws://[::1",
        "wss://h/" + "p" * 512,
        "wss://h/" + "é" * 256,
        "ws://host/a b",
        "ws://ho\tst",
        "ws://host/\x1b[2J",
        "ws://host\x00",
        "ws://host/\ud800",
    ],
)
def test_a_ticket_names_a_usable_rendezvous(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ticket_for(url, SECRET)


def test_a_ticket_whose_url_would_steer_a_terminal_is_refused_without_doing_so() -> None:
    body = struct.pack(">Q", 0) + bytes(64) + b"ws://me:pw@host/\x1b[2J"
    check = hashlib.sha256(b"perdure ticket" + body).digest()[:4]
    text = "perdure2-" + base64.urlsafe_b64encode(check + body).decode().rstrip("=")
    with pytest.raises(TicketError, match="the ticket names no usable rendezvous") as refused:
        parse_ticket(text, now=NOW)
    assert str(refused.value).isprintable()
    assert "pw" not in str(refused.value)


def test_a_ticket_is_named_without_telling_its_secret() -> None:
    ticket = ticket_for("ws://127.0.0.1:1", SECRET)
    assert len(ticket.ticket_id) == TICKET_ID_BYTES
    assert ticket.ticket_id == hashlib.sha256(b"perdure ticket id" + SECRET).digest()[:16]
    assert ticket_for("wss://elsewhere", SECRET, 2**40).ticket_id == ticket.ticket_id
    assert ticket_for("ws://127.0.0.1:1", bytes(32)).ticket_id != ticket.ticket_id


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_gateways_key_has_256_bits(key: bytes) -> None:
    with pytest.raises(ValueError, match="a gateway's public key has 32 bytes"):
        Ticket("ws://127.0.0.1:1", key, SECRET)


def test_a_ticket_is_read_from_its_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "home.ticket"
    write_file(path, ticket_for("ws://127.0.0.1:1").encode().encode() + b"\n")
    assert read_ticket(path) == ticket_for("ws://127.0.0.1:1")
    assert not caplog.records


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_ticket_file_that_others_can_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    path = tmp_path / "home.ticket"
    path.write_text(ticket_for("ws://127.0.0.1:1").encode())
    path.chmod(mode)
    assert read_ticket(path) == ticket_for("ws://127.0.0.1:1")
    assert f"others can read the ticket file {path}: chmod 600 {path}" in caplog.text


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "huge").write_bytes(bytes(MAX_TICKET_FILE_BYTES + 1))
    for name, why in {
        "fifo": "it is a FIFO and not a regular file",
        "": "it is a directory and not a regular file",
        "loop": "Too many levels of symbolic links",
        "huge": "it has more than 4096 bytes",
        "missing": "No such file or directory",
    }.items():
        with pytest.raises(TicketError, match=f"the ticket file .* cannot be read: {why}"):
            read_ticket(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_that_windows_wrote_holds_the_ticket(tmp_path: Path, encoding: str) -> None:
    ticket, path = ticket_for("ws://127.0.0.1:1"), tmp_path / "home.ticket"
    mark = "\ufeff" if encoding.startswith("utf-16-") else ""
    write_file(path, f"{mark}{ticket.encode()}\r\n".encode(encoding))
    assert read_ticket(path) == ticket


@pytest.mark.parametrize("path", ["@~nobody-has-this-name/x", "@" + "x" * 300, "@/no/x"])
def test_a_file_that_cannot_be_is_told_as_one(path: str) -> None:
    with pytest.raises(TicketError, match=r"the ticket file .* cannot be read: "):
        load_ticket(path)
