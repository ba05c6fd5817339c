"""Tickets in a folder: what a file says, what several processes do to it, and what a running gateway makes of it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from perdure.admission import Verdict
from perdure.errors import TicketError
from perdure.keys import key_text
from perdure.private_files import locked
from perdure.ticket_store import TicketStore
from support.recorder import TIMEOUT
from support.signaling import eventually
from support.ticket_stores import URL, next_change, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

T = TypeVar("T")

NOW = 1_800_000_000.0
ADA, BOB = b"a" * 32, b"b" * 32


def test_a_ticket_is_a_readable_file_of_its_owner_alone(tmp_path: Path) -> None:
    store = TicketStore(tmp_path / "state")
    store.create("ada", now=NOW, expires_at=NOW + 3600, uses=1, allow=["127.0.0.1:22"])
    path = tmp_path / "state" / "tickets" / "ada.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    said = json.loads(path.read_text())
    assert len(said.pop("secret")) == 44
    assert said == {
        "name": "ada",
        "created_at": "2027-01-15T08:00:00Z",
        "expires_at": "2027-01-15T09:00:00Z",
        "uses": 1,
        "allow": ["127.0.0.1:22"],
        "revoked_at": None,
        "clients": {},
    }
    assert list(TicketStore(tmp_path / "state")) == list(store)
    assert TicketStore(tmp_path / "state").ticket("ada", URL) == store.ticket("ada", URL)


async def test_what_clients_did_is_written(tmp_path: Path) -> None:
    async with serving(tmp_path) as (store, _):
        ticket_id = store.create("ada", now=NOW).ticket_id
        store.began(ticket_id, ADA, now=NOW + 1)
        store.came_from(ticket_id, ADA, "192.0.2.1")
        await store.flush()
        seen = TicketStore(tmp_path)
        assert [ticket.tunnels for ticket in seen] == [1]
        assert seen.is_served()
        said = json.loads((tmp_path / "tickets" / "ada.json").read_text())
        assert said["clients"] == {
            key_text(ADA): {
                "first_used_at": "2027-01-15T08:00:01Z",
                "last_used_at": "2027-01-15T08:00:01Z",
                "address": "192.0.2.1",
                "tunnels": 1,
            }
        }
        store.ended(ticket_id, ADA, now=NOW + 2)
    assert [ticket.tunnels for ticket in TicketStore(tmp_path)] == [0]
    assert not TicketStore(tmp_path).is_served()


async def test_a_new_key_is_written_at_once(tmp_path: Path) -> None:
    ticket_id = TicketStore(tmp_path).create("ada", now=NOW, uses=1).ticket_id
    async with serving(tmp_path) as (store, _):
        store.began(ticket_id, ADA, now=NOW)
        await eventually(lambda: TicketStore(tmp_path).judge(ticket_id, BOB, now=NOW).verdict is Verdict.USED_UP)
        assert store.judge(ticket_id, BOB, now=NOW).verdict is Verdict.USED_UP


async def test_a_running_gateway_sees_what_another_process_does(tmp_path: Path) -> None:
    owner = TicketStore(tmp_path)
    ada = owner.create("ada", now=NOW)
    async with serving(tmp_path) as (store, changed):
        bob = owner.create("bob", now=NOW)
        await next_change(changed)
        assert store.judge(bob.ticket_id, BOB, now=NOW).verdict is Verdict.OK
        owner.revoke("ada", now=NOW)
        await next_change(changed)
        assert store.judge(ada.ticket_id, ADA, now=NOW).verdict is Verdict.REVOKED
        assert store.judge(bob.ticket_id, BOB, now=NOW).verdict is Verdict.OK
        (tmp_path / "tickets" / "bob.json").unlink()
        await next_change(changed)
        assert store.judge(bob.ticket_id, BOB, now=NOW).verdict is Verdict.UNKNOWN


async def test_a_client_that_is_forgotten_while_its_tunnel_lives_stays_forgotten(tmp_path: Path) -> None:
    async with serving(tmp_path) as (store, changed):
        ticket_id = store.create("ada", now=NOW, uses=1).ticket_id
        changed.clear()
        store.began(ticket_id, ADA, now=NOW)
        await store.flush()
        assert TicketStore(tmp_path).forget(ADA) == ["ada"]
        await next_change(changed)
        store.ended(ticket_id, ADA, now=NOW + 1)
        await store.flush()
        assert store.judge(ticket_id, BOB, now=NOW).verdict is Verdict.OK
        assert [ticket.clients for ticket in TicketStore(tmp_path)] == [{}]


async def test_a_client_that_another_process_forgets_before_its_next_session_is_written_is_forgotten(
    tmp_path: Path,
) -> None:
    store = TicketStore(tmp_path)
    ticket_id = store.create("ada", now=NOW, uses=1).ticket_id
    store.began(ticket_id, ADA, now=NOW)
    await store.flush()
    store.began(ticket_id, ADA, now=NOW + 1)
    assert TicketStore(tmp_path).forget(ADA) == ["ada"]
    await store.flush()
    assert store.judge(ticket_id, BOB, now=NOW).verdict is Verdict.OK
    assert [list(ticket.clients) for ticket in TicketStore(tmp_path)] == [[]]


FORGETTER = """
import pathlib, sys
from perdure.ticket_store import TicketStore
for number in range(40):
    store = TicketStore(pathlib.Path(sys.argv[1]))
    assert store.forget(number.to_bytes(32)) == ["ada"]
