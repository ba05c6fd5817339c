"""What two peers tell each other to build a carrier, whatever carries it: typed, bounded, parsed once.

1. Names are the W3C's: an offer or an answer is an `RTCSessionDescriptionInit`, a candidate an `RTCIceCandidateInit`,
   each with the `generation` that it belongs to; an ICE server is an `RTCIceServer`.
2. A message of a kind that is not known here is read as one, so that a later version may add kinds.
"""

from __future__ import annotations

from typing import Annotated, assert_never, get_args

import msgspec

from perdure.errors import ProtocolError

MAX_SDP_BYTES = 16 * 1024
"""A data-channel offer of libwebrtc is 0.6 to 2 KiB; 16 KiB leaves room for a machine with many interfaces."""

MAX_CANDIDATE_BYTES = 1024
"""RFC 8839's longest sensible candidate line is below 300 bytes."""

MAX_WORD_BYTES = 200
"""A reason or a cause for the log, an SDP media id (one character in practice), or the name of an unknown kind."""

MAX_ICE_SERVERS = 16
"""A STUN server, and a relay over UDP, TCP and TLS in some places; an engine asks each for each local address."""

MAX_ICE_SERVER_BYTES = 512
"""An ICE server's URL, its user name or its password: a host name has 253 characters, a token some 300."""


class Offer(msgspec.Struct, frozen=True, tag="offer", omit_defaults=True):
    """An SDP offer, of the negotiation `generation`: it begins a carrier or restarts one's ICE."""

    generation: int
    sdp: str
    restarts: int = 0
    """The carrier's generation whose ICE this offer restarts; 0: it begins a new carrier."""
    cause: str = ""
    """Why: a word for the other end's log, at most `MAX_WORD_BYTES`."""
    standby: bool = False
    """Whether the carrier stands by beside the present one, until an end goes on there."""


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The SDP answer to the offer of `generation`."""

    generation: int
    sdp: str


class Candidate(msgspec.Struct, frozen=True, tag="candidate", omit_defaults=True):
    """One trickled ICE candidate (RFC 8838) of the sender for the carrier of `generation`."""

    generation: int
    candidate: str
    sdp_mid: str | None = msgspec.field(default=None, name="sdpMid")
    sdp_mline_index: int | None = msgspec.field(default=None, name="sdpMLineIndex")


class Withdraw(msgspec.Struct, frozen=True, tag="withdraw"):
    """The carrier that the sender offered as `generation`, beside one that works, is not needed any more."""

    generation: int


class Bye(msgspec.Struct, frozen=True, tag="bye"):
    """The sender has ended the tube for `reason` (a word for the log, at most 200 bytes)."""

    reason: str


def short_reason(text: str) -> str:
    """`text`, cut to what a `Bye` may carry."""
    return text.encode()[:MAX_WORD_BYTES].decode("utf-8", "ignore")


Message = Offer | Answer | Candidate | Withdraw | Bye
"""What a tube says and hears."""


class RTCIceServer(msgspec.Struct, frozen=True, omit_defaults=True):
    """As the W3C's, with one URL."""

    urls: Annotated[str, msgspec.Meta(max_length=MAX_ICE_SERVER_BYTES)]
    username: Annotated[str, msgspec.Meta(max_length=MAX_ICE_SERVER_BYTES)] = ""
    credential: Annotated[str, msgspec.Meta(max_length=MAX_ICE_SERVER_BYTES)] = ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.urls!r})"  # without the password


RTCIceServers = Annotated[tuple[RTCIceServer, ...], msgspec.Meta(max_length=MAX_ICE_SERVERS)]


class IceServers(msgspec.Struct, frozen=True, tag="ice-servers", omit_defaults=True):
    """The ICE servers that a gateway's clients need from now on, instead of those that it named before."""

    ice_servers: RTCIceServers = msgspec.field(default=(), name="iceServers")


ChannelMessage = Message | IceServers
"""What a channel carries: besides what the tubes say, what a gateway tells its clients."""


class UnknownMessage(msgspec.Struct, frozen=True):
    """One of a kind that a later version may have: its number counts, and nothing else of it."""

    type: str


_TYPES = frozenset(kind.__struct_config__.tag for kind in get_args(ChannelMessage))

_decoder = msgspec.json.Decoder(ChannelMessage | None)
_unknown_decoder = msgspec.json.Decoder(UnknownMessage)


def read_message(text: bytes | memoryview) -> ChannelMessage | UnknownMessage | None:
    """Read a message's JSON; empty and `null` are none. `check_message` then looks at its fields' bounds.

    Raises:
        msgspec.MsgspecError: it is not one.
    """
    if not text:
        return None
    try:
        message: ChannelMessage | None = _decoder.decode(text)
        return message
    except msgspec.ValidationError:
        unknown = _unknown_decoder.decode(text)
        if unknown.type in _TYPES:
            raise
        return unknown


def check_message(message: ChannelMessage | UnknownMessage) -> None:
    """Raise `ProtocolError` where a field is out of its bounds."""
    match message:
        case Offer(generation, sdp, restarts, cause):
            _check_length("session description", sdp, MAX_SDP_BYTES)
            _check_range("generation", generation, 1)
            _check_range("generation to restart", restarts, 0)
            _check_length("cause", cause, MAX_WORD_BYTES)
        case Answer(generation, sdp):
            _check_length("session description", sdp, MAX_SDP_BYTES)
            _check_range("generation", generation, 1)
        case Candidate(generation, candidate, sdp_mid, sdp_mline_index):
            _check_length("candidate", candidate, MAX_CANDIDATE_BYTES)
            _check_length("media id", sdp_mid or "", MAX_WORD_BYTES)
            _check_range("generation", generation, 1)
            _check_range("media line", sdp_mline_index or 0, 0)
        case Withdraw(generation):
            _check_range("generation", generation, 1)
        case Bye(reason):
            _check_length("reason", reason, MAX_WORD_BYTES)
        case IceServers(servers):
            if len(servers) > MAX_ICE_SERVERS:
                raise ProtocolError(f"{len(servers)} ICE servers are over {MAX_ICE_SERVERS}")
            for each in servers:
                _check_length("server's URL", each.urls, MAX_ICE_SERVER_BYTES)
                _check_length("server's user name", each.username, MAX_ICE_SERVER_BYTES)
                _check_length("server's password", each.credential, MAX_ICE_SERVER_BYTES)
        case UnknownMessage(kind):
            _check_length("message's type", kind, MAX_WORD_BYTES)
        case _:
            assert_never(message)


def _check_length(what: str, text: str, limit: int) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ProtocolError(f"a {what} cannot be sent: it holds half a character") from None
    if size > limit:
        raise ProtocolError(f"a {what} of {size} bytes is over {limit}")


def _check_range(what: str, number: int, least: int) -> None:
    if not least <= number < 2**31:
        shown = f" {number}" if number.bit_length() < 64 else ""
        raise ProtocolError(f"the {what}{shown} is out of range")
