"""What clients did until it is in the files: nothing of it is lost, and nothing that was forgotten comes back."""

from __future__ import annotations

from perdure.admission import MAX_CLIENTS, ClientUse, ServedTicket
from perdure.ticket_store.unwritten import UnwrittenUses
from perdure.ticket_store.view import Use, changes, view_of, with_uses

TICKET = ServedTicket("ada", bytes(32), 1)
ADA, BOB = b"a" * 32, b"b" * 32
BEGAN, ENDED = ClientUse(1, 1, tunnels=1), ClientUse(1, 2, tunnels=0)


def test_an_end_before_the_writing_keeps_the_binding() -> None:
    unwritten = UnwrittenUses()
    used = TICKET.with_use(ADA, BEGAN)
    unwritten.note(used, ADA, BEGAN, binds=True)
    unwritten.note(used, ADA, ENDED, binds=False)
    assert with_uses(TICKET, unwritten.begin_writing()["ada"]).clients == {ADA: ENDED}


def test_what_could_not_be_written_waits_under_what_came_later() -> None:
    unwritten = UnwrittenUses()
    used = TICKET.with_use(ADA, BEGAN).with_use(BOB, BEGAN)
    unwritten.note(used, ADA, BEGAN, binds=True)
    unwritten.note(used, BOB, BEGAN, binds=True)
    unwritten.begin_writing()
    unwritten.note(used, ADA, ENDED, binds=False)
    assert view_of({"ada": TICKET}, *unwritten.layers).tickets["ada"].clients == {ADA: ENDED, BOB: BEGAN}
    unwritten.end_writing(["ada", "unknown"])
    assert unwritten.begin_writing() == {
        "ada": {ADA: Use(ENDED, True, TICKET.ticket_id), BOB: Use(BEGAN, True, TICKET.ticket_id)}
    }
    unwritten.end_writing([])
    assert unwritten.layers == ({}, {})


def test_a_client_that_was_forgotten_does_not_come_back_by_its_end() -> None:
    unwritten = UnwrittenUses()
    unwritten.note(TICKET.with_use(ADA, BEGAN), ADA, ENDED, binds=False)
    assert with_uses(TICKET, unwritten.begin_writing()["ada"]).clients == {}


def test_what_clients_of_a_ticket_did_is_not_written_to_another_one_of_its_name() -> None:
    unwritten = UnwrittenUses()
    unwritten.note(TICKET.with_use(ADA, BEGAN), ADA, BEGAN, binds=True)
    another = ServedTicket("ada", b"n" * 32, 2)
    assert with_uses(another, unwritten.begin_writing()["ada"]) == another


def test_a_client_that_is_forgotten_before_the_writing_is_not_written() -> None:
    unwritten = UnwrittenUses()
    unwritten.note(TICKET.with_use(ADA, BEGAN), ADA, BEGAN, binds=True)
    unwritten.forget("ada", ADA)
    unwritten.forget("bob", ADA)
    assert unwritten.begin_writing() == {"ada": {}}


def test_a_client_that_is_forgotten_during_the_writing_is_taken_out_and_may_come_again() -> None:
    unwritten, used = UnwrittenUses(), TICKET.with_use(ADA, BEGAN)
    unwritten.note(used, ADA, BEGAN, binds=True)
    unwritten.begin_writing()
    unwritten.forget("ada", ADA)
    assert view_of({"ada": used}, *unwritten.layers).tickets["ada"].clients == {}
    unwritten.end_writing(["ada"])
    assert with_uses(used, unwritten.begin_writing()["ada"]).clients == {}
    unwritten.note(used, ADA, ENDED, binds=True)
    unwritten.end_writing(["ada"])
    assert with_uses(TICKET, unwritten.begin_writing()["ada"]).clients == {ADA: ENDED}


def test_no_more_clients_wait_than_a_ticket_remembers() -> None:
    unwritten, ticket = UnwrittenUses(), TICKET
    for number in range(MAX_CLIENTS + 10):
        key, use = number.to_bytes(32), ClientUse(number, number)
        ticket = ticket.with_use(key, use)
        unwritten.note(ticket, key, use, binds=True)
    assert len(unwritten.begin_writing()["ada"]) == MAX_CLIENTS


def test_what_has_become_of_tickets_is_told() -> None:
    bob = ServedTicket("bob", b"b" * 32, 1)
    revoked = ServedTicket("ada", bytes(32), 1, revoked_at=5)
    used = bob.with_use(ADA, BEGAN)
    before = view_of({"ada": TICKET, "bob": bob})
    assert list(changes(before, view_of({"ada": revoked, "bob": used}))) == [("ada", "revoked"), ("bob", "changed")]
    assert list(changes(before, view_of({"bob": bob}))) == [("ada", "gone")]
    assert list(changes(view_of({"bob": bob}), before)) == [("ada", "created")]
    assert list(changes(before, before)) == []
