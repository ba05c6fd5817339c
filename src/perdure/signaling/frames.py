"""The frames between a peer and the rendezvous: JSON text over WebSocket, parsed once, each field bounded.

1. The rendezvous carries sealed bodies (`envelope`); it never acknowledges one itself: `Got` and `Acked`
   are end to end.
2. A sender numbers what it sends 1, 2, 3 … whoever the receiver is, so towards each receiver the numbers rise. A
   receiver remembers the highest number of each sender, delivers only what is above it, and answers `Got` to either.
3. After a reconnect a sender sends again, in order, what is not `Acked`.
4. The rendezvous keeps a copy for the receiver until `Got`, bounded, and delivers it again when the receiver rejoins.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from perdure.errors import ProtocolError
from perdure.nesting import check_json

PATH = "/v1"
"""The rendezvous' WebSocket path; its number is the version of these frames."""

GATEWAY = ""
"""As `Send.to`: whoever is the room's gateway when the message arrives."""

MAX_BODY_BYTES = 64 * 1024
"""The default of the rendezvous' own limit; an envelope has at most 48 KiB."""

MAX_REASON_CHARACTERS = 200

FRAME_OVERHEAD_BYTES = 512
"""More than a frame adds around its body: about 110 bytes of JSON, ids and numbers."""

Id = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z", max_length=32)]
"""16 bytes in lower-case hexadecimal."""

Receiver = Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9a-f]{32})?\Z", max_length=32)]
Seq = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Body = Annotated[bytes, msgspec.Meta(min_length=1)]


class Role(enum.Enum):
    """Who a peer is in its room: one gateway, many clients."""

    GATEWAY = "gateway"
    CLIENT = "client"


class RefusalCode(enum.Enum):
    """Why the rendezvous refuses a connection, which it then closes."""

    TOO_MANY_ROOMS = "too-many-rooms"
    TOO_MANY_CLIENTS = "too-many-clients"
    MESSAGE_TOO_LARGE = "message-too-large"
    RATE = "rate"
    REPLACED = "replaced"
    BAD_FRAME = "bad-frame"
    BAD_ROOM = "bad-room"
    NOT_JOINED = "not-joined"

    @property
    def is_final(self) -> bool:
        """Whether trying again unchanged would only fail again (or, replaced, take the room from the new gateway)."""
        return self in _FINAL_REFUSALS


_FINAL_REFUSALS = {
    RefusalCode.MESSAGE_TOO_LARGE,
    RefusalCode.REPLACED,
    RefusalCode.BAD_FRAME,
    RefusalCode.BAD_ROOM,
}


class Join(msgspec.Struct, frozen=True, tag="join", forbid_unknown_fields=True):
    """The first frame: enter `room` as `role`. The same `peer_id` again takes the place of its older connection."""

    room: str
    role: Role
    peer_id: Id


class Send(msgspec.Struct, frozen=True, tag="send", forbid_unknown_fields=True):
    """Carry `body` to the peer `to`, or to the room's gateway."""

    to: Receiver
    seq: Seq
    body: Body


class Got(msgspec.Struct, frozen=True, tag="got", forbid_unknown_fields=True):
    """The receiver has `seq` of `sender`, now or already before."""

    sender: Id
    seq: Seq


class Joined(msgspec.Struct, frozen=True, tag="joined", forbid_unknown_fields=True):
    """The rendezvous accepted the `Join`."""


class Deliver(msgspec.Struct, frozen=True, tag="deliver", forbid_unknown_fields=True):
    """A `Send` of `sender`."""

    sender: Id
    seq: Seq
    body: Body


class Acked(msgspec.Struct, frozen=True, tag="acked", forbid_unknown_fields=True):
    """`receiver` said `Got` for `seq`."""

    receiver: Id
    seq: Seq


class Presence(msgspec.Struct, frozen=True, tag="presence", forbid_unknown_fields=True):
    """Whether a peer is connected. Clients hear of the gateway, the gateway hears of clients."""

    peer_id: Id
    role: Role
    present: bool


class Refused(msgspec.Struct, frozen=True, tag="refused", forbid_unknown_fields=True):
    """The last frame of a connection that the rendezvous ends."""

    code: RefusalCode
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARACTERS)]


ClientFrame = Join | Send | Got
ServerFrame = Joined | Deliver | Acked | Presence | Refused

_encoder = msgspec.json.Encoder()
_client_decoder = msgspec.json.Decoder(ClientFrame)
_server_decoder = msgspec.json.Decoder(ServerFrame)


def encode_frame(frame: ClientFrame | ServerFrame) -> str:
    """The text of `frame`."""
    return _encoder.encode(frame).decode()


def max_frame_bytes(body_bytes: int) -> int:
    """The longest frame whose body has at most `body_bytes`: base64 needs four characters for three bytes."""
    return (body_bytes + 2) // 3 * 4 + FRAME_OVERHEAD_BYTES


def decode_client_frame(text: str | bytes) -> ClientFrame:
    """Parse what a peer sent to the rendezvous.

    Raises:
        ProtocolError: not one of these frames, or a field is out of its bounds. `Join.room` is any text: see `is_id`.
    """
    try:
        check_json(text)
        frame: ClientFrame = _client_decoder.decode(text)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ProtocolError(f"a frame for the rendezvous cannot be read: {error}"[:MAX_REASON_CHARACTERS]) from error
    return frame


def decode_server_frame(text: str | bytes) -> ServerFrame:
    """Parse what the rendezvous sent.

    Raises:
        ProtocolError: not one of these frames, or a field is out of its bounds.
    """
    try:
        check_json(text)
        frame: ServerFrame = _server_decoder.decode(text)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ProtocolError(f"a frame of the rendezvous cannot be read: {error}"[:MAX_REASON_CHARACTERS]) from error
    return frame


def is_id(text: str) -> bool:
    """Whether `text` is 16 bytes in lower-case hexadecimal, as rooms and peers are named."""
    return len(text) == 32 and all(character in "0123456789abcdef" for character in text)
