"""In which order a connection's frames are written."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from perdure.signaling.frames import Send, decode_client_frame
from perdure.signaling.outgoing import MAX_UNWRITTEN_FRAMES, Outgoing
from support.signaling import eventually


class Wire:
    """Takes frames."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def send(self, text: str) -> None:
        frame = decode_client_frame(text)
        assert isinstance(frame, Send)
        self.bodies.append(frame.body)


async def test_what_is_for_peers_that_have_proved_themselves_goes_before_answers_to_strangers() -> None:
    outgoing, wire, peer = Outgoing(), Wire(), "0" * 32
    frames = [Send(peer, b"a"), Send(peer, b"b"), Send(peer, b"1", vouched=True), Send(peer, b"2", vouched=True)]
    for frame in frames:
        outgoing.add(frame)
    writing = asyncio.ensure_future(outgoing.write_to(cast(Any, wire)))
    await eventually(lambda: len(wire.bodies) == len(frames))
    writing.cancel()
    assert wire.bodies == [b"1", b"2", b"a", b"b"]


def test_frames_of_both_kinds_count_where_the_connection_takes_none() -> None:
    outgoing = Outgoing()
    for number in range(MAX_UNWRITTEN_FRAMES):
        outgoing.add(Send("0" * 32, b"", vouched=number % 2 == 0))
    assert not outgoing.is_stuck
    outgoing.add(Send("0" * 32, b""))
    assert outgoing.is_stuck
