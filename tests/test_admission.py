"""Who is admitted by a ticket, and what the others are told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.admission import MAX_CLIENTS, Admission, ClientUse, Holder, ServedTicket, Verdict, judge
from perdure.keys import key_text

NOW = 1_800_000_000
SECRET = bytes(range(32))
TICKET = ServedTicket("ada", SECRET, NOW - 100)
ADA, BOB, EVE = b"a" * 32, b"b" * 32, b"e" * 32


def used_by(ticket: ServedTicket, *keys: bytes) -> ServedTicket:
    for key in keys:
        ticket = ticket.with_use(key, ClientUse(NOW - 50, NOW - 10))
    return ticket


def verdict(ticket: ServedTicket | None, key: bytes = ADA, authorized: frozenset[bytes] | None = None) -> Admission:
    return judge(ticket, key, authorized=authorized, now=NOW)


def test_who_a_client_is_shows_its_tickets_name_and_its_key_as_people_see_it() -> None:
    holder = Holder("ada", bytes(16), ADA)
    assert repr(holder) == f"Holder(ticket='ada', key={key_text(ADA)!r})"
    assert holder.key.startswith(holder.short_key)


def test_the_holder_of_a_ticket_is_admitted() -> None:
    assert verdict(TICKET) == Admission(Verdict.OK)


def test_nobody_is_admitted_by_a_ticket_that_does_not_exist() -> None:
    assert verdict(None) == Admission(Verdict.UNKNOWN)
    assert verdict(None).why == "the gateway has no such ticket"
    assert verdict(None).detail == ""


def test_the_holder_of_a_revoked_ticket_is_told_since_when() -> None:
    revoked = replace(TICKET, revoked_at=NOW - 5)
    assert verdict(revoked).verdict is Verdict.REVOKED
    assert verdict(revoked).detail == "at 2027-01-15 07:59:55 UTC"
    assert verdict(revoked).why == "the ticket was revoked at 2027-01-15 07:59:55 UTC"


def test_the_holder_of_an_expired_ticket_is_told_both_times() -> None:
    expired = replace(TICKET, expires_at=NOW)
    detail = "at 2027-01-15 08:00:00 UTC, and the gateway's clock says 2027-01-15 08:00:00 UTC"
    assert verdict(expired).verdict is Verdict.EXPIRED
    assert verdict(expired).detail == detail
    assert verdict(expired).why == f"the ticket expired {detail}"
    assert judge(expired, ADA, authorized=None, now=NOW - 0.1).verdict is Verdict.OK


def test_a_ticket_for_one_client_is_bound_to_the_first_key() -> None:
    single = used_by(replace(TICKET, uses=1), ADA)
    assert verdict(single, ADA).verdict is Verdict.OK
    assert verdict(single, BOB) == Admission(Verdict.USED_UP, "it is for one client, and another one has used it")
    assert verdict(single.without_client(ADA), BOB).verdict is Verdict.OK


def test_a_ticket_for_two_clients_takes_no_third() -> None:
    pair = used_by(replace(TICKET, uses=2), ADA)
    assert verdict(pair, BOB).verdict is Verdict.OK
    pair = used_by(pair, BOB)
    assert verdict(pair, ADA).verdict is Verdict.OK
    assert verdict(pair, EVE) == Admission(Verdict.USED_UP, "it is for 2 clients, and others have used it")


def test_only_authorized_keys_are_admitted_where_there_is_a_list() -> None:
    assert verdict(TICKET, ADA, frozenset({ADA})).verdict is Verdict.OK
    assert verdict(TICKET, BOB, frozenset({ADA})).verdict is Verdict.NOT_AUTHORIZED
    assert verdict(TICKET, ADA, frozenset()).verdict is Verdict.NOT_AUTHORIZED
    assert verdict(TICKET, ADA, frozenset()).why == "the client's key is not among the authorized keys"


def test_what_ends_a_session_is_told_from_what_refuses_a_new_one() -> None:
    assert {each for each in Verdict if each.ends_session} == {
        Verdict.UNKNOWN,
        Verdict.REVOKED,
        Verdict.NOT_AUTHORIZED,
    }


@given(st.lists(st.integers(0, 255), max_size=40), st.integers(1, 5))
def test_never_more_clients_than_a_ticket_is_for(keys: list[int], uses: int) -> None:
    ticket = replace(TICKET, uses=uses)
    for number in keys:
        key = bytes([number]) * 32
        if verdict(ticket, key).verdict is Verdict.OK:
            ticket = used_by(ticket, key)
    assert len(ticket.clients) == min(uses, len(set(keys)))
    assert [bytes([number]) * 32 for number in dict.fromkeys(keys)][:uses] == list(ticket.clients)


def test_the_client_that_was_away_for_longest_is_forgotten_first() -> None:
    ticket = TICKET
    for number in range(MAX_CLIENTS):
        live = 1 if number == 0 else 0
        ticket = ticket.with_use(number.to_bytes(32), ClientUse(NOW, NOW + number, tunnels=live))
    ticket = ticket.with_use(ADA, ClientUse(0, 0))
    assert len(ticket.clients) == MAX_CLIENTS
    assert (0).to_bytes(32) in ticket.clients
    assert (1).to_bytes(32) not in ticket.clients
    assert ADA in ticket.clients


@pytest.mark.parametrize("shown", [repr(TICKET), str(TICKET)])
def test_the_secret_is_never_shown(shown: str) -> None:
    assert "ada" in shown
    assert repr(SECRET) not in shown
