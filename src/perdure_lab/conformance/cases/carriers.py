"""The loss of carriers, and what RESUME says of streams: every byte comes once. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.wire import Data, Gone, Ping, Pong, Reset, ResetCode
from perdure_lab.conformance import raw
from perdure_lab.conformance.case import Cases
from perdure_lab.conformance.failures import CaseFailed

if TYPE_CHECKING:
    from perdure_lab.conformance.conversation import Conversation

CARRIERS = Cases()


@CARRIERS.case(8)
async def lost_within_a_stream(c: Conversation) -> None:
    """Three carriers are lost while a megabyte is under way: every byte comes back once."""
    await c.next_carrier()
    stream = c.open(1_000_000)
    for up_to in (200_000, 450_000, 451_000):
        await c.pour(stream, up_to)
        await c.next_carrier()
    await c.finish(stream)


@CARRIERS.case(8)
async def lost_before_accept(c: Conversation) -> None:
    """The carrier is lost right behind OPEN and early data."""
    line = await c.next_carrier()
    stream = c.new_stream(c.dice.randbytes(3000))
    line.say(stream.opening(), stream.data(1000))
    await c.next_carrier()
    await c.finish(stream)


@CARRIERS.case(8)
async def lost_behind_fin(c: Conversation) -> None:
    """The carrier is lost behind FIN, before everything has come back."""
    line = await c.next_carrier()
    stream = c.open(50_000, window=10_000)
    await c.pour(stream)
    line.say(stream.fin())
    await c.until(lambda: stream.received == 10_000, "10,000 bytes back")
    stream.window = 50_000  # as RESUME will say
    await c.next_carrier()
    await c.finish(stream)


@CARRIERS.case(8)
async def resume_grants_credit(c: Conversation) -> None:
    """RESUME lists a higher limit than OPEN gave: the subject goes on up to that one."""
    await c.next_carrier()
    stream = c.open(5000, window=1000)
    await c.pour(stream)
    await c.until(lambda: stream.received == 1000, "1000 bytes back")
    stream.window = 3000
    await c.next_carrier()
    await c.until(lambda: stream.received == 3000, "bytes up to 3000, the limit in RESUME")
    await c.round_trip()
    stream.window = 5000
    await c.next_carrier()
    await c.finish(stream)


@CARRIERS.case(8)
async def resume_names_an_older_position(c: Conversation) -> None:
    """What was received, but never acknowledged, counts as lost in RESUME: the subject sends it again from there."""
    line = await c.next_carrier()
    stream = c.open(4000)
    line.acknowledges = False
    await c.pour(stream, 3000)
    await c.until(lambda: stream.received == 3000, "3000 bytes back")
    line = await c.opened()
    line.say(c.resume(positions=[(stream.stream_id, 1000, stream.window)]))
    await c.resumed()
    await c.until(lambda: stream.lowest_offset is not None, "DATA again from 1000 on")
    if stream.lowest_offset != 1000:
        raise CaseFailed("DATA again from 1000 on", f"DATA from {stream.lowest_offset} on")
    await c.finish(stream)


@CARRIERS.case(8)
async def bytes_said_again(c: Conversation) -> None:
    """After the loss this end sends all from the beginning, though the subject has a part of it: that counts once."""
    await c.next_carrier()
    stream = c.open(4000)
    await c.pour(stream, 3000)
    await c.until(lambda: stream.received == 3000, "3000 bytes back")
    await c.next_carrier()
    stream.sent = 0
    await c.finish(stream)


@CARRIERS.case(8)
async def open_said_again(c: Conversation) -> None:
    """After the loss OPEN is said again, though the subject has the stream: it is no second one."""
    await c.next_carrier()
    stream = c.open(4000)
    await c.pour(stream, 1000)
    await c.until(lambda: stream.received == 1000, "1000 bytes back")
    line = await c.next_carrier()
    line.say(stream.opening())
    await c.finish(stream)


@CARRIERS.case(8)
async def stream_absent_in_resume(c: Conversation) -> None:
    """RESUME does not list a stream that the subject knows: it forgets the stream, as by GONE."""
    await c.next_carrier()
    stream = c.open(3000, window=1000)
    await c.pour(stream, 2000)
    await c.until(lambda: stream.received == 1000, "1000 bytes back")
    line = await c.opened()
    line.say(c.resume(positions=[]))
    await c.resumed()
    await c.round_trip()
    line.say(Data(stream.stream_id, stream.sent, memoryview(b"x")))
    await c.hear(Gone, f"GONE {stream.stream_id} for DATA of a stream that is forgotten")
    await c.echo()


@CARRIERS.case(8)
async def resume_lists_a_stream_to_come(c: Conversation) -> None:
    """RESUME lists a stream whose OPEN was lost: nothing is said about it, and OPEN comes again."""
    line = await c.opened()
    stream = c.new_stream(c.dice.randbytes(1000))
    line.say(
        raw.hello(c.session_id, c.key, raw.NO_PARAMETERS), c.resume(positions=[(stream.stream_id, 0, stream.window)])
    )
    await c.resumed()
    await c.round_trip()
    if stream.is_gone:
        raise CaseFailed("nothing about a stream that it never had", "GONE")
    line.say(stream.opening())
    await c.finish(stream)


@CARRIERS.case(8)
async def resume_lists_a_stream_that_is_gone(c: Conversation) -> None:
    """RESUME lists a stream that has ended at both ends: the subject answers GONE."""
    await c.next_carrier()
    stream = await c.echo()
    await c.round_trip()
    line = await c.opened()
    line.say(c.resume(positions=[(stream.stream_id, stream.position, stream.window)]))
    await c.resumed()
    await c.hear(Gone, f"GONE {stream.stream_id}")
    await c.echo()


@CARRIERS.case(8)
async def reset_said_again(c: Conversation) -> None:
    """The carrier is lost right behind RESET: on the next one it is said again, and answered by GONE."""
    line = await c.next_carrier()
    stream = c.open(1000)
    await c.pour(stream)
    line.say(Reset(stream.stream_id, ResetCode.ABORTED))
    line = await c.opened()
    line.say(c.resume(positions=[(stream.stream_id, stream.position, stream.window)]))
    stream.is_gone = True  # the subject lists it, or not
    await c.resumed()
    line.say(Reset(stream.stream_id, ResetCode.ABORTED))
    await c.hear(Gone, f"GONE {stream.stream_id}")
    await c.echo()


@CARRIERS.case(6)
async def new_carrier_beside_the_old(c: Conversation) -> None:
    """A carrier is offered while the present one works: the subject leaves that one, and the stream goes on."""
    old = await c.next_carrier()
    stream = c.open(100_000)
    await c.pour(stream, 50_000)
    line = c.offer()
    await c.is_open(line)
    line.say(*c.greeting())
    await c.resumed()
    await c.round_trip()  # one that sends padding first goes on there a little later
    old.say(Ping(77))
    await c.round_trip()
    if any(isinstance(frame, Pong) for frame in old.frames):
        raise CaseFailed("silence on the carrier of before", "PONG")
    await c.finish(stream)


@CARRIERS.case(6)
async def acceptor_offers(c: Conversation) -> None:
    """The carrier is lost, and this end waits: the subject offers another one, with the next even generation."""
    await c.next_carrier()
    stream = c.open(3000)
    await c.pour(stream, 1000)
    c.line.close()
    offer = await c.until(lambda: next(iter(c.offers()), None), "the offer of a new carrier")
    if offer.generation != 4 or offer.restarts:
        raise CaseFailed("an offer of generation 4", f"one of {offer.generation}, which restarts {offer.restarts}")
    line = c.answer(offer)
    await c.is_open(line)
    line.say(*c.greeting())
    await c.resumed()
    await c.finish(stream)


@CARRIERS.case(6)
async def glare(c: Conversation) -> None:
    """The offers of both ends cross: the initiator's is higher, and the subject takes it."""
    await c.next_carrier()
    stream = c.open(3000)
    await c.pour(stream, 1000)
    c.line.close()
    offer = await c.until(lambda: next(iter(c.offers()), None), "the offer of a new carrier")
    line = c.offer(offer.generation + 1)
    await c.is_open(line)
    line.say(*c.greeting())
    await c.resumed()
    await c.finish(stream)
