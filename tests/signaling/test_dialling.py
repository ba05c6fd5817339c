"""Several connections at once: which wins, and what becomes of the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from perdure.signaling.dialling import LATE_AFTER, MAX_AT_ONCE, Dialling
from support.signaling import eventually

if TYPE_CHECKING:
    from perdure.signaling.socket import Socket


class Connection:
    """What stands for an open connection: it knows whether it was aborted."""

    def __init__(self) -> None:
        self.transport = self
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class Exchange:
    """Each call of it waits until the test lets it connect or fail."""

    def __init__(self) -> None:
        self.calls: list[asyncio.Future[Connection]] = []

    async def connect(self) -> Socket:
        self.calls.append(asyncio.get_running_loop().create_future())
        return cast("Socket", await self.calls[-1])


class Ways:
    """Two ways to connect, which wait likewise."""

    def __init__(self) -> None:
        self.routes, self.beside = Exchange(), Exchange()

    async def begin(self, *, everywhere: bool = False) -> tuple[Dialling, asyncio.Task[Socket]]:
        dialling = Dialling(self.routes.connect, [self.beside.connect], everywhere=everywhere)
        task = asyncio.create_task(dialling.run())
        await turns()
        return dialling, task

    @property
    def begun(self) -> tuple[int, int]:
        return len(self.routes.calls), len(self.beside.calls)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def begin(exchange: Exchange, moves: int = 0) -> tuple[Dialling, asyncio.Task[Socket]]:
    dialling = Dialling(exchange.connect, soon=False)
    task = asyncio.create_task(dialling.run())
    await turns()
    for _ in range(moves):
        dialling.network_moved()
        await turns()
    return dialling, task


async def test_a_move_begins_another_connection_and_leaves_the_first_alone() -> None:
    exchange = Exchange()
    _, task = await begin(exchange, moves=1)
    assert len(exchange.calls) == 2
    exchange.calls[0].set_result(first := Connection())
    assert await task is cast("Socket", first)
    await turns()
    assert not first.aborted
    assert exchange.calls[1].cancelled()


async def test_of_two_that_connect_at_once_one_is_closed() -> None:
    exchange = Exchange()
    _, task = await begin(exchange, moves=1)
    both = [Connection(), Connection()]
    for call, connection in zip(exchange.calls, both, strict=True):
        call.set_result(connection)
    winner: object = await task
    await turns()
    assert [connection.aborted for connection in both] == [connection is not winner for connection in both]


async def test_one_that_fails_fails_the_others_only_when_it_is_the_last() -> None:
    exchange = Exchange()
    _, task = await begin(exchange, moves=1)
    exchange.calls[0].set_exception(OSError("network is unreachable"))
    await turns()
    assert not task.done()
    exchange.calls[1].set_exception(OSError("refused"))
    with pytest.raises(OSError, match="refused"):
        await task


async def test_a_network_that_moves_without_end_has_few_connections_under_way() -> None:
    exchange = Exchange()
    _, task = await begin(exchange, moves=50)
    assert len(exchange.calls) == 51
    assert sum(not call.done() for call in exchange.calls) == MAX_AT_ONCE
    exchange.calls[-1].set_result(Connection())
    await task


async def test_other_ways_are_tried_at_once_where_the_first_is_doubted() -> None:
    ways = Ways()
    _, task = await ways.begin(everywhere=True)
    assert ways.begun == (1, 1)
    ways.beside.calls[0].set_result(connection := Connection())
    assert await task is cast("Socket", connection)
    await turns()
    assert ways.routes.calls[0].cancelled()


async def test_a_doubt_goes_by_the_other_ways_once() -> None:
    ways = Ways()
    dialling, task = await ways.begin()
    assert ways.begun == (1, 0)
    for _ in range(3):
        dialling.doubt()
        await turns()
    assert ways.begun == (2, 1)
    task.cancel()


async def test_other_ways_are_tried_when_the_routes_own_is_late() -> None:
    ways = Ways()
    _, task = await ways.begin()
    await asyncio.sleep(LATE_AFTER / 2)
    assert ways.begun == (1, 0)
    await eventually(lambda: ways.begun == (2, 1))
    ways.routes.calls[0].set_result(connection := Connection())
    assert await task is cast("Socket", connection)


async def test_other_ways_are_tried_where_the_routes_own_leads_nowhere() -> None:
    ways = Ways()
    _, task = await ways.begin()
    ways.routes.calls[0].set_exception(OSError("network is unreachable"))
    await turns()
    ways.beside.calls[0].set_result(connection := Connection())
    assert await task is cast("Socket", connection)


async def test_a_rendezvous_that_refuses_was_reached_and_no_other_way_is_tried() -> None:
    ways = Ways()
    _, task = await ways.begin()
    ways.routes.calls[0].set_exception(ConnectionRefusedError("refused"))
    with pytest.raises(ConnectionRefusedError):
        await task
    assert ways.begun == (1, 0)


async def test_all_ways_fail_before_the_attempt_does() -> None:
    ways = Ways()
    _, task = await ways.begin(everywhere=True)
    ways.routes.calls[0].set_exception(OSError("one"))
    await turns()
    assert not task.done()
    ways.beside.calls[0].set_exception(OSError("the other"))
    with pytest.raises(OSError, match="the other"):
        await task


async def test_a_cancelled_dialling_leaves_no_connection_open() -> None:
    exchange = Exchange()
    _, task = await begin(exchange, moves=1)
    exchange.calls[0].set_result(connection := Connection())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await turns()
    assert connection.aborted
    assert exchange.calls[1].cancelled()
