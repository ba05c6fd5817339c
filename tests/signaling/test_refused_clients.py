"""Who is not let in: what the gateway's owner reads in the log, and what the client is told."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from perdure.admission import Holder
from perdure.errors import NotAuthorisedError
from perdure.keys import key_text
from perdure.signaling.envelope import Refusal, RefusalReason
from perdure.signaling.noise import public_bytes
from perdure.signaling.reasons import describe_refusal
from perdure.signaling.refused_clients import FULL_LOG_INTERVAL, LINES_AT_ONCE, RefusedClients
from perdure.signaling.server import RendezvousServer
from perdure.ticket_store import TicketStore
from support.signaling import KEY, Sessions, client_of, ticket_at, tickets, within

if TYPE_CHECKING:
    from pathlib import Path

    from perdure.ticket import Ticket

SHORT_KEY = key_text(public_bytes(KEY))[:8]
OTHER_CLIENT = bytes(32)


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if message.startswith("client-refused")]


async def refused_once(store: TicketStore, ticket: Ticket, server: RendezvousServer) -> None:
    async with Sessions(store, server.port), client_of(ticket) as client:
        with pytest.raises(NotAuthorisedError):
            await within(client.wait_available())


@pytest.mark.parametrize("why", ["revoked", "expired", "used by another client"])
async def test_the_owner_reads_whom_a_ticket_did_not_let_in_and_why(why: str, caplog: pytest.LogCaptureFixture) -> None:
    store = TicketStore()
    store.create("bob", now=0, uses=1, expires_at=1000 if why == "expired" else 0)
    (bob,) = store
    if why == "revoked":
        store.revoke("bob", now=1_800_000_000)
    elif why != "expired":
        store.began(bob.ticket_id, OTHER_CLIENT, now=time.time())
    async with RendezvousServer() as server:
        await refused_once(store, store.ticket("bob", f"ws://127.0.0.1:{server.port}"), server)
    (line,) = refusals(caplog)
    assert line.startswith(f'client-refused ticket=bob key={SHORT_KEY} why="the ticket ')
    assert {"revoked": "was revoked at 2027", "expired": "expired at 1970"}.get(why, "another one has used it") in line


async def test_the_owner_reads_of_a_ticket_that_is_none_of_the_gateways(caplog: pytest.LogCaptureFixture) -> None:
    store = tickets()
    async with RendezvousServer() as server:
        await refused_once(store, replace(ticket_at(store, server.port), secret=bytes(32)), server)
    assert refusals(caplog) == [f'client-refused ticket="" key={SHORT_KEY} why="the gateway has no such ticket"']


async def test_the_owner_reads_which_key_is_not_authorized(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "authorized"
    path.write_text(f"{key_text(OTHER_CLIENT)}\n")
    path.chmod(0o600)
    store = TicketStore(authorized_keys=path)
    store.create("default", now=0)
    async with RendezvousServer() as server:
        await refused_once(store, ticket_at(store, server.port), server)
    (line,) = refusals(caplog)
    assert line.endswith(f'key={SHORT_KEY} why="the client\'s key is not among the authorized keys"')


async def test_a_client_that_is_let_in_leaves_no_such_line(caplog: pytest.LogCaptureFixture) -> None:
    store = tickets()
    async with (
        RendezvousServer() as server,
        Sessions(store, server.port),
        client_of(ticket_at(store, server.port)) as client,
    ):
        await within(client.wait_available())
    assert refusals(caplog) == []


def test_who_is_refused_again_and_again_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    clients = RefusedClients(now=lambda: now)
    for number in range(25 * 600):
        now = 1000.0 + number / 25
        clients.refused(Holder("bob", bytes(16), number.to_bytes(32, "big")), "the ticket was revoked")
    lines = refusals(caplog)
    assert len(lines) <= LINES_AT_ONCE + 100
    assert not any("not_logged" in line for line in lines[:LINES_AT_ONCE])
    assert lines[-1].endswith("not_logged_before=149")


def test_a_gateway_without_room_says_so_once_a_minute_whoever_waits(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    clients = RefusedClients(now=lambda: now)
    for second in range(0, 120, 5):
        now = float(second)
        clients.has_no_room(Holder("ada", bytes(16), OTHER_CLIENT))
        clients.has_no_room(Holder("bob", bytes(16), public_bytes(KEY)))
    assert len(refusals(caplog)) == 120 / FULL_LOG_INTERVAL
    assert "no room for another session" in refusals(caplog)[0]


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (
            Refusal(RefusalReason.USED_UP, "it is for one client, and another one has used it"),
            "the ticket is used up (it is for one client, and another one has used it); "
            "ask the gateway's owner for a new one",
        ),
        (
            Refusal(RefusalReason.NOT_AUTHORIZED),
            "the gateway does not know this client's key; send its owner what `perdure client-key` prints",
        ),
        (Refusal(RefusalReason.FULL), "it has no room for another session; trying again"),
        (
            Refusal(RefusalReason.REVOKED, "at 2027-01-15 08:00:00 UTC"),
            "the ticket was revoked (at 2027-01-15 08:00:00 UTC); ask the gateway's owner for a new one",
        ),
        (
            Refusal(RefusalReason.EXPIRED, "at 08:00:00 UTC, and the gateway's clock says 08:00:01 UTC"),
            "the ticket has expired (at 08:00:00 UTC, and the gateway's clock says 08:00:01 UTC; "
            "this machine's clock says 2027-01-15 07:50:00 UTC); ask the gateway's owner for a new one",
        ),
        (
            Refusal(RefusalReason.EXPIRED),
            "the ticket has expired (this machine's clock says 2027-01-15 07:50:00 UTC); "
            "ask the gateway's owner for a new one",
        ),
    ],
)
def test_a_client_is_told_once_why_and_what_to_do(refusal: Refusal, told: str) -> None:
    assert describe_refusal(refusal, now=1_800_000_000 - 600) == told
