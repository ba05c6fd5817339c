"""What two peers tell each other to build a carrier, whatever carries it: typed, bounded, parsed once.

Names are the W3C's: an offer or an answer is an `RTCSessionDescriptionInit`, a candidate an `RTCIceCandidateInit`, each
with the `generation` that it belongs to.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from perdure.errors import ProtocolError

MAX_SDP_BYTES = 16 * 1024
"""A data-channel offer of libwebrtc is 0.6 to 2 KiB; 16 KiB leaves room for a machine with many interfaces."""

MAX_CANDIDATE_BYTES = 1024
"""RFC 8839's longest sensible candidate line is below 300 bytes."""

MAX_WORD_BYTES = 200
"""A reason or a cause for the log, or an SDP media id (one character in practice)."""


class Offer(msgspec.Struct, frozen=True, tag="offer", omit_defaults=True):
    """An SDP offer, of the negotiation `generation`: it begins a carrier or restarts one's ICE."""

    generation: int
    sdp: str
    restarts: int = 0
    """The carrier's generation whose ICE this offer restarts; 0: it begins a new carrier."""
    cause: str = ""
    """Why: a word for the other end's log, at most `MAX_WORD_BYTES`."""


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


class Bye(msgspec.Struct, frozen=True, tag="bye"):
    """The sender has ended the tube for `reason` (a word for the log, at most 200 bytes)."""

    reason: str


def short_reason(text: str) -> str:
    """`text`, cut to what a `Bye` may carry."""
    return text.encode()[:200].decode("utf-8", "ignore")


Message = Offer | Answer | Candidate | Bye


def check_message(message: Message) -> None:
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
        case Bye(reason):
            _check_length("reason", reason, MAX_WORD_BYTES)
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
