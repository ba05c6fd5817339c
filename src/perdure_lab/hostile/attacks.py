"""What a hostile peer says once its session is proved: a kind each, as endless messages. Pure.

Each kind says as much as it can: messages are as full of frames as the protocol allows, and what costs no thought is
made once. A carrier that is cut ends an attack; on the next one it begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from perdure.wire import (
    INITIAL_CREDIT_BYTES,
    MAX_INTEGER,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_FRAMES,
    MAX_STREAMS,
    Accept,
    Ack,
    Data,
    Fin,
    Frame,
    Gone,
    Open,
    Ping,
    Pong,
    Reset,
    ResetCode,
    Signal,
    Window,
    encode_frame,
    encode_varint,
)

if TYPE_CHECKING:
    from random import Random


_LATER_TYPE = 0xFF
"""Of a frame that no version has yet."""


class Kind(Enum):
    """What a hostile peer does. The value is its name on a command line."""

    BUSY = "busy"
    """Says nothing, and keeps a core of this machine busy: what a hostile peer costs by being on the same machine."""
    GONE = "gone"
    """Forgets streams that never were."""
    STALE_PONG = "stale-pong"
    """Answers what nobody asked."""
    REPEATED_ACK = "repeated-ack"
    """Acknowledges the same position."""
    REPEATED_FIN = "repeated-fin"
    """Ends the same stream."""
    REPEATED_WINDOW = "repeated-window"
    """Grants the same credit."""
    EMPTY_DATA = "empty-data"
    """Sends DATA without a byte."""
    TINY_DATA = "tiny-data"
    """Sends each byte in a frame of its own, within its credit."""
    UNKNOWN_FRAMES = "unknown-frames"
    """Speaks a later version, of which every frame is skipped."""
    SIGNALS = "signals"
    """Sends candidates of its next carrier through this one."""
    PING = "ping"
    """Asks for signs of life."""
    OPEN = "open"
    """Opens streams, a million and more."""
    RESET = "reset"
    """Opens streams and resets them at once."""
    EARLY_DATA = "early-data"
    """Opens streams to a forbidden target, each with all that may be sent before it is accepted."""
    CREDIT_OVERFLOW = "credit-overflow"
    """Sends more than its credit."""
    WRONG_STREAM = "wrong-stream"
    """Speaks of streams that nobody opened, and opens those that are the gateway's to open."""
    NO_ACK = "no-ack"
    """Lets a thousand streams send all they can, and acknowledges nothing."""
    HELLO_AGAIN = "hello-again"
    """Says HELLO, and then the whole greeting, again and again."""
    MAXIMAL_MESSAGES = "maximal-messages"
    """Sends messages of the longest length, which are skipped."""
    GARBAGE = "garbage"
    """Sends random bytes."""
    CARRIERS = "carriers"
    """Asks for another carrier as soon as one is begun. Done by `client`, like BUSY and the next two."""
    OFFERS = "offers"
    """Sends offers through the rendezvous, and carries none out."""
    SESSIONS = "sessions"
    """Begins sessions and abandons them without a word."""


class Targets(NamedTuple):
    """Where streams lead, as `HOST:PORT`."""

    sink: bytes
    """Reads everything."""
    source: bytes
    """Sends as much as is taken."""
    forbidden: bytes
    """Not allowed by the gateway."""


class Message(NamedTuple):
    """One message of the data channel; without frames: nothing can be said until the gateway has said something."""

    data: bytes
    frames: int


WAIT = Message(b"", 0)


