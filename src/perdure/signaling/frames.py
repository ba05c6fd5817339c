"""The frames between a peer and the rendezvous: JSON text over WebSocket, parsed once, each field bounded.

1. The rendezvous speaks first: its `Challenge` comes with the answer to the WebSocket's opening. A gateway proves
   with it that it has the key whose hash names its room (`gateway_proof`); clients join without.
2. It carries sealed bodies (`envelope`) between those who are there, and says who is. It keeps nothing: what is lost
   with a connection, the two ends send again (`reliable_channel`).
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from perdure.errors import ProtocolError
from perdure.nesting import check_json

PATH = "/v2"
"""The rendezvous' WebSocket path; its number is the version of these frames."""

GATEWAY = ""
"""As `Send.to`: whoever is the room's gateway when the message arrives."""

MAX_BODY_BYTES = 64 * 1024
"""The default of the rendezvous' own limit; an envelope has at most 48 KiB."""

MAX_REASON_CHARACTERS = 200

MAX_NAME_CHARACTERS = 64
"""Of a gateway's name: as long as Linux lets a host name be."""

MAX_VOUCHED = 1024
"""Clients that a gateway vouches for: as many as it has sessions. A `Vouch` of all has 36 KiB."""

FRAME_OVERHEAD_BYTES = 512
"""More than a frame adds around its body: about 110 bytes of JSON, ids and numbers."""

Id = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z", max_length=32)]
"""16 bytes in lower-case hexadecimal."""

Receiver = Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9a-f]{32})?\Z", max_length=32)]
Body = Annotated[bytes, msgspec.Meta(min_length=1)]
Bytes16 = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Role(enum.Enum):
    """Who a peer is in its room: one gateway, many clients."""

    GATEWAY = "gateway"
    CLIENT = "client"


class RefusalCode(enum.Enum):
    """Why the rendezvous refuses a connection, which it then closes."""

    TOO_MANY_ROOMS = "too-many-rooms"
    TOO_MANY_CLIENTS = "too-many-clients"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    """Of all rooms together, and none of them gives way to this one."""
    MESSAGE_TOO_LARGE = "message-too-large"
    RATE = "rate"
    OCCUPIED = "occupied"
    """Another gateway with this key is there, and answers."""
    BAD_FRAME = "bad-frame"
    BAD_ROOM = "bad-room"
    BAD_PROOF = "bad-proof"
    """A gateway did not prove the key of its room."""
    NOT_JOINED = "not-joined"

    @property
    def is_final(self) -> bool:
        """Whether trying again unchanged would only fail again."""
        return self in _FINAL_REFUSALS

    @property
    def waits_long(self) -> bool:
        """Whether the next try waits seconds instead of a moment."""
        return self.is_final or self is RefusalCode.OCCUPIED


_FINAL_REFUSALS = {
    RefusalCode.MESSAGE_TOO_LARGE,
    RefusalCode.BAD_FRAME,
    RefusalCode.BAD_ROOM,
    RefusalCode.BAD_PROOF,
}


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That a gateway has the private key of `key`, its X25519 public key; see `gateway_proof`."""

    key: Bytes32
    proof: Bytes32
    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARACTERS)] = ""
    """Tells two gateways with one key apart, for a person."""


class Join(msgspec.Struct, frozen=True, tag="join", forbid_unknown_fields=True, omit_defaults=True):
    """The first frame of a peer: enter `room` as `role`. The same `peer_id` again takes the place of its older
    connection."""

    room: str
    role: Role
    peer_id: Id
    gateway: Proof | None = None
    """Of a gateway."""


class Send(msgspec.Struct, frozen=True, tag="send", forbid_unknown_fields=True):
    """Carry `body` to the peer `to`, or to the room's gateway."""

    to: Receiver
    body: Body


class Vouch(msgspec.Struct, frozen=True, tag="vouch", forbid_unknown_fields=True, omit_defaults=True):
    """Of a gateway: `peers` have a session each, and nobody else has. They count in no limit of the
    room, and each lets the gateway say more. It says so behind each `Join`, and when that changes."""

    peers: Annotated[tuple[Id, ...], msgspec.Meta(max_length=MAX_VOUCHED)] = ()


class Challenge(msgspec.Struct, frozen=True, tag="challenge", forbid_unknown_fields=True):
    """The first frame of the rendezvous: its X25519 public key, and 16 random bytes for this connection."""

    key: Bytes32
    nonce: Bytes16


class Joined(msgspec.Struct, frozen=True, tag="joined", forbid_unknown_fields=True, omit_defaults=True):
    """The rendezvous accepted the `Join`. `peers` are there: for a client the gateway, for the gateway its clients."""

    peers: tuple[Id, ...] = ()


class Deliver(msgspec.Struct, frozen=True, tag="deliver", forbid_unknown_fields=True):
    """A `Send` of `sender`."""

    sender: Id
    body: Body


class Presence(msgspec.Struct, frozen=True, tag="presence", forbid_unknown_fields=True):
    """A peer has come, or come back, or gone. Clients hear of the gateway, the gateway hears of clients."""

    peer_id: Id
    present: bool


class Refused(msgspec.Struct, frozen=True, tag="refused", forbid_unknown_fields=True):
    """The last frame of a connection that the rendezvous ends."""

    code: RefusalCode
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARACTERS)]


ClientFrame = Join | Send | Vouch
ServerFrame = Challenge | Joined | Deliver | Presence | Refused

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
