"""In which order a connection's frames are written."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from perdure.signaling.frames import ClientFrame, Send, Vouch, decode_client_frame
from perdure.signaling.outgoing import MAX_UNWRITTEN_FRAMES, Outgoing
from support.signaling import eventually


class Wire:
    """Takes frames."""

    def __init__(self) -> None:
        self.frames: list[ClientFrame] = []

    async def send(self, text: str) -> None:
        self.frames.append(decode_client_frame(text))


async def test_what_is_for_peers_that_have_proved_themselves_goes_before_answers_to_strangers() -> None:
    outgoing, wire, peer = Outgoing(), Wire(), "0" * 32
    for body in (b"a", b"b", b"1", b"2"):
        outgoing.add(Send(peer, body), is_proved=body.isdigit())
    writing = asyncio.ensure_future(outgoing.write_to(cast(Any, wire)))
    await eventually(lambda: len(wire.frames) == 4)
    writing.cancel()
    assert wire.frames == [Send(peer, body) for body in (b"1", b"2", b"a", b"b")]


async def test_of_those_who_are_vouched_for_the_latest_list_goes_and_before_all() -> None:
    outgoing, wire = Outgoing(), Wire()
    outgoing.add(Send("0" * 32, b"x"), is_proved=True)
    for number in range(1000):
        outgoing.vouch(Vouch((f"{number:032x}",)))
    writing = asyncio.ensure_future(outgoing.write_to(cast(Any, wire)))
    await eventually(lambda: len(wire.frames) == 2)
    writing.cancel()
    assert wire.frames == [Vouch((f"{999:032x}",)), Send("0" * 32, b"x")]


def test_frames_of_both_kinds_count_where_the_connection_takes_none() -> None:
    outgoing = Outgoing()
    for number in range(MAX_UNWRITTEN_FRAMES):
        outgoing.add(Send("0" * 32, b""), is_proved=number % 2 == 0)
    assert not outgoing.is_stuck
    outgoing.add(Send("0" * 32, b""))
    assert outgoing.is_stuck
