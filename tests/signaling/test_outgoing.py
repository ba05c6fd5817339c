"""In which order a connection's frames are written."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any, cast

from perdure.signaling.frames import GATEWAY, ClientFrame, Send, Vouch, decode_client_frame
from perdure.signaling.outgoing import MAX_UNWRITTEN_FOR_ONE, MAX_UNWRITTEN_FRAMES, Outgoing
from support.signaling import eventually


class Wire:
    """Takes frames."""

    def __init__(self) -> None:
        self.frames: list[ClientFrame] = []

    async def send(self, text: str) -> None:
        self.frames.append(decode_client_frame(text))


async def written(outgoing: Outgoing, count: int) -> list[ClientFrame]:
    """The first `count` frames that are written."""
    wire = Wire()
    writing = asyncio.ensure_future(outgoing.write_to(cast(Any, wire)))
    await eventually(lambda: len(wire.frames) >= count)
    writing.cancel()
    return wire.frames[:count]


async def test_peers_that_have_proved_themselves_and_strangers_take_turns() -> None:
    outgoing, peer = Outgoing(), "0" * 32
    for body in (b"a", b"b", b"1", b"2", b"3"):
        outgoing.add(Send(peer, body), is_proved=body.isdigit())
    assert await written(outgoing, 5) == [Send(peer, body) for body in (b"1", b"a", b"2", b"b", b"3")]


async def test_a_peer_with_much_to_be_answered_delays_no_other_one() -> None:
    outgoing, greedy, modest = Outgoing(), "1" * 32, "2" * 32
    for number in range(50):
        outgoing.add(Send(greedy, b"%d" % number), is_proved=True)
    outgoing.add(Send(modest, b"a"), is_proved=True)
    outgoing.add(Send(modest, b"b"), is_proved=True)
    assert await written(outgoing, 5) == [
        *(Send(greedy, b"0"), Send(modest, b"a"), Send(greedy, b"1"), Send(modest, b"b"), Send(greedy, b"2")),
    ]


async def test_of_what_is_for_one_client_the_oldest_is_dropped_and_the_connection_does_not_look_stuck() -> None:
    outgoing, peer = Outgoing(), "0" * 32
    for number in range(2 * MAX_UNWRITTEN_FRAMES):
        outgoing.add(Send(peer, b"%d" % number), is_proved=True)
    assert not outgoing.is_stuck
    most = 2 * MAX_UNWRITTEN_FRAMES
    kept = range(most - MAX_UNWRITTEN_FOR_ONE, most)
    assert await written(outgoing, MAX_UNWRITTEN_FOR_ONE) == [Send(peer, b"%d" % number) for number in kept]


async def test_a_client_drops_nothing_that_is_for_its_gateway() -> None:
    outgoing = Outgoing()
    for number in range(4 * MAX_UNWRITTEN_FOR_ONE):
        outgoing.add(Send(GATEWAY, b"%d" % number))
    assert await written(outgoing, 4 * MAX_UNWRITTEN_FOR_ONE) == [
        Send(GATEWAY, b"%d" % number) for number in range(4 * MAX_UNWRITTEN_FOR_ONE)
    ]


async def test_of_those_who_are_vouched_for_the_latest_list_goes_and_before_all() -> None:
    outgoing = Outgoing()
    outgoing.add(Send("0" * 32, b"x"), is_proved=True)
    for number in range(1000):
        outgoing.vouch(Vouch((f"{number:032x}",)))
    assert await written(outgoing, 2) == [Vouch((f"{999:032x}",)), Send("0" * 32, b"x")]


def test_frames_of_both_kinds_count_where_the_connection_takes_none() -> None:
    outgoing = Outgoing()
    for number in range(MAX_UNWRITTEN_FRAMES):
        outgoing.add(Send(GATEWAY, b""), is_proved=number % 2 == 0)
    assert not outgoing.is_stuck
    outgoing.add(Send(GATEWAY, b""))
    assert outgoing.is_stuck


def test_of_those_for_whom_nobody_vouches_nothing_is_kept_however_many_the_rendezvous_names() -> None:
    outgoing = Outgoing()
    outgoing.vouch(Vouch(("f" * 32,)))
    outgoing.joined(())
    tracemalloc.start()
    try:
        for number in range(10_000):
            outgoing.presence(f"{number:032x}", True)
        assert tracemalloc.get_traced_memory()[0] < 64 * 1024
    finally:
        tracemalloc.stop()