"""


async def test_what_is_forgotten_while_a_gateway_writes_the_file_stays_so_and_the_gateway_loses_nothing(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as (store, _):
        ticket_id = store.create("ada", now=NOW).ticket_id
        for number in range(40):
            store.began(ticket_id, number.to_bytes(32), now=NOW)
        await store.flush()
        forgetter = await asyncio.create_subprocess_exec(sys.executable, "-c", FORGETTER, str(tmp_path))
        late = 1000
        while forgetter.returncode is None:
            for number in range(0, 40, 2):
                if number.to_bytes(32) in next(iter(store)).clients:  # as far as the gateway has heard
                    store.began(ticket_id, number.to_bytes(32), now=NOW + 1)
                    store.ended(ticket_id, number.to_bytes(32), now=NOW + 1)
            late += 1
            store.began(ticket_id, late.to_bytes(32), now=NOW)
            await store.flush()
        assert await forgetter.wait() == 0
        await store.flush()
    (ticket,) = TicketStore(tmp_path)
    assert sorted(ticket.clients) == [number.to_bytes(32) for number in range(1001, late + 1)]


class HeldThreads(ThreadPoolExecutor):
    """Does what it is told at once, and says so only when it is let."""

    def __init__(self) -> None:
        super().__init__(1)
        self.is_done, self.may_answer = threading.Event(), threading.Event()

    def submit(self, work: Callable[..., T], /, *arguments: Any, **named: Any) -> Future[T]:
        def held() -> T:
            result = work(*arguments, **named)
            self.is_done.set()
            self.may_answer.wait(TIMEOUT)
            return result

        return super().submit(held)


async def test_a_change_made_here_is_not_undone_by_what_a_worker_read_before(tmp_path: Path) -> None:
    store, threads = TicketStore(tmp_path), HeldThreads()
    ada = store.create("ada", now=NOW)
    asyncio.get_running_loop().set_default_executor(threads)
    store.began(ada.ticket_id, ADA, now=NOW)
    flushing = asyncio.create_task(store.flush())
    await asyncio.sleep(0)
    await eventually(threads.is_done.is_set)
    bob = store.create("bob", now=NOW)
    store.revoke("ada", now=NOW)
    threads.may_answer.set()
    for turn in (flushing, store.flush()):
        await turn
        assert store.find(bob.ticket_id) == bob
        assert store.judge(ada.ticket_id, ADA, now=NOW).verdict is Verdict.REVOKED
    assert [(ticket.name, list(ticket.clients)) for ticket in TicketStore(tmp_path)] == [("ada", [ADA]), ("bob", [])]


async def test_a_client_that_is_forgotten_here_is_not_written_later(tmp_path: Path) -> None:
    store = TicketStore(tmp_path)
    ada = store.create("ada", now=NOW, uses=1)
    store.began(ada.ticket_id, ADA, now=NOW)
    assert store.forget(ADA) == ["ada"]
    await store.flush()
    assert store.judge(ada.ticket_id, BOB, now=NOW).verdict is Verdict.OK
    assert [list(ticket.clients) for ticket in TicketStore(tmp_path)] == [[]]


async def test_a_client_that_is_forgotten_here_while_a_worker_writes_it_is_taken_out_again(tmp_path: Path) -> None:
    store, threads = TicketStore(tmp_path), HeldThreads()
    ada = store.create("ada", now=NOW, uses=1)
    asyncio.get_running_loop().set_default_executor(threads)
    store.began(ada.ticket_id, ADA, now=NOW)
    flushing = asyncio.create_task(store.flush())
    await asyncio.sleep(0)
    await eventually(threads.is_done.is_set)
    assert store.forget(ADA) == ["ada"]
    assert store.judge(ada.ticket_id, BOB, now=NOW).verdict is Verdict.OK
    threads.may_answer.set()
    for turn in (flushing, store.flush()):
        await turn
        assert store.judge(ada.ticket_id, BOB, now=NOW).verdict is Verdict.OK
    assert [list(ticket.clients) for ticket in TicketStore(tmp_path)] == [[]]


async def test_live_tunnels_of_a_gateway_that_was_killed_are_not_believed(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, sys, pathlib\n"
        "from perdure.ticket_store import TicketStore\n"
        "store = TicketStore(pathlib.Path(sys.argv[1]))\n"
        "store.begin_serving('ws://127.0.0.1:1')\n"
        "ticket = store.create('ada', now=1)\n"
        "store.began(ticket.ticket_id, bytes(32), now=2)\n"
        "asyncio.run(store.flush())\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path))
    assert await killed.wait() == -9
    left = TicketStore(tmp_path)
    assert [ticket.tunnels for ticket in left] == [1]
    assert not left.is_served()
    async with serving(tmp_path) as (store, _):
        assert [ticket.tunnels for ticket in store] == [0]
        await store.flush()
        assert [ticket.tunnels for ticket in TicketStore(tmp_path)] == [0]


async def test_one_gateway_a_folder(tmp_path: Path) -> None:
    async with serving(tmp_path):
        with pytest.raises(
            TicketError, match=f"another gateway \\(process {os.getpid()}\\) uses the state folder {tmp_path}"
        ):
            TicketStore(tmp_path).begin_serving(URL)
    async with serving(tmp_path):
        assert TicketStore(tmp_path).rendezvous_url == URL


async def test_a_command_that_stops_in_the_middle_does_not_hide_what_is_revoked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ada = TicketStore(tmp_path).create("ada", now=NOW)
    bob = TicketStore(tmp_path).create("bob", now=NOW)
    async with serving(tmp_path) as (store, _):
        with locked(tmp_path):
            store.began(bob.ticket_id, BOB, now=NOW)
            path = tmp_path / "tickets" / "ada.json"
            path.write_text(path.read_text().replace('"revoked_at": null', '"revoked_at": "2027-01-15T08:00:00Z"'))
            await store.flush()
            assert store.judge(ada.ticket_id, ADA, now=NOW).verdict is Verdict.REVOKED
            assert "another process holds" in caplog.text
        await store.flush()
        assert [list(ticket.clients) for ticket in TicketStore(tmp_path)] == [[], [BOB]]


CREATOR = """
import pathlib, sys
from perdure.ticket_store import TicketStore
store = TicketStore(pathlib.Path(sys.argv[1]))
for number in range(20):
    store.create(f"{sys.argv[2]}{number}", now=1)
    store.revoke(f"{sys.argv[2]}{number}", now=2)
    store.revoke(f"shared{number}", now=2)
"""


async def test_nothing_is_lost_when_several_processes_write_at_once(tmp_path: Path) -> None:
    owner = TicketStore(tmp_path)
    shared = [owner.create(f"shared{number}", now=1) for number in range(20)]
    async with serving(tmp_path) as (store, _):
        writers = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", CREATOR, str(tmp_path), name)
            for name in ("a", "b")
        ]
        for number in range(200):
            for ticket in shared:
                store.began(ticket.ticket_id, number.to_bytes(32), now=3)
            await store.flush()
            if all(writer.returncode is not None for writer in writers) and number > 5:
                break
        assert [await writer.wait() for writer in writers] == [0, 0]
        await store.flush()
        last = number
    found = {ticket.name: ticket for ticket in TicketStore(tmp_path)}
    assert len(found) == 60
    assert all(ticket.revoked_at == 2 for ticket in found.values())
    for ticket in shared:
        assert len(found[ticket.name].clients) == last + 1
