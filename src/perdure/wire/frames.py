"""The frames of a tube, and the limits that both ends keep. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

PROTOCOL_VERSION = 2

MAX_MESSAGE_BYTES = 64 * 1024
"""Larger messages delay other streams and are refused by some WebRTC stacks; libwebrtc itself takes 256 KiB."""

MIN_MESSAGE_BYTES = 2 * 1024
"""What a peer must take at least: the largest OPEN, 600 bytes, and the control frames of another stream beside it."""

MAX_MESSAGE_FRAMES = 512
"""Frames cost time by their number, not by their bytes: so many take 1.5 ms (measured), after which others have their
turn. A message of an honest peer holds some 30."""

FIRST_SKIPPABLE_TYPE = 0x40
"""From here on a frame's type is followed by its length, so that versions that do not know the type can go on."""

MAX_TARGET_BYTES = 512
"""A DNS name has at most 253 characters, a port 5."""

MAX_REASON_BYTES = 200
MAX_SIGNAL_BYTES = 16 * 1024
"""A data-channel offer of libwebrtc is 0.6 to 2 KiB. What is longer goes through the rendezvous alone."""

MAX_PARAMETERS_BYTES = 1024
"""All that one end says of itself."""

INITIAL_CREDIT_BYTES = 64 * 1024
"""What an opener may send before it was accepted: a request goes out with the OPEN, without a round trip."""

OUR_ACK_DELAY_MS = 25
"""Milliseconds that an ACK of ours may wait for company (RFC 9000 §18.2); `session.outbox.ACK_DELAY` stays below."""

MAX_ACK_DELAY_MS = 1000
"""The longest delay that a peer may ask for: a path that died is noticed that much later."""

OUR_CARRIERS = 3
"""The current one, a spare beside it, and the one before while that is read."""

SESSION_ID_BYTES = 16
SESSION_KEY_BYTES = 32
PROOF_BYTES = 32

MAX_DATA_OVERHEAD_BYTES = 1 + 8 + 8 + 4
"""The header of a DATA frame at its largest: type, stream, offset, length."""

MAX_POSITION_BYTES = 3 * 8 + 1
MAX_HELLO_BYTES = 1 + SESSION_ID_BYTES + SESSION_KEY_BYTES + 64
MAX_RESUME_OVERHEAD_BYTES = 1 + SESSION_ID_BYTES + 8 + PROOF_BYTES + 64 + 8
"""Of what perdure sends: its parameters take less than 64 bytes."""

MAX_STREAMS = 1024
"""Streams of one session at a time; both ends' together stay below what a RESUME can list."""


class FrameType(IntEnum):
    HELLO = 0x01
    RESUME = 0x02
    OPEN = 0x03
    DATA = 0x04
    ACK = 0x05
    WINDOW = 0x06
    FIN = 0x07
    RESET = 0x08
    GONE = 0x09
    PING = 0x0A
    PONG = 0x0B
    CLOSE = 0x0C
    ACCEPT = 0x0D
    SIGNAL = 0x40
    PADDING = 0x41


class ParameterId(IntEnum):
    """What one end may say of itself. Ids that a later version adds are ignored."""

    VERSIONS = 1
    """The lowest and the highest version of this protocol that it speaks. The highest that both speak is in use."""
    INITIAL_CREDIT = 2
    """Bytes that the peer may send on each stream that it opens, before it is accepted."""
    MAX_MESSAGE = 3
    """Bytes of the largest message that it takes."""
    MAX_ACK_DELAY = 4
    """Milliseconds that its ACK may wait for company."""
    CARRIERS = 5
    """How many carriers of the session it has at a time."""


class ResetCode(IntEnum):
    """Why a stream ended before its time. Codes that a later version adds read as `ABORTED`."""

    ABORTED = 0
    """One end's TCP connection was reset, or its program gave up."""
    NOT_ALLOWED = 1
    """The gateway's `--allow` list does not name the target; nothing was dialled."""
    REFUSED = 2
    """The target refused the TCP connection."""
    TIMED_OUT = 3
    """The target did not answer in time."""
    UNREACHABLE = 4
    """The target's name or address has no route or does not resolve."""
    LIMIT = 5
    """A limit on streams was reached."""
    SESSION_LOST = 6
    """The session that carried the stream is gone."""


