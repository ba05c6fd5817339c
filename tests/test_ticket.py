"""The ticket: it survives copying, and a bad copy is refused with what to do about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import TicketError
from perdure.ticket import MAX_TICKET_CHARACTERS, SECRET_BYTES, Ticket, parse_ticket

NOW = 1_800_000_000.0
SECRET = bytes(range(SECRET_BYTES))

TICKETS = st.builds(
    Ticket,
    st.sampled_from(
        ["ws://127.0.0.1:8765", "wss://rendezvous.example", "wss://rendezvous.example/a/path", "ws://[::1]:1"]
    ),
    st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES),
    st.sampled_from([0, int(NOW) + 1, 2**63]),
)


@given(TICKETS)
def test_a_ticket_is_read_as_it_was_written(ticket: Ticket) -> None:
    text = ticket.encode()
    assert parse_ticket(text, now=NOW) == ticket
    assert parse_ticket(f"  {text}\r\n", now=NOW) == ticket


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
        text = Ticket(url, SECRET).encode()
        if last != text[-1]:
            with pytest.raises(TicketError):
                parse_ticket(text[:-1] + last, now=NOW)


@given(TICKETS, st.data())
def test_any_truncation_is_refused(ticket: Ticket, data: st.DataObject) -> None:
    text = ticket.encode()
    with pytest.raises(TicketError):
        parse_ticket(text[: data.draw(st.integers(0, len(text) - 1))], now=NOW)


@given(TICKETS, st.data(), st.sampled_from("A=-_ \n"))
def test_any_one_inserted_character_is_refused(ticket: Ticket, data: st.DataObject, character: str) -> None:
    text = ticket.encode()
    place = data.draw(st.integers(1, len(text) - 1))
    with pytest.raises(TicketError):
        parse_ticket(text[:place] + character + text[place:], now=NOW)


@given(st.text(max_size=200))
def test_any_other_text_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(TicketError):
        parse_ticket("perdure1-" + text, now=NOW)
    with pytest.raises(TicketError) as caught:
        parse_ticket("secret" + text, now=NOW)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the ticket is empty; copy the whole first line that `perdure serve` printed"),
        ("  \n", r"the ticket is empty"),
        ("hello", r"this is not a ticket: it does not begin with 'perdure1-'"),
        ("perdure2-AAAA", r"this is not a ticket: it does not begin with 'perdure1-'"),
        ("perdure1-", r"truncated"),
        ("perdure1-???", r"the ticket is malformed or truncated; copy it again, whole"),
        ("perdure1-" + "A" * 80, r"truncated or mistyped \(its checksum is wrong\); copy it again, whole"),
        ("perdure1-" + "A" * 2000, r"it has 2009 characters, over 1024"),
    ],
)
def test_a_message_says_what_is_wrong_and_what_to_do(text: str, message: str) -> None:
    with pytest.raises(TicketError, match=message) as caught:
        parse_ticket(text, now=NOW)
    assert not caught.value.expired


def test_an_expired_ticket_says_since_when() -> None:
    ticket = Ticket("ws://127.0.0.1:1", SECRET, int(NOW))
    assert parse_ticket(ticket.encode(), now=NOW - 1) == ticket
    with pytest.raises(
        TicketError, match=r"the ticket expired at 2027-01-15 08:00 UTC; ask the gateway's owner"
    ) as caught:
        parse_ticket(ticket.encode(), now=NOW)
    assert caught.value.expired


def test_a_ticket_without_an_end_never_expires() -> None:
    assert not Ticket("ws://127.0.0.1:1", SECRET).is_expired(2.0**62)


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
        Ticket("ws://127.0.0.1:1", secret)


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
    ],
)
def test_a_ticket_names_a_usable_rendezvous(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Ticket(url, SECRET)
