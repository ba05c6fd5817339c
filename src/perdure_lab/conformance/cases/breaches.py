"""What breaks the protocol on a carrier: the subject drops that one, and session and streams go on. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from perdure.wire import Accept, Ack, Data, Fin, Frame, Ping, Pong, Reset, ResetCode, Window
from perdure_lab.conformance import raw
from perdure_lab.conformance.case import Cases

if TYPE_CHECKING:
    from perdure_lab.conformance.conversation import Conversation
    from perdure_lab.conformance.streams import Stream

BREACHES = Cases()

Said = Callable[["Conversation", "Stream"], list[Frame | bytes]]

HALF, WHOLE = 1000, 2000
"""Bytes of the stream that there is: those that have come back when the protocol is broken, and all."""

X = memoryview(b"x")


def _breach(name: str, plays: str, said: Said, section: int = 11) -> None:
    async def play(c: Conversation) -> None:
        line = await c.next_carrier()
        stream = c.open(WHOLE)
        await c.pour(stream, HALF)
        await c.until(lambda: stream.received == HALF, f"{HALF} bytes back")
        line.say(*said(c, stream))
        await c.is_cut(plays.rstrip("."))
        await c.next_carrier()
        await c.finish(stream)

    BREACHES.add(name, plays, section, play)


_breach("empty-message", "A message is empty.", lambda c, s: [b""])
_breach(
    "unknown-frame-type", "A frame has the type 0x3f, which is unknown and cannot be skipped.", lambda c, s: [b"\x3f\0"]
)
_breach("frame-ends-early", "A message ends within DATA.", lambda c, s: [b"\x04" + raw.integers(1, HALF, 9) + b"short"])
_breach("integer-too-large", "PING has the token 2^53.", lambda c, s: [b"\x0a" + raw.long_integer(2**53)], section=8)
_breach("too-many-frames", "A message has 513 frames.", lambda c, s: [*map(Ping, range(513))])
_breach(
    "target-too-long", "OPEN names a target of 513 bytes.", lambda c, s: [raw.open_frame(3, b"x" * 513)], section=10
)
_breach("data-behind-a-gap", "DATA begins a byte behind what has come.", lambda c, s: [Data(1, HALF + 1, X)])
_breach("data-behind-fin", "DATA comes behind FIN.", lambda c, s: [s.data(WHOLE), s.fin(), Data(1, WHOLE, X)])
_breach("fin-before-the-end", "FIN is before the last byte that has come.", lambda c, s: [Fin(1, HALF - 1)])
_breach("fin-behind-a-gap", "FIN is behind bytes that have not come.", lambda c, s: [Fin(1, HALF + 1)])
_breach("ack-of-what-was-not-sent", "ACK names a byte that the subject has not sent.", lambda c, s: [Ack(1, HALF + 1)])
_breach("data-of-no-stream", "DATA is of a stream that was never opened.", lambda c, s: [Data(99, 0, X)])
_breach("window-of-no-stream", "WINDOW is of a stream that was never opened.", lambda c, s: [Window(99, 1)])
_breach(
    "reset-of-no-stream", "RESET is of a stream that was never opened.", lambda c, s: [Reset(99, ResetCode.ABORTED)]
)
_breach("open-of-an-even-stream", "OPEN has an id that is the acceptor's to use.", lambda c, s: [raw.open_frame(2)])
_breach("open-of-stream-0", "OPEN has the id 0.", lambda c, s: [raw.open_frame(0)])
_breach("accept-by-the-opener", "ACCEPT is of a stream that its sender opened.", lambda c, s: [Accept(1, 1)])
_breach("second-resume", "RESUME is said twice.", lambda c, s: [c.resume()], section=8)
_breach(
    "useless-frames-without-end",
    "500 PONGs answer no PING: that many frames that change nothing are too many.",
    lambda c, s: [*map(Pong, range(500))],
    section=8,
)
