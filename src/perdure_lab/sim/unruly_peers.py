"""Peers that say more than they mean to, as one with a bug would, or a hostile one: messages again, late, or wrong.

1. DTLS lets nobody between the peers do this. Nothing that is added may alter what an honest stream delivers.
2. What breaks the protocol costs the carrier, and the tube builds another. No tube ends by it.
3. Of what they say, only SIGNALs get lost: nobody says those again, and each goes another way, too. ACKs come late.
4. Only the gateway opens streams that nobody wants: it opens no others here. An OPEN of the client's would use up the
   ids of its honest streams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from perdure.wire import (
    INITIAL_CREDIT_BYTES,
    MAX_INTEGER,
    MAX_MESSAGE_BYTES,
    Ack,
    Data,
    Frame,
    FrameType,
    Gone,
    Open,
    Ping,
    Pong,
    Reset,
    ResetCode,
    Signal,
    Unknown,
    Window,
    decode_message,
    encode_frame,
    encode_varint,
)

if TYPE_CHECKING:
    from perdure_lab.sim.world import World

REMEMBERED_MESSAGES = 32
"""Of one direction of a carrier: so late may one of them come again."""

LOST_SIGNALS = 0.3
"""The share of messages with SIGNALs that come without them."""

TORN_DATA = 0.1
"""The share of messages whose DATA comes in pieces, while peers are unruly."""

TORN_BYTES = 8
"""Of each DATA, that come in a frame of their own: its first ones."""

BEGUN_SILENCES = 0.05
"""After this share of messages, ACKs are held back."""

LONGEST_SILENCE = 5.0
"""Seconds for which ACKs are held back at most: well below `stall_timeout`, which ends the tube."""

_NEVER_OPENED = 2**40 + 1

Said = deque[bytes]
"""The last messages of one direction of a carrier."""

Addition = Callable[[Random, Said], list[bytes]]
"""Messages that are added to it."""


def _always(*frames: Frame) -> Addition:
    messages = [b"".join(map(encode_frame, frames))]
    return lambda dice, said: messages


def _empty_data(dice: Random, said: Said) -> list[bytes]:
    """DATA without a byte, of the stream that was heard last."""
    for message in reversed(said):
        for frame in decode_message(message):
            if isinstance(frame, Data):
                return [encode_frame(Data(frame.stream_id, frame.offset, memoryview(b"")))]
    return []


def _long_message(length: int) -> Addition:
    """Of a type that no version has yet."""
    body = length - 5
    message = bytes((0xFF,)) + encode_varint(body) + bytes(body)
    return lambda dice, said: [message]


def _garbage(dice: Random, said: Said) -> list[bytes]:
    """Random bytes behind a byte that begins no frame, or a message that breaks off: nothing of it can be news."""
    torn = said[-1][:-1]
    return [torn] if torn and dice.random() < 0.5 else [bytes((0x3F,)) + dice.randbytes(dice.randrange(1000))]


def _opened_by_nobody(dice: Random) -> tuple[int, bytes]:
    """The id and the OPEN of a stream that the gateway does not have. Often it is below one that came before."""
    stream_id = 2 * dice.randrange(1, 2**30)
    return stream_id, encode_frame(Open(stream_id, MAX_INTEGER, b"nowhere.example:1"))


def _open(dice: Random, said: Said) -> list[bytes]:
    """Streams that the client does not take. Its RESET is of streams that the gateway does not know."""
    return [b"".join(_opened_by_nobody(dice)[1] for _ in range(dice.randrange(1, 50)))]


def _open_and_reset(dice: Random, said: Said) -> list[bytes]:
    """Streams that end as they begin."""
    parts = []
    for _ in range(dice.randrange(1, 10)):
        stream_id, opening = _opened_by_nobody(dice)
        parts.append(opening + encode_frame(Reset(stream_id, ResetCode.ABORTED)))
    return [b"".join(parts)]


def _early_data(dice: Random, said: Said, halves: int = 2) -> list[bytes]:
    """A stream with all that may be sent before it is accepted."""
    stream_id, opening = _opened_by_nobody(dice)
    half = INITIAL_CREDIT_BYTES // 2
    data = [encode_frame(Data(stream_id, at * half, memoryview(bytes(half)))) for at in range(halves)]
    return [opening, *data]


def _over_its_credit(dice: Random, said: Said) -> list[bytes]:
    return _early_data(dice, said, halves=3)


_USELESS: tuple[Addition, ...] = (
    _always(Gone(_NEVER_OPENED)),
    _always(Pong(2**40)),
    _always(Ping(7)),
    _always(Signal(b'{"type":"withdraw","generation":1}')),
    _always(Unknown(0x42)),
    _empty_data,
    _long_message(MAX_MESSAGE_BYTES),
)
"""What the protocol lets pass a few times."""

_WRONG: tuple[Addition, ...] = (
    _always(Data(_NEVER_OPENED, 0, memoryview(b"x"))),
    _always(Window(_NEVER_OPENED, 1)),
    _always(Reset(_NEVER_OPENED, ResetCode.ABORTED)),
    _always(Signal(b"nonsense")),
    _long_message(MAX_MESSAGE_BYTES + 1),
    _garbage,
)
"""What it does not let pass."""

_USELESS_STREAMS: tuple[Addition, ...] = (*_USELESS, _open_and_reset)
_WRONG_STREAMS: tuple[Addition, ...] = (*_WRONG, _open, _early_data, _over_its_credit)
"""The same, of an end that opens no honest stream."""


class UnrulyPeers:
    """Adds to what both peers say."""

    def __init__(self, world: World) -> None:
        self.share = 0.0
        """Of the messages, to which something is added."""
        self._world = world
        self._dice = world.dice("unruly peers")
        self._said: WeakKeyDictionary[object, Said] = WeakKeyDictionary()
        self._silences: WeakKeyDictionary[object, _Silence] = WeakKeyDictionary()

    def spoil(self, direction: object, messages: list[bytes], *, opens_streams: bool = True) -> list[bytes]:
        """What comes instead of `messages` in that direction of a carrier.

        Args:
            opens_streams: whether honest streams are opened by who says this.
        """
        if not self.share and direction not in self._silences:
            return messages
        said = self._said.setdefault(direction, deque(maxlen=REMEMBERED_MESSAGES))
        come = []
        for message in messages:
            if self.share and said and self._dice.random() < self.share:
                come += self._added(said, opens_streams)
            come += self._changed(direction, message)
            said.append(message)
        return come

    def _added(self, said: Said, opens_streams: bool) -> list[bytes]:
        kind, dice = self._dice.random(), self._dice
        if kind < 0.35:
            return [said[-1]]
        if kind < 0.65:
            return [dice.choice(said)]
        if kind < 0.9:
            return dice.choice(_USELESS if opens_streams else _USELESS_STREAMS)(dice, said)
        return dice.choice(_WRONG if opens_streams else _WRONG_STREAMS)(dice, said)

    def _changed(self, direction: object, message: bytes) -> list[bytes]:
        """A message of the peers' own, which says the same in the end."""
        if message[0] in (FrameType.HELLO, FrameType.RESUME):
            return [message]
        dice = self._dice
        if (silence := self._silences.get(direction)) is not None:
            if self.share and self._world.now < silence.until:
                return silence.take_acks(message)
            del self._silences[direction]
            return [*silence.acks.values(), message]
        if not self.share:
            return [message]
        if message[0] == FrameType.SIGNAL and dice.random() < LOST_SIGNALS:
            return _joined(frame for frame in decode_message(message) if not isinstance(frame, Signal))
        if dice.random() < BEGUN_SILENCES:
            self._silences[direction] = _Silence(self._world.now + dice.uniform(0.0, LONGEST_SILENCE))
        return _torn(message) if dice.random() < TORN_DATA else [message]