class CloseCode(IntEnum):
    """Why a session ended. Codes that a later version adds read as `PROTOCOL`."""

    DONE = 0
    UNKNOWN_SESSION = 1
    """The receiver of a RESUME has no such session: it was restarted, or the session ended there."""
    PROTOCOL = 2
    VERSION = 3
    """The peer speaks another version of this protocol."""
    TIMED_OUT = 4
    """The session's time is over: nobody used it for the session timeout, or its duration limit was reached."""
    SHUT_DOWN = 5
    """The application at that end is ending."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What one end says of itself; what it leaves out is as here."""

    lowest_version: int = PROTOCOL_VERSION
    highest_version: int = PROTOCOL_VERSION
    initial_credit_bytes: int = INITIAL_CREDIT_BYTES
    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_ack_delay_ms: int = OUR_ACK_DELAY_MS
    carriers: int = 1


DEFAULT_PARAMETERS = Parameters()
OUR_PARAMETERS = Parameters(carriers=OUR_CARRIERS)


@dataclass(frozen=True, slots=True)
class Hello:
    session_id: bytes
    key: bytes
    parameters: Parameters = OUR_PARAMETERS

    def __repr__(self) -> str:
        return f"Hello(session_id={self.session_id.hex()}, key=<hidden>, parameters={self.parameters})"


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """How far the sender of a RESUME has received `stream_id` (a FIN counts as one), and the credit that it grants."""

    stream_id: int
    received: int
    window: int
    is_accepted: bool
    """Whether the sender has accepted the stream, which the other end opened."""


@dataclass(frozen=True, slots=True)
class Resume:
    session_id: bytes
    generation: int
    proof: bytes
    positions: tuple[StreamPosition, ...]
    parameters: Parameters = OUR_PARAMETERS


@dataclass(frozen=True, slots=True)
class Open:
    stream_id: int
    window: int
    target: bytes


@dataclass(frozen=True, slots=True)
class Accept:
    """The stream that the peer opened is taken; bytes may be sent up to the offset `limit`."""

    stream_id: int
    limit: int


@dataclass(frozen=True, slots=True)
class Data:
    stream_id: int
    offset: int
    payload: memoryview


@dataclass(frozen=True, slots=True)
class Ack:
    stream_id: int
    received: int


@dataclass(frozen=True, slots=True)
class Window:
    stream_id: int
    limit: int


@dataclass(frozen=True, slots=True)
class Fin:
    stream_id: int
    offset: int


@dataclass(frozen=True, slots=True)
class Reset:
    stream_id: int
    code: ResetCode


@dataclass(frozen=True, slots=True)
class Gone:
    stream_id: int


@dataclass(frozen=True, slots=True)
class Ping:
    token: int


@dataclass(frozen=True, slots=True)
class Pong:
    token: int


@dataclass(frozen=True, slots=True)
class Close:
    code: CloseCode
    reason: str
    parameters: Parameters = OUR_PARAMETERS


@dataclass(frozen=True, slots=True)
class Signal:
    """A message about the next carrier, which travels through this one (`signaling.in_band`)."""

    body: bytes

    def __repr__(self) -> str:
        return f"Signal(<{len(self.body)} bytes>)"  # a description has a password in it


@dataclass(frozen=True, slots=True)
class Padding:
    """So many bytes that say nothing. Who does not know the type skips it."""

    length: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """A frame of a later version, of which nothing is known but that it can be skipped."""

    frame_type: int


Frame = (
    Hello
    | Resume
    | Open
    | Accept
    | Data
    | Ack
    | Window
    | Fin
    | Reset
    | Gone
    | Ping
    | Pong
    | Close
    | Signal
    | Padding
    | Unknown
)
