"""Signaling that comes through the present carrier, to a subject that reads it there. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from perdure.signaling.messages import Bye
from perdure.wire import MAX_SIGNAL_BYTES, Signal, encode_varint
from perdure_lab.conformance import raw
from perdure_lab.conformance.case import Cases
from perdure_lab.conformance.failures import NotApplicable

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.signaling.messages import Message
    from perdure_lab.conformance.conversation import Conversation
    from perdure_lab.conformance.line import Line

IN_BAND = Cases()

TWO_CARRIERS = raw.parameters((raw.CARRIERS, encode_varint(2)))
"""What this end says of itself in these cases."""


def _signal(message: Message) -> Signal:
    return Signal(msgspec.json.encode(message))


async def _two_carriers(c: Conversation) -> Line:
    """A carrier of two ends that read SIGNAL."""
    line = await c.next_carrier(listed=TWO_CARRIERS)
    if line.resume is None or line.resume.parameters.carriers < 2:
        raise NotApplicable("it has one carrier at a time")
    return line


async def _goes_on_beside(c: Conversation, old: Line, send: Callable[[Message], object]) -> None:
    """A stream goes on on a carrier whose offer is sent so, while `old` works."""
    stream = c.open(100_000)
    await c.pour(stream, 50_000)
    c.negotiation.send = send
    line = c.offer()
    await c.is_open(line)
    await c.until(lambda: _has_answered(old), "the answer through the carrier, too")
    line.say(*c.greeting(listed=TWO_CARRIERS))
    await c.resumed()
    await c.finish(stream)


def _has_answered(line: Line) -> bool:
    return any(isinstance(frame, Signal) and b'"answer"' in frame.body for frame in line.frames)


@IN_BAND.case(6)
async def offer_through_the_carrier(c: Conversation) -> None:
    """An offer and its candidates come through the carrier alone: so does the answer, and the stream goes on."""
    old = await _two_carriers(c)
    await _goes_on_beside(c, old, lambda message: old.say(_signal(message)))


@IN_BAND.case(6)
async def offer_every_way_at_once(c: Conversation) -> None:
    """An offer and its candidates come by text, and twice through the carrier: the first copy counts."""
    old = await _two_carriers(c)

    def send(message: Message) -> None:
        old.say(_signal(message))
        c.signals.send(message)
        old.say(_signal(message))

    await _goes_on_beside(c, old, send)
    await c.echo()


@IN_BAND.case(6)
async def signals_that_change_nothing(c: Conversation) -> None:
    """SIGNALs of a later version's type and of an older generation, and a `bye` in one, change nothing."""
    line = await _two_carriers(c)
    old_one = msgspec.json.encode({"type": "withdraw", "generation": 1})
    line.say(Signal(b'{"type":"later"}'), Signal(old_one), _signal(Bye("not so")))
    await c.round_trip()
    await c.echo()


def _breach(name: str, plays: str, body: bytes) -> None:
    async def play(c: Conversation) -> None:
        line = await _two_carriers(c)
        line.say(Signal(body))
        await c.is_cut(plays.rstrip("."))
        await c.still_works()

    IN_BAND.add(name, plays, 11, play)


_breach("signal-without-a-message", "A SIGNAL holds no message.", b"{}")
_breach("signal-too-long", "A SIGNAL is longer than 16 KiB.", bytes(MAX_SIGNAL_BYTES + 1))