class _Silence:
    """One direction in which nothing is acknowledged."""

    def __init__(self, until: float) -> None:
        self.until = until
        """An instant of the world. The next message after it brings all that was held back."""
        self.acks: dict[int, bytes] = {}
        """The last ACK of each stream."""

    def take_acks(self, message: bytes) -> list[bytes]:
        """What is left of `message`."""
        left = []
        for frame in decode_message(message):
            if isinstance(frame, Ack):
                self.acks[frame.stream_id] = encode_frame(frame)
            else:
                left.append(frame)
        return _joined(left)


def _torn(message: bytes) -> list[bytes]:
    """The same, each frame for itself, and of DATA the first bytes one by one."""
    parts: list[bytes] = []
    for frame in decode_message(message):
        if isinstance(frame, Data):
            stream_id, offset, payload = frame.stream_id, frame.offset, frame.payload
            begins = range(min(TORN_BYTES, len(payload)))
            parts += [encode_frame(Data(stream_id, offset + at, payload[at : at + 1])) for at in begins]
            if rest := payload[len(begins) :]:
                parts.append(encode_frame(Data(stream_id, offset + len(begins), rest)))
        else:
            parts.append(encode_frame(frame))
    return parts


def _joined(frames: Iterable[Frame]) -> list[bytes]:
    """They as a message; none where there are none."""
    message = b"".join(map(encode_frame, frames))
    return [message] if message else []
