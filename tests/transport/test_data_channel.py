"""The engine's data channel without its wrapper: order, mailboxes, and what a handler of ours does wrong."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest
import webrtc
import wrtc

from perdure.transport import data_channel
from perdure.transport.data_channel import DataChannel, check_engine, connect
from perdure.transport.engine import prepare

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 20.0

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
with contextlib.suppress(ImportError):  # there is none for Windows
    import uvloop

    LOOPS.append(uvloop.new_event_loop)


class Listener:
    """Notes what it is told; `raises` the first time."""

    def __init__(self, *, raises: bool = False) -> None:
        self.told: list[object] = []
        self.looks = 0
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self.ends_loop = False
        """Whether each message has it raise `SystemExit`."""
        self._news = asyncio.Event()
        self._raises = raises

    def channel_may_open(self) -> bool:
        """The second time that it is asked."""
        self.looks += 1
        return self.looks > 1

    def channel_opened(self) -> None:
        self.told.append("open")
        self.opened.set()

    def channel_message(self, message: bytes) -> None:
        self.told.append(message)
        self._news.set()
        if self._raises:
            self._raises = False
            raise ValueError("a mistake")
        if self.ends_loop:
            raise SystemExit

    def channel_drained(self) -> None:
        self.told.append("drained")

    def channel_closed(self) -> None:
        self.closed.set()

    async def heard(self, count: int) -> None:
        """Wait for so many messages."""
        while len([each for each in self.told if isinstance(each, bytes)]) < count:
            self._news.clear()
            await self._news.wait()


class Two:
    """Two connections, their channels open."""

    def __init__(self, *, raises: bool = False) -> None:
        self.listeners = Listener(), Listener(raises=raises)
        prepare(loopback=True)
        self.connections: list[webrtc.RTCPeerConnection] = []
        self.channels: list[DataChannel] = []
        for listener in self.listeners:
            connection, channel = connect(webrtc.RTCConfiguration())
            channel.listener = listener
            self.connections.append(connection)
            self.channels.append(channel)

    async def __aenter__(self) -> Two:
        offerer, answerer = self.connections
        for here, there in (self.connections, self.connections[::-1]):
            here.on("icecandidate", self._candidates_for(there))
        async with asyncio.timeout(TIMEOUT):
            offer = await offerer.create_offer()
            await offerer.set_local_description(offer)
            await answerer.set_remote_description(offer)
            answer = await answerer.create_answer()
            await answerer.set_local_description(answer)
            await offerer.set_remote_description(answer)
            for listener in self.listeners:
                await listener.opened.wait()
        return self

    async def __aexit__(self, *error: object) -> None:
        for connection, channel in zip(self.connections, self.channels, strict=True):
            channel.let_go()
            connection.off()
            connection.close()
            connection._chain = None

    def _candidates_for(self, there: webrtc.RTCPeerConnection) -> Any:
        async def add(event: webrtc.RTCPeerConnectionIceEvent) -> None:
            if event.candidate is not None:
                await there.add_ice_candidate(event.candidate)

        return add


async def test_messages_come_in_order_behind_the_word_that_the_channel_is_open() -> None:
    async with Two() as two, asyncio.timeout(TIMEOUT):
        for number in range(300):
            two.channels[0].send(b"%d" % number)
        await two.listeners[1].heard(300)
        assert two.listeners[1].told == ["open", *(b"%d" % number for number in range(300))]


async def test_what_a_listener_raises_is_told_to_the_loop_and_stops_nothing() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with Two(raises=True) as two, asyncio.timeout(TIMEOUT):
        for message in (b"first", b"second"):
            two.channels[0].send(message)
        await two.listeners[1].heard(2)
    assert [str(context["exception"]) for context in told] == ["a mistake"]


def test_what_comes_behind_a_message_that_ends_the_loop_is_told_when_it_runs_again() -> None:
    async def begin() -> Two:
        return await Two().__aenter__()

    async def hear() -> None:
        async with asyncio.timeout(TIMEOUT):
            await two.listeners[1].heard(30)

    with asyncio.Runner() as runner:
        two, ends = runner.run(begin()), 0
        two.listeners[1].ends_loop = True
        for number in range(30):
            two.channels[0].send(b"%d" % number)
        mailbox = two.channels[0]._mailbox._native
        while len(mailbox) < 40:  # at most 30 say that something was sent
            pass
        while ends < 30:
            with pytest.raises(SystemExit):
                runner.run(hear())
            ends += 1
        runner.run(two.__aexit__())
    assert two.listeners[1].told == ["open", *(b"%d" % number for number in range(30))]


async def test_a_channel_that_the_peer_closes_is_told_closed() -> None:
    async with Two() as two, asyncio.timeout(TIMEOUT):
        two.connections[0].close()
        await two.listeners[1].closed.wait()
        with pytest.raises(webrtc.InvalidStateError):
            two.channels[1].send(b"late")


async def test_a_mailbox_goes_with_its_last_channel() -> None:
    async with Two() as two:
        assert list(data_channel._mailboxes) == [asyncio.get_running_loop()]
        two.channels[0].let_go()
        two.channels[0].let_go()
        assert data_channel._mailboxes
    assert not data_channel._mailboxes


async def test_nothing_is_told_of_a_channel_that_was_let_go() -> None:
    async with Two() as two, asyncio.timeout(TIMEOUT):
        two.channels[1].let_go()
        two.channels[0].send(b"late")
        two.channels[1].native.send(b"still sent", True)
        await two.listeners[0].heard(1)
        assert two.listeners[1].told == ["open"]


async def test_a_loop_that_cannot_watch_a_descriptor_is_woken_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def add_reader(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", add_reader)
    async with Two() as two, asyncio.timeout(TIMEOUT):
        assert data_channel._by_number
        two.channels[0].send(b"hello")
        await two.listeners[1].heard(1)
    assert not data_channel._by_number


def test_a_mailbox_of_a_loop_that_was_closed_goes_with_the_next() -> None:
    async def leave_open() -> list[DataChannel]:
        return (await Two().__aenter__()).channels

    left = asyncio.run(leave_open())
    assert len(data_channel._mailboxes) == 1
    asyncio.run(test_a_mailbox_goes_with_its_last_channel())
    assert not data_channel._mailboxes
    for channel in left:
        channel.let_go()


@pytest.mark.parametrize("watches", [True, False])
@pytest.mark.parametrize("make_loop", LOOPS)
def test_what_a_loop_leaves_open_goes_with_it(
    make_loop: Callable[[], asyncio.AbstractEventLoop], watches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def leave_open() -> None:
        two = await Two().__aenter__()
        two.channels[0].send(b"nobody reads it")

    if not watches:
        monkeypatch.setattr(wrtc.Mailbox, "enableWake", lambda _: None)
    gc.collect()
    before = wrtc._alive_factories()
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(leave_open())
    del runner
    for _ in range(3):
        gc.collect()
    assert wrtc._alive_factories() <= before
    assert not data_channel._mailboxes


def test_two_threads_may_find_the_same_mailbox_of_a_loop_that_was_closed() -> None:
    threads: list[threading.Thread] = []

    class Loop(asyncio.SelectorEventLoop):
        """Asked whether it is closed, it lets another thread ask first."""

        def is_closed(self) -> bool:
            is_closed = super().is_closed()
            if is_closed and not threads:
                threads.append(threading.Thread(target=asyncio.run, args=(open_one(),)))
                threads[0].start()
                threads[0].join()
            return is_closed

    async def leave_open() -> Two:
        return Two()

    async def open_one() -> None:
        await Two().__aexit__()

    with asyncio.Runner(loop_factory=Loop) as runner:
        left = runner.run(leave_open())
    asyncio.run(open_one())
    assert threads
    assert not data_channel._mailboxes
    for channel in left.channels:
        channel.let_go()


def test_an_engine_of_another_shape_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data_channel._NEEDED, wrtc.Mailbox, ("take", "takeAll"))
    with pytest.raises(ImportError, match=r"perdure needs wrtc 0.1.0; the installed one has no Mailbox.takeAll"):
        check_engine()