class Script:
    """What an attack goes on, over all carriers of one session.

    Attributes:
        hello: this session's HELLO.
        greeting: what was said first on the current carrier.
    """

    def __init__(self, targets: Targets, dice: Random) -> None:
        self.targets = targets
        self.dice = dice
        self.hello = b""
        self.greeting = b""
        self._next_id = 1
        self._credit: dict[int, int] = {}
        self._pings: list[int] = []

    def carrier_begun(self, greeting: bytes) -> None:
        """A carrier was proved: streams of earlier ones are gone, and their ids used up."""
        self.greeting = greeting
        self._credit.clear()
        self._pings.clear()

    def open(self, target: bytes, window: int = 0) -> tuple[int, bytes]:
        """A new stream: its id and its OPEN."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        return stream_id, encode_frame(Open(stream_id, window, target))

    def credit(self, stream_id: int) -> int:
        """Up to which offset the gateway lets `stream_id` send."""
        return self._credit.get(stream_id, INITIAL_CREDIT_BYTES)

    def heard(self, frame: Frame) -> None:
        """The gateway said this."""
        match frame:
            case Window(stream_id, limit) | Accept(stream_id, limit):
                self._credit[stream_id] = limit
            case Ping(token):
                self._pings = [*self._pings[-MAX_MESSAGE_FRAMES + 1 :], token]

    def take_pongs(self) -> Message:
        """The answers to what the gateway asked; `WAIT` where it asked nothing."""
        pings, self._pings = self._pings, []
        return Message(b"".join(encode_frame(Pong(token)) for token in pings), len(pings))


Attack = Callable[[Script], Iterator[Message]]


def _full_of(frame: bytes) -> Message:
    count = min(MAX_MESSAGE_FRAMES, MAX_MESSAGE_BYTES // len(frame))
    return Message(frame * count, count)


def _always(frame: Frame) -> Attack:
    def attack(script: Script) -> Iterator[Message]:
        message = _full_of(encode_frame(frame))
        while True:
            yield message

    return attack


def _about_a_stream(frame: Callable[[int], Frame]) -> Attack:
    """The same frame about a stream that is open."""

    def attack(script: Script) -> Iterator[Message]:
        stream_id, opening = script.open(script.targets.sink)
        yield Message(opening, 1)
        message = _full_of(encode_frame(frame(stream_id)))
        while True:
            yield message

    return attack


def _tiny_data(script: Script) -> Iterator[Message]:
    stream_id, opening = script.open(script.targets.sink)
    yield Message(opening, 1)
    offset = 0
    while True:
        count = min(MAX_MESSAGE_FRAMES, script.credit(stream_id) - offset)
        if not count:
            yield WAIT
            continue
        frames = (encode_frame(Data(stream_id, offset + at, memoryview(b"x"))) for at in range(count))
        yield Message(b"".join(frames), count)
        offset += count


def _unknown_frames(script: Script) -> Iterator[Message]:
    message = _full_of(bytes((_LATER_TYPE, 0)))
    while True:
        yield message


def _maximal_messages(script: Script) -> Iterator[Message]:
    length = encode_varint(MAX_MESSAGE_BYTES - 5)
    message = Message(bytes((_LATER_TYPE,)) + length + bytes(MAX_MESSAGE_BYTES - 5), 1)
    while True:
        yield message


def _open(script: Script) -> Iterator[Message]:
    while True:
        openings = [script.open(script.targets.sink)[1] for _ in range(MAX_MESSAGE_FRAMES)]
        yield Message(b"".join(openings), MAX_MESSAGE_FRAMES)


def _reset(script: Script) -> Iterator[Message]:
    while True:
        parts = []
        for _ in range(MAX_MESSAGE_FRAMES // 2):
            stream_id, opening = script.open(script.targets.sink)
            parts.append(opening + encode_frame(Reset(stream_id, ResetCode.ABORTED)))
        yield Message(b"".join(parts), MAX_MESSAGE_FRAMES)


def _early_data(script: Script) -> Iterator[Message]:
    half = INITIAL_CREDIT_BYTES // 2
    payload = memoryview(bytes(half))
    while True:
        stream_id, opening = script.open(script.targets.forbidden)
        yield Message(opening + encode_frame(Data(stream_id, 0, payload)), 2)
        yield Message(encode_frame(Data(stream_id, half, payload)), 1)


def _credit_overflow(script: Script) -> Iterator[Message]:
    stream_id, opening = script.open(script.targets.sink)
    yield Message(opening, 1)
    offset, payload = 0, memoryview(bytes(MAX_MESSAGE_BYTES // 2))
    while True:
        yield Message(encode_frame(Data(stream_id, offset, payload)), 1)
        offset += len(payload)


def _wrong_stream(script: Script) -> Iterator[Message]:
    wrong = (
        Data(MAX_INTEGER, 0, memoryview(b"x")),
        Ack(MAX_INTEGER, 0),
        Reset(MAX_INTEGER, ResetCode.ABORTED),
        Open(2, 0, script.targets.sink),
    )
    while True:
        yield Message(encode_frame(script.dice.choice(wrong)), 1)


def _no_ack(script: Script) -> Iterator[Message]:
    for _ in range(MAX_STREAMS // MAX_MESSAGE_FRAMES):
        openings = [script.open(script.targets.source, MAX_INTEGER)[1] for _ in range(MAX_MESSAGE_FRAMES)]
        yield Message(b"".join(openings), MAX_MESSAGE_FRAMES)
    while True:
        yield script.take_pongs()  # so that the gateway takes it for alive


def _hello_again(script: Script) -> Iterator[Message]:
    hellos = 32
    yield Message(script.hello * hellos, hellos)
    while True:
        yield Message(script.greeting, 1)


def _garbage(script: Script) -> Iterator[Message]:
    while True:
        yield Message(script.dice.randbytes(1 + script.dice.randrange(MAX_MESSAGE_BYTES)), 1)


ATTACKS: dict[Kind, Attack] = {
    Kind.GONE: _always(Gone(2)),
    Kind.STALE_PONG: _always(Pong(99)),
    Kind.REPEATED_ACK: _about_a_stream(lambda stream_id: Ack(stream_id, 0)),
    Kind.REPEATED_FIN: _about_a_stream(lambda stream_id: Fin(stream_id, 0)),
    Kind.REPEATED_WINDOW: _about_a_stream(lambda stream_id: Window(stream_id, 0)),
    Kind.EMPTY_DATA: _about_a_stream(lambda stream_id: Data(stream_id, 0, memoryview(b""))),
    Kind.TINY_DATA: _tiny_data,
    Kind.UNKNOWN_FRAMES: _unknown_frames,
    Kind.SIGNALS: _always(Signal(b'{"type":"candidate","generation":1,"candidate":"candidate:1"}')),
    Kind.PING: _always(Ping(1)),
    Kind.OPEN: _open,
    Kind.RESET: _reset,
    Kind.EARLY_DATA: _early_data,
    Kind.CREDIT_OVERFLOW: _credit_overflow,
    Kind.WRONG_STREAM: _wrong_stream,
    Kind.NO_ACK: _no_ack,
    Kind.HELLO_AGAIN: _hello_again,
    Kind.MAXIMAL_MESSAGES: _maximal_messages,
    Kind.GARBAGE: _garbage,
}
"""Those that speak on the data channel."""
