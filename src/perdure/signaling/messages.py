"""What two peers tell each other through the rendezvous, once opened: typed, bounded, parsed once."""

from __future__ import annotations

import msgspec

from perdure.errors import ProtocolError

MAX_SDP_BYTES = 16 * 1024
"""A data-channel offer of libwebrtc is 0.6 to 2 KiB; 16 KiB leaves room for a machine with many interfaces."""

MAX_CANDIDATE_BYTES = 1024
"""RFC 8839's longest sensible candidate line is below 300 bytes."""


class Offer(msgspec.Struct, frozen=True, tag="offer"):
    """An SDP offer that begins the carrier of `generation`."""

    generation: int
    sdp: str


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The SDP answer to the offer of `generation`."""

    generation: int
    sdp: str


class Candidate(msgspec.Struct, frozen=True, tag="candidate"):
    """One trickled ICE candidate (RFC 8838) of the sender for the carrier of `generation`."""

    generation: int
    candidate: str
    sdp_mid: str | None
    sdp_mline_index: int | None


class Bye(msgspec.Struct, frozen=True, tag="bye"):
    """The sender has ended the tube for `reason` (a word for the log, at most 200 characters)."""

    reason: str


Message = Offer | Answer | Candidate | Bye

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Message)


def encode_message(message: Message) -> bytes:
    """UTF-8 JSON of `message`, for sealing."""
    return _encoder.encode(message)


def decode_message(data: bytes) -> Message:
    """Parse an opened envelope's plaintext.

    Raises:
        ProtocolError: not a message of these types, or longer than the limits above.
    """
    try:
        message = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"a signaling message cannot be read: {error}") from error
    match message:
        case Offer(sdp=sdp) | Answer(sdp=sdp) if len(sdp) > MAX_SDP_BYTES:
            raise ProtocolError(f"a session description of {len(sdp)} characters is over {MAX_SDP_BYTES}")
        case Candidate(candidate=candidate) if len(candidate) > MAX_CANDIDATE_BYTES:
            raise ProtocolError(f"a candidate of {len(candidate)} characters is over {MAX_CANDIDATE_BYTES}")
        case Bye(reason=reason) if len(reason) > 200:
            raise ProtocolError(f"a reason of {len(reason)} characters is over 200")
        case Offer(generation=generation) | Answer(generation=generation) | Candidate(generation=generation) if not (
            0 < generation < 2**31
        ):
            raise ProtocolError(f"generation {generation} is out of range")
        case _:
            return message
