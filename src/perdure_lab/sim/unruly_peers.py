"""Peers that say more than they mean to, as one with a bug would, or a hostile one: messages again, late, or wrong.

DTLS lets nobody between the peers do this. Nothing that is added may alter what an honest stream delivers; what breaks
the protocol costs the carrier, and the tube builds another. Of what they say, only SIGNALs get lost: nobody says those
again, and each goes another way, too.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from perdure.wire import (
    Data,
    FrameType,
    Gone,
    Ping,
    Pong,
    Reset,
    ResetCode,
    Signal,
    Unknown,
    Window,
    decode_message,
    encode_frame,
)

if TYPE_CHECKING:
    from perdure_lab.sim.world import World

REMEMBERED_MESSAGES = 32
"""Of one direction of a carrier: so late may one of them come again."""

LOST_SIGNALS = 0.3
"""The share of messages with SIGNALs that come without them."""

_NEVER_OPENED = 2**40 + 1

_USELESS = (Gone(_NEVER_OPENED), Pong(2**40), Ping(7), Signal(b'{"type":"withdraw","generation":1}'), Unknown(0x42))
"""What the protocol lets pass a few times."""

_WRONG = (
    Data(_NEVER_OPENED, 0, memoryview(b"x")),
    Window(_NEVER_OPENED, 1),
    Reset(_NEVER_OPENED, ResetCode.ABORTED),
    Signal(b"nonsense"),
)
"""What it does not let pass. No OPEN: with a high id it ends its sender's own ids, and so harms its own streams."""


class UnrulyPeers:
    """Adds to what both peers say."""

    def __init__(self, world: World) -> None:
        self.share = 0.0
        """Of the messages, to which something is added."""
        self._dice = world.dice("unruly peers")
        self._said: WeakKeyDictionary[object, deque[bytes]] = WeakKeyDictionary()

    def spoil(self, direction: object, messages: list[bytes]) -> list[bytes]:
        """What comes instead of `messages` in that direction of a carrier."""
        if not self.share:
            return messages
        said = self._said.setdefault(direction, deque(maxlen=REMEMBERED_MESSAGES))
        come = []
        for message in messages:
            if self._dice.random() < self.share and said:
                come.append(self._added(said))
            if message[0] == FrameType.SIGNAL and self._dice.random() < LOST_SIGNALS:
                come += _without_signals(message)
            else:
                come.append(message)
            said.append(message)
        return come

    def _added(self, said: deque[bytes]) -> bytes:
        kind, dice = self._dice.random(), self._dice
        if kind < 0.4:
            return said[-1]
        if kind < 0.8:
            return dice.choice(said)
        if kind < 0.97:
            return encode_frame(dice.choice(_USELESS))
        return encode_frame(dice.choice(_WRONG))


def _without_signals(message: bytes) -> list[bytes]:
    """What is left of it, where that is anything."""
    left = [encode_frame(frame) for frame in decode_message(message) if not isinstance(frame, Signal)]
    return [b"".join(left)] if left else []
