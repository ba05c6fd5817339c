"""The engine's data channel without its wrapper: event loops of each kind, and an engine of another version."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import webrtc

from perdure.transport.data_channel import check_engine
from transport.peers import TIMEOUT, Peer, Peers

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGES = [b"%d" % number for number in range(250)]
"""More than are handled in one turn of the event loop."""


class WithoutReaders(asyncio.SelectorEventLoop):
    """Cannot watch a descriptor, as Windows' default loop cannot."""

    def add_reader(self, *_: object) -> None:
        raise NotImplementedError


async def exchange() -> None:
    """Messages go both ways, at once and in order."""
    peers = Peers()
    try:
        here, there = await peers.open()
        for message in MESSAGES:
            here.send(message)
            there.send(message)
        async with asyncio.timeout(TIMEOUT):
            for peer in (peers.offerer, peers.answerer):
                assert [await peer.messages.get() for _ in MESSAGES] == MESSAGES
    finally:
        peers.close()


@pytest.mark.parametrize("make_loop", [asyncio.SelectorEventLoop, WithoutReaders])
def test_messages_come_in_order_whether_or_not_the_loop_watches_descriptors(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(exchange())


async def test_a_message_whose_handler_raises_holds_up_none_behind_it() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    mistake = ValueError("a mistake")

    class Hasty(Peer):
        def carrier_message(self, generation: int, message: bytes) -> None:
            if message == b"first":
                raise mistake
            super().carrier_message(generation, message)

    peers = Peers()
    peers.answerer = Hasty(peers.transport, initiator=False)
    peers.offerer.other, peers.answerer.other = peers.answerer, peers.offerer
    try:
        here, _ = await peers.open()
        here.send(b"first")
        here.send(b"second")
        async with asyncio.timeout(TIMEOUT):
            assert await peers.answerer.messages.get() == b"second"
        assert told == [mistake]
    finally:
        peers.close()


def test_an_engine_of_another_version_is_told_with_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(webrtc.RTCConfiguration, "_to_native")
    with pytest.raises(ImportError, match=r"needs wrtc 0\.1\.0; the installed one has no RTCConfiguration\._to_native"):
        check_engine()
