"""Streams within one carrier: frames of other versions, credit, and how a stream ends. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.wire import MAX_INTEGER, Ack, Close, Data, Fin, Gone, Ping, Pong, Reset, ResetCode, Window, encode_frame
from perdure_lab.conformance import raw
from perdure_lab.conformance.case import Cases
from perdure_lab.conformance.failures import CaseFailed, NotApplicable

if TYPE_CHECKING:
    from perdure_lab.conformance.conversation import Conversation

STREAMS = Cases()

MOST_SWALLOWED_BYTES = 32 * 1024 * 1024
"""Beyond so much credit for one stream whose echo nobody takes, overflowing it is not tried."""


@STREAMS.case(8)
async def echo(c: Conversation) -> None:
    """A stream of 200,000 bytes and its FIN come back."""
    await c.next_carrier()
    await c.echo(200_000)


@STREAMS.case(8)
async def empty_stream(c: Conversation) -> None:
    """A stream without a byte ends by its FIN."""
    await c.next_carrier()
    await c.echo(0)


@STREAMS.case(8)
async def many_streams(c: Conversation) -> None:
    """Twenty streams at once keep their bytes apart."""
    await c.next_carrier()
    streams = [c.open(3000) for _ in range(20)]
    for stream in streams:
        await c.pour(stream, 1500)
    for stream in reversed(streams):
        await c.finish(stream)


@STREAMS.case(8)
async def early_data(c: Conversation) -> None:
    """OPEN, DATA and FIN come in one message, before any ACCEPT."""
    line = await c.next_carrier()
    stream = c.new_stream(c.dice.randbytes(5000))
    line.say(stream.opening(), stream.data(5000), stream.fin())
    await c.is_echoed(stream)


@STREAMS.case(8)
async def open_is_acknowledged(c: Conversation) -> None:
    """An OPEN is answered by an ACK, and accepted, before a byte follows it."""
    await c.next_carrier()
    stream = c.open(100)
    await c.hear(Ack, "an ACK of 0 for OPEN")
    await c.until(lambda: stream.is_accepted, "ACCEPT")
    await c.finish(stream)


@STREAMS.case(8)
async def data_is_acknowledged(c: Conversation) -> None:
    """A byte is acknowledged though nothing follows it, and nothing can be sent back."""
    await c.next_carrier()
    stream = c.open(1, window=0)
    await c.pour(stream)
    await c.until(lambda: stream.acknowledged == 1, "an ACK of 1")


@STREAMS.case(8)
async def half_close(c: Conversation) -> None:
    """What has no credit yet still comes back when this end has said FIN."""
    line = await c.next_carrier()
    stream = c.open(5000, window=1000)
    await c.pour(stream)
    line.say(stream.fin())
    await c.until(lambda: stream.received == 1000 and stream.acknowledged == 5001, "1000 bytes, and an ACK of 5001")
    stream.window = 5000
    line.say(Window(stream.stream_id, 5000))
    await c.is_echoed(stream)


@STREAMS.case(8)
async def credit(c: Conversation) -> None:
    """The subject stops at its credit, and goes on where WINDOW raises it."""
    line = await c.next_carrier()
    stream = c.open(10_000, window=0)
    await c.pour(stream)
    for limit in (1, 2500, 2500, 10_000):
        await c.round_trip()
        stream.window = limit
        line.say(Window(stream.stream_id, limit))
        await c.until(lambda limit=limit: stream.received == limit, f"bytes up to {limit}")  # type: ignore[misc]
    await c.finish(stream)


@STREAMS.case(8)
async def credit_does_not_shrink(c: Conversation) -> None:
    """A WINDOW that is lower than an earlier one changes nothing."""
    line = await c.next_carrier()
    stream = c.open(6000, window=5000)
    line.say(Window(stream.stream_id, 10))
    await c.pour(stream)
    await c.until(lambda: stream.received == 5000, "bytes up to 5000, the credit of OPEN")
    stream.window = 6000
    line.say(Window(stream.stream_id, 6000))
    await c.finish(stream)


@STREAMS.case(11)
async def credit_overflow(c: Conversation) -> None:
    """A byte beyond the credit of a stream makes the subject drop the carrier."""
    line = await c.next_carrier()
    stream = c.new_stream(b"x" * MOST_SWALLOWED_BYTES, window=0)
    line.say(stream.opening())
    await c.until(lambda: stream.is_accepted, "ACCEPT")
    while True:
        if stream.limit >= len(stream.content):
            raise NotApplicable(f"it grants {stream.limit} bytes to a stream whose echo nobody takes")
        await c.pour(stream, stream.limit)
        await c.until(lambda: stream.acknowledged == stream.sent, "an ACK of all that was sent")
        await c.round_trip()
        if stream.sent == stream.limit:
            break
    line.say(Data(stream.stream_id, stream.sent, memoryview(b"x")))
    await c.is_cut("a byte beyond the credit")
    stream.is_gone = True  # it can never come back
    await c.next_carrier()


@STREAMS.case(8)
async def skippable_frames(c: Conversation) -> None:
    """Frames of types from 0x41 on are skipped, with what is in them, between others."""
    line = await c.next_carrier()
    stream = c.new_stream(c.dice.randbytes(300))
    kinds = (0x41, 0x42, 0x7F, 0x80, 0xFE, 0xFF)
    skipped = [
        raw.skippable(kind, c.dice.randbytes(size)) for kind, size in zip(kinds, (0, 1, 63, 64, 300, 9000), strict=True)
    ]
    line.say(
        skipped[0],
        stream.opening(),
        skipped[1],
        skipped[2],
        stream.data(100),
        skipped[3],
        stream.data(300),
        *skipped[4:],
    )
    await c.finish(stream)


@STREAMS.case(8)
async def long_integers(c: Conversation) -> None:
    """Integers in a longer form than they need are taken."""
    line = await c.next_carrier()
    stream = c.new_stream(c.dice.randbytes(9), window=100)
    stream_id, target = raw.long_integer(stream.stream_id), stream.opening().target
    stream.data(9)
    line.say(
        b"\x03" + stream_id + raw.long_integer(100) + b"\x40" + bytes((len(target),)) + target,
        b"\x04" + stream_id + raw.long_integer(0) + raw.long_integer(9) + stream.content,
    )
    await c.finish(stream)


@STREAMS.case(8)
async def ping(c: Conversation) -> None:
    """Each PING is answered by PONG with its token, also the lowest and the highest."""
    line = await c.next_carrier()
    tokens = [0, 63, 64, 2**30, MAX_INTEGER]
    line.say(*map(Ping, tokens))
    for token in tokens:
        await c.hear(Pong, f"PONG {token}", lambda pong, token=token: pong.token == token)  # type: ignore[misc]


@STREAMS.case(10)
async def most_frames(c: Conversation) -> None:
    """A message of 512 frames is taken, and their answers come in messages that are as short."""
    line = await c.next_carrier()
    line.say(*map(Ping, range(512)))
    await c.until(lambda: sum(isinstance(frame, Pong) for frame in line.frames) == 512, "512 PONGs")
    await c.echo()


@STREAMS.case(8)
async def repeated_frames(c: Conversation) -> None:
    """Frames that were said before, or change nothing, are taken; some 50 of them on one carrier."""
    line = await c.next_carrier()
    done, stream = await c.echo(), c.open(2000)
    opening = encode_frame(stream.opening())
    await c.pour(stream, 1000)
    line.say(*[opening] * 8, *[Data(stream.stream_id, 0, memoryview(stream.content)[:500])] * 8)
    line.say(*[Ack(stream.stream_id, 0)] * 8, *[Window(stream.stream_id, 0)] * 8, *[Pong(7)] * 4)
    line.say(Gone(done.stream_id), Ack(done.stream_id, 0), Window(done.stream_id, 0))
    await c.finish(stream)
    await c.echo()


@STREAMS.case(8)
async def bytes_that_overlap(c: Conversation) -> None:
    """DATA that begins before what was received is taken from its first new byte on."""
    line = await c.next_carrier()
    stream = c.open(3000)
    for start, end in ((0, 1000), (500, 1500), (0, 2000), (1999, 3000)):
        stream.data(end)
        line.say(Data(stream.stream_id, start, memoryview(stream.content)[start:end]))
    await c.finish(stream)


@STREAMS.case(8)
async def reset(c: Conversation) -> None:
    """RESET is answered by GONE, each time, and other streams go on."""
    line = await c.next_carrier()
    other, stream = c.open(4000), c.open(4000)
    await c.pour(other, 2000)
    await c.pour(stream, 2000)
    for _ in range(2):
        line.say(Reset(stream.stream_id, ResetCode.ABORTED))
        await c.hear(Gone, f"GONE {stream.stream_id}", lambda gone: gone.stream_id == stream.stream_id)
    await c.finish(other)


@STREAMS.case(8)
async def reset_with_an_unknown_code(c: Conversation) -> None:
    """A RESET with a code of a later version is a RESET."""
    line = await c.next_carrier()
    stream = c.open(10)
    line.say(b"\x08" + raw.integers(stream.stream_id, 4321))
    await c.hear(Gone, f"GONE {stream.stream_id}")
    await c.echo()


@STREAMS.case(8)
async def stream_that_is_gone(c: Conversation) -> None:
    """DATA and FIN of a stream that was reset are answered by GONE; ACK and WINDOW are ignored."""
    line = await c.next_carrier()
    stream = c.open(10)
    line.say(Reset(stream.stream_id, ResetCode.ABORTED))
    await c.hear(Gone, f"GONE {stream.stream_id}")
    for frame in (Data(stream.stream_id, 0, memoryview(b"x")), Fin(stream.stream_id, 0)):
        line.say(frame)
        await c.hear(Gone, f"GONE {stream.stream_id} for {type(frame).__name__.upper()}")
    line.say(Ack(stream.stream_id, 0), Window(stream.stream_id, 5000))
    await c.echo()


@STREAMS.case(8)
async def close(c: Conversation) -> None:
    """CLOSE with a reason ends the session: the subject drops the carrier, and offers no other."""
    line = await c.next_carrier()
    stream = c.open(10)
    await c.pour(stream)
    line.say(Close(0, "the case is over"))  # type: ignore[arg-type]
    await c.has_ended("CLOSE 0")


@STREAMS.case(8)
async def close_with_an_unknown_code(c: Conversation) -> None:
    """CLOSE with a code of a later version, and with parameters, ends the session."""
    line = await c.next_carrier()
    line.say(b"\x0c" + raw.integers(77, 0) + raw.parameters((9, b"later")))
    await c.has_ended("CLOSE 77")


@STREAMS.case(9)
async def silence(c: Conversation) -> None:
    """Where nothing is heard while an answer is due, the subject gives the carrier up."""
    line = await c.next_carrier()
    stream = c.open(1000)
    line.answers = line.acknowledges = False
    await c.pour(stream)
    await c.until(
        lambda: line.lost or c.offers(), "the loss of the carrier, or the offer of another one", SILENCE_SECONDS
    )
    await c.next_carrier()
    await c.finish(stream)


@STREAMS.case(8)
async def late_answer_with_one_carrier(c: Conversation) -> None:
    """This end has one carrier at a time, and an answer is half a second late: the subject offers no other."""
    line = await c.next_carrier()
    stream = c.open(1000)
    line.answers = line.acknowledges = False
    await c.pour(stream)
    await c.until(lambda: stream.received == 1000, "1000 bytes back")
    await c.waiting.quiet()
    line.answers = line.acknowledges = True
    line.say(Ack(stream.stream_id, stream.received))
    await c.finish(stream)
    if c.offers():
        raise CaseFailed("no offer of another carrier", "one")


SILENCE_SECONDS = 35.0
"""30 at most are demanded, and perdure takes 1."""
