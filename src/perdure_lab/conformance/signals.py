"""The conformance peer's end of application signaling: numbers by hand, and texts that a case may spoil. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from perdure.errors import ProtocolError
from perdure.signaling.application import read_text
from perdure.signaling.messages import IceServers, UnknownMessage
from perdure_lab.conformance.failures import CaseFailed

if TYPE_CHECKING:
    from perdure.signaling.messages import ChannelMessage, Message
    from perdure.signaling.reliable_channel import Body

MOST_TEXTS = 10_000
"""Of one case. The longest have some 100."""

SHOWN = 60
"""Characters of a text that a failure shows."""

Text = dict[str, Any]


class Signals:
    """What is said to the subject through its standard input, and what it says.

    Attributes:
        as_written: what becomes of each text before it is written; a case may drop, repeat and change them.
        acknowledges: whether what the subject says is acknowledged.
    """

    def __init__(self, session_id: bytes, sender: bytes, write: Callable[[str], None]) -> None:
        self.session_id = session_id
        self.sender = sender
        self.write = write
        self.as_written: Callable[[Text], list[Text]] = lambda text: [text]
        self.acknowledges = True
        self.last_seq = 0
        self.acknowledged = 0
        self.missing = 0
        """How often the subject said that it misses something."""
        self.peer = ""
        """The subject's `sender`."""
        self.taken = 0
        self.bodies: list[Body] = []
        self._kept: dict[int, ChannelMessage | UnknownMessage] = {}

    def send(self, message: ChannelMessage | UnknownMessage) -> int:
        """Number `message` and say it; its number."""
        self.last_seq += 1
        self._kept[self.last_seq] = message
        self._say_numbered(self.last_seq)
        return self.last_seq

    def give_up(self, count: int) -> None:
        """Use so many numbers for messages that are given up before they are said."""
        self.last_seq += count

    def say_again(self) -> None:
        """All that was not acknowledged."""
        for seq in sorted(self._kept):
            self._say_numbered(seq)

    def say(self, **fields: object) -> None:
        """A text with these fields, as `as_written` has it."""
        for text in self.as_written(self.text(**fields)):
            self.write(json.dumps(text))

    def text(self, **fields: object) -> Text:
        text: Text = {"session": self.session_id.hex(), "sender": self.sender.hex()}
        if self.peer:
            text["receiver"] = self.peer
        return text | {name: value for name, value in fields.items() if value != 0}

    def restart(self, sender: bytes) -> None:
        """Begin the numbers anew, as an end that was restarted."""
        self.sender = sender
        self.last_seq = self.acknowledged = self.taken = 0
        self._kept.clear()

    def take(self, line: str) -> Message | None:
        """What the subject said: its message, if that is the next one. Raises `CaseFailed` where it is no text."""
        if len(self.bodies) == MOST_TEXTS:
            raise CaseFailed(f"at most {MOST_TEXTS} texts", "more")
        try:
            session_id, sender, body = read_text(line, receiver=self.sender)
        except ProtocolError as error:
            raise CaseFailed("texts of section 12, one a line", f"{line[:SHOWN]!r}: {error}") from error
        if session_id != self.session_id:
            raise CaseFailed("texts of its session", f"one of {session_id.hex()}")
        if sender.hex() != self.peer:
            self.peer, self.taken = sender.hex(), 0
        if body.ack > self.last_seq:
            raise CaseFailed(f"no acknowledgement beyond {self.last_seq}", f"one of {body.ack}")
        self.bodies.append(body)
        self.acknowledged = max(self.acknowledged, body.ack)
        self._kept = {seq: message for seq, message in self._kept.items() if seq > self.acknowledged}
        if body.missing:
            self.missing += 1
            self.say_again()
        message = body.message
        if message is None:
            return None
        is_next = body.seq == max(self.taken + 1, body.first)
        self.taken = body.seq if is_next else self.taken
        if self.acknowledges:
            self.say(ack=self.taken)
        return message if is_next and not isinstance(message, IceServers | UnknownMessage) else None

    def _say_numbered(self, seq: int) -> None:
        message = json.loads(msgspec.json.encode(self._kept[seq]))
        self.say(seq=seq, first=min(self._kept), ack=self.taken if self.acknowledges else 0, message=message)
