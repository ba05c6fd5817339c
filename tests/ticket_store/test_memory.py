"""A store without a folder: what its owner does, and what sessions do to it."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from perdure.admission import MAX_CLIENTS, Verdict
from perdure.errors import TicketError
from perdure.keys import public_bytes
from perdure.ticket_store import TicketStore
from perdure.ticket_store.change_log import UsableLog
from support.signaling import eventually

NOW = 1_800_000_000.0
ADA, BOB = b"a" * 32, b"b" * 32


def test_a_ticket_names_the_gateways_key_and_its_own_secret() -> None:
    store = TicketStore()
    served = store.create("ada", now=NOW, expires_at=NOW + 60)
    ticket = store.ticket("ada", "wss://rendezvous.example")
    assert ticket.rendezvous_url == "wss://rendezvous.example"
    assert ticket.gateway == store.public_key == public_bytes(store.key)
    assert (ticket.secret, ticket.expires_at) == (served.secret, int(NOW) + 60)
    assert store.find(ticket.ticket_id) == served
    assert store.ticket("ada", "ws://a").secret != TicketStore().create("ada", now=NOW).secret


def test_tickets_are_told_apart() -> None:
    store = TicketStore()
    ada, bob = (store.create(name, now=NOW) for name in ("ada", "bob"))
    store.revoke("ada", now=NOW + 1)
    assert store.judge(ada.ticket_id, ADA, now=NOW + 2).verdict is Verdict.REVOKED
    assert store.judge(bob.ticket_id, ADA, now=NOW + 2).verdict is Verdict.OK
    assert store.judge(bytes(16), ADA, now=NOW + 2).verdict is Verdict.UNKNOWN
    assert [ticket.name for ticket in store] == list(store.names) == ["ada", "bob"]


def test_without_a_time_a_ticket_is_made_and_revoked_now() -> None:
    store = TicketStore()
    assert store.create("ada").created_at > 0
    with pytest.raises(ValueError, match="must not be expired already"):
        store.create("bob", expires_at=1_000_000_000)
    store.revoke("ada")
    (ada,) = store
    assert ada.revoked_at is not None
    assert not ada.is_usable(ada.revoked_at)


def test_revoking_twice_keeps_the_first_time() -> None:
    store = TicketStore()
    ada = store.create("ada", now=NOW)
    store.revoke("ada", now=NOW + 1)
    store.revoke("ada", now=NOW + 2)
    found = store.find(ada.ticket_id)
    assert found is not None
    assert found.revoked_at == int(NOW) + 1


def test_a_session_counts_from_its_proof_to_its_end() -> None:
    store = TicketStore()
    ticket_id = store.create("ada", now=NOW).ticket_id
    store.began(ticket_id, ADA, now=NOW + 1)
    store.came_from(ticket_id, ADA, "192.0.2.1")
    store.began(ticket_id, ADA, now=NOW + 2)
    store.came_from(ticket_id, ADA, "192.0.2.2")
    store.began(ticket_id, BOB, now=NOW + 3)
    store.ended(ticket_id, ADA, now=NOW + 9)
    found = store.find(ticket_id)
    assert found is not None
    ada, bob = found.clients[ADA], found.clients[BOB]
    assert (ada.first_used_at, ada.last_used_at) == (int(NOW) + 1, int(NOW) + 9)
    assert (ada.address, ada.tunnels, bob.address, bob.tunnels) == ("192.0.2.2", 1, None, 1)
    assert found.tunnels == 2
    store.ended(ticket_id, ADA, now=NOW + 10)
    store.ended(ticket_id, BOB, now=NOW + 10)
    assert [ticket.tunnels for ticket in store] == [0]


def test_a_ticket_for_one_client_is_bound_by_its_session_and_freed_by_forgetting() -> None:
    store = TicketStore()
    ticket_id = store.create("ada", now=NOW, uses=1).ticket_id
    assert store.judge(ticket_id, BOB, now=NOW).verdict is Verdict.OK
    store.began(ticket_id, ADA, now=NOW)
    assert store.judge(ticket_id, ADA, now=NOW).verdict is Verdict.OK
    assert store.judge(ticket_id, BOB, now=NOW).verdict is Verdict.USED_UP
    assert store.forget(BOB) == []
    assert store.forget(ADA) == ["ada"]
    assert store.judge(ticket_id, BOB, now=NOW).verdict is Verdict.OK


@pytest.mark.parametrize("address", ["\x1b[2J", "a\nb", "192.0.2.1\x07"])
def test_an_address_that_would_steer_a_terminal_is_not_kept(address: str) -> None:
    store = TicketStore()
    ticket_id = store.create("ada", now=NOW).ticket_id
    store.began(ticket_id, ADA, now=NOW)
    store.came_from(ticket_id, ADA, address)
    store.began(ticket_id, BOB, now=NOW)
    store.came_from(ticket_id, BOB, "x" * 1000)
    (ticket,) = store
    assert ticket.clients[ADA].address is None
    assert ticket.clients[BOB].address == "x" * 64


def test_an_end_without_a_beginning_counts_nothing() -> None:
    store = TicketStore()
    ticket_id = store.create("ada", now=NOW).ticket_id
    store.ended(ticket_id, ADA, now=NOW)
    store.ended(bytes(16), ADA, now=NOW)
    store.began(bytes(16), ADA, now=NOW)
    assert [ticket.clients for ticket in store] == [{}]


def test_who_serves_is_told_of_what_its_owner_changes() -> None:
    store = TicketStore()
    heard = []
    unsubscribe = store.subscribe(lambda: heard.append(list(store.names)))
    ticket_id = store.create("ada", now=NOW).ticket_id
    assert heard == [["ada"]]
    store.began(ticket_id, ADA, now=NOW)
    store.ended(ticket_id, ADA, now=NOW)
    assert len(heard) == 1
    store.revoke("ada", now=NOW)
    store.revoke("ada", now=NOW)
    assert len(heard) == 2
    unsubscribe()
    unsubscribe()
    store.create("bob", now=NOW)
    assert len(heard) == 2


@pytest.mark.parametrize("name", ["", ".ada", "a/b", "a b", "ä", "a" * 65, "..", "a\n", "a\0"])
def test_a_name_is_a_plain_word(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a ticket's name"):
        TicketStore().create(name, now=NOW)


@pytest.mark.parametrize(
    "arguments",
    [
        {"uses": 0},
        {"uses": MAX_CLIENTS + 1},
        {"expires_at": NOW - 1},
        {"expires_at": 2.0**60},
        {"allow": ["nonsense"]},
        {"allow": ["127.0.0.1:22"] * 257},
        {"secret": b"short"},
    ],
)
def test_an_argument_out_of_its_range_is_refused(arguments: dict[str, object]) -> None:
    store = TicketStore()
    with pytest.raises(ValueError, match=r"."):
        store.create("ada", now=NOW, **arguments)  # type: ignore[arg-type]
    assert list(store.names) == []


def test_a_name_is_given_once() -> None:
    store = TicketStore()
    first = store.create("ada", now=NOW)
    with pytest.raises(TicketError, match="there is a ticket called ada already"):
        store.create("ada", now=NOW)
    assert list(store) == [first]
    for ask in (lambda: store.revoke("bob", now=NOW), lambda: store.ticket("bob", "ws://a")):
        with pytest.raises(TicketError, match="there is no ticket called 'bob'"):
            ask()


def nobodys(caplog: pytest.LogCaptureFixture) -> int:
    return sum("no ticket admits anybody" in line for line in caplog.messages)


async def test_a_gateway_without_a_folder_says_when_its_last_ticket_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = TicketStore()
    store.create("ada")
    watching = asyncio.create_task(store.watch())
    await asyncio.sleep(0)
    assert nobodys(caplog) == 0
    store.revoke("ada")
    await eventually(lambda: nobodys(caplog) == 1)
    watching.cancel()
    await asyncio.wait({watching})


def test_that_nobody_is_admitted_is_said_once_until_somebody_is(caplog: pytest.LogCaptureFixture) -> None:
    log, ada = UsableLog(), dataclasses.replace(TicketStore().create("ada", now=NOW), expires_at=int(NOW) + 5)
    told = []
    for second in range(8):
        log.look([ada], now=NOW + second)
        told.append(nobodys(caplog))
    log.look([dataclasses.replace(ada, expires_at=0)], now=NOW + 8)
    log.look([], now=NOW + 9)
    assert told == [0] * 5 + [1] * 3
    assert nobodys(caplog) == 2
