"""What came, in words. Pure."""

from __future__ import annotations

from perdure.signaling.messages import Answer, Bye, Candidate, Message, Offer, Withdraw
from perdure.wire import Close, Data, Frame, Hello, Open, Resume, Signal


def word(said: Frame | Message) -> str:
    """A frame or a message with its numbers."""
    name = type(said).__name__
    match said:
        case Offer(generation) | Answer(generation) | Candidate(generation) | Withdraw(generation):
            return f"{name.lower()} of generation {generation}"
        case Bye():
            return "bye"
        case Data(stream_id, offset, payload):
            return f"DATA {stream_id} from {offset} to {offset + len(payload)}"
        case Open(stream_id):
            return f"OPEN {stream_id}"
        case Resume(_, generation):
            return f"RESUME {generation}"
        case Close(code, reason):
            return f"CLOSE {int(code)} {reason!r}"
        case Hello():
            return "HELLO"
        case Signal():
            return "SIGNAL"
        case _:
            return " ".join([name.upper(), *(str(int(getattr(said, field))) for field in said.__slots__)])
