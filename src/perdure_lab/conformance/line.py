"""A carrier of the conformance peer: what came on it, and the answers without which the subject would give it up."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from perdure.errors import ProtocolError
from perdure.signaling.messages import Candidate
from perdure.transport.base import LossReason
from perdure.wire import (
    MAX_DATA_OVERHEAD_BYTES,
    MAX_MESSAGE_BYTES,
    Ack,
    Data,
    Fin,
    Frame,
    Gone,
    Hello,
    Open,
    Ping,
    Pong,
    Reset,
    Resume,
    decode_message,
    encode_frame,
)
from perdure_lab.conformance.failures import CaseFailed

if TYPE_CHECKING:
    from perdure.transport.base import Carrier, IceState, OpenChannel, PathStatistics

CHUNK_BYTES = 16_000
"""Of the DATA frames that a case does not make itself, where the subject takes so much in a message."""

MOST_FRAMES = 100_000
"""Of one carrier, DATA not counted."""


class Owner(Protocol):
    def described(self, line: Line, generation: int, sdp: str) -> None:
        """This end's description is ready."""

    def gathered(self, line: Line, candidate: Candidate) -> None:
        """So is a candidate."""

    def heard(self, line: Line, frame: Frame) -> None:
        """The subject said `frame`; raises `CaseFailed` where it may not."""

    def broken(self, failure: CaseFailed) -> None:
        """The subject said what cannot be."""

    def changed(self, line: Line) -> None:
        """Something else happened on the carrier."""


class Line:
    """One carrier. A `CarrierListener`.

    Attributes:
        answers: whether a PING is answered by PONG, and RESET by GONE.
        acknowledges: whether DATA and FIN are answered by ACK.
    """

    carrier: Carrier

    def __init__(self, owner: Owner, generation: int, *, is_offered: bool) -> None:
        self.generation = generation
        self.negotiation = generation
        """The generation of the last offer, which an ICE restart makes higher."""
        self.is_offered = is_offered
        self.is_awaiting_answer = is_offered
        self.answers = self.acknowledges = True
        self.channel: OpenChannel | None = None
        self.lost = ""
        """Why it is lost; empty while it is not."""
        self.sdp = ""
        """The subject's last description."""
        self.resume: Resume | None = None
        self.frames: deque[Frame] = deque(maxlen=MOST_FRAMES)
        """What came and was not asked for yet; without DATA."""
        self.longest_message = 0
        self._owner = owner

    @property
    def chunk_bytes(self) -> int:
        longest = [MAX_MESSAGE_BYTES]
        if self.channel is not None:
            longest.append(self.channel.max_message_bytes)
        if self.resume is not None:
            longest.append(self.resume.parameters.max_message_bytes)
        return min(CHUNK_BYTES, min(longest) - MAX_DATA_OVERHEAD_BYTES)

    def say(self, *frames: Frame | bytes) -> None:
        """In one message."""
        self.carrier.send(b"".join(each if isinstance(each, bytes) else encode_frame(each) for each in frames))

    def close(self) -> None:
        self.lost = self.lost or "closed by the conformance peer"
        self.carrier.close()

    # CarrierListener.

    def carrier_description(self, generation: int, sdp: str) -> None:
        self._owner.described(self, generation, sdp)

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self._owner.gathered(self, Candidate(generation, candidate, sdp_mid, sdp_mline))

    def carrier_opened(self, generation: int, channel: OpenChannel) -> None:
        self.channel = channel
        self._owner.changed(self)

    def carrier_message(self, generation: int, message: bytes) -> None:
        self.longest_message = max(self.longest_message, len(message))
        try:
            for frame in decode_message(message):
                self._take(frame)
        except ProtocolError as error:
            self._owner.broken(CaseFailed("messages of section 8", str(error)))
        except CaseFailed as failure:
            self._owner.broken(failure)
        self._owner.changed(self)

    def carrier_writable(self, generation: int) -> None:
        self._owner.changed(self)

    def carrier_ice_state(self, generation: int, state: IceState) -> None:
        pass

    def carrier_measured(self, generation: int, statistics: PathStatistics) -> None:
        pass

    def carrier_lost(self, generation: int, reason: LossReason, detail: str) -> None:
        self.lost = self.lost or f"{reason.value} {detail}".strip()
        if reason is LossReason.ENGINE_FAILED and detail.startswith("send"):
            self._owner.broken(CaseFailed("a carrier that takes what this end says", self.lost))
        self._owner.changed(self)

    def _take(self, frame: Frame) -> None:
        self._owner.heard(self, frame)
        match frame:
            case Data(stream_id, offset, payload):
                self._acknowledge(stream_id, offset + len(payload))
                return
            case Fin(stream_id, offset):
                self._acknowledge(stream_id, offset + 1)
            case Ping(token) if self.answers:
                self.say(Pong(token))
            case Reset(stream_id) if self.answers:
                self.say(Gone(stream_id))
            case Resume():
                self.resume = frame
            case Hello() | Open():
                raise CaseFailed("an acceptor that opens no streams", type(frame).__name__.upper())
            case _:
                pass
        self.frames.append(frame)

    def _acknowledge(self, stream_id: int, position: int) -> None:
        if self.acknowledges:
            self.say(Ack(stream_id, position))
