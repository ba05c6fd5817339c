"""What a case talks with: a session that is driven by hand, over carriers of the real engine.

What a case does not do itself happens as an honest peer would do it: texts are acknowledged, answers and candidates are
applied, PING is answered, DATA is acknowledged. Each wait is bounded, and ends in `CaseFailed`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from perdure.session.handshake import channel_binding, ownership_proof
from perdure.signaling.messages import Candidate, Offer
from perdure.wire import (
    INITIAL_CREDIT_BYTES,
    Accept,
    Ack,
    Data,
    Fin,
    Frame,
    Gone,
    Ping,
    Pong,
    Reset,
    Resume,
    Window,
)
from perdure_lab.conformance import raw
from perdure_lab.conformance.failures import CaseFailed
from perdure_lab.conformance.line import Line
from perdure_lab.conformance.negotiation import Negotiation
from perdure_lab.conformance.signals import Signals
from perdure_lab.conformance.streams import AMPLE, Stream
from perdure_lab.conformance.waiting import Waiting
from perdure_lab.conformance.words import word

if TYPE_CHECKING:
    from random import Random

    from perdure.transport.base import Transport

FrameT = TypeVar("FrameT", bound=Frame)

MOST_OFFERS = 5
"""Carriers that are offered in a row because the subject offered one of a higher generation meanwhile."""


class Conversation:
    """
    Args:
        write: writes a line to the subject's standard input.
        timeout: seconds for each answer of the subject.
    """

    def __init__(self, write: Callable[[str], None], transport: Transport, timeout: float, dice: Random) -> None:
        self.dice = dice
        self.session_id, self.key = dice.randbytes(16), dice.randbytes(32)
        self.waiting = Waiting(timeout)
        self.until = self.waiting.until
        self.signals = Signals(self.session_id, dice.randbytes(16), write)
        self.negotiation = Negotiation(self.signals.send)
        self.streams: dict[int, Stream] = {}
        self.lines: list[Line] = []
        """All carriers of this end, the present one last."""
        self.knows_us = False
        """Whether the subject has answered HELLO by a RESUME."""
        self._transport = transport
        self._next_id = 1

    @property
    def line(self) -> Line:
        """The present carrier."""
        return self.lines[-1]

    # What the subject does.

    async def hear(
        self, kind: type[FrameT], expected: str, where: Callable[[FrameT], bool] = lambda frame: True
    ) -> FrameT:
        """The next frame of this kind on the present carrier."""
        line = self.line

        def found() -> FrameT | None:
            for frame in line.frames:
                if isinstance(frame, kind) and where(frame):
                    line.frames.remove(frame)
                    return frame
            if line.lost:
                raise CaseFailed(expected, f"the loss of the carrier: {line.lost}")
            return None

        return await self.until(found, expected)

    async def round_trip(self) -> None:
        """PING and its PONG: all that was said before was taken, and its answers have come."""
        token = self.dice.getrandbits(50)
        self.line.say(Ping(token))
        await self.hear(Pong, f"PONG {token}", lambda pong: pong.token == token)

    async def acknowledged(self, seq: int) -> None:
        """The subject has taken this message."""
        await self.until(lambda: self.signals.acknowledged >= seq, f"an acknowledgement of message {seq}")

    def offers(self) -> list[Offer]:
        """Of the subject, which count against the present carrier."""
        line = self.line
        return [offer for offer in self.negotiation.offers if offer.generation > line.negotiation]

    async def is_cut(self, why: str) -> None:
        """The subject drops the carrier, or offers another one, which means that it has."""
        line = self.line
        await self.until(lambda: line.lost or self.offers(), f"the subject to drop the carrier: {why}")
        line.close()

    async def has_ended(self, why: str) -> None:
        """The subject ends the session: it drops the carrier, or its process ends; it offers no other carrier."""
        line, waiting, expected = self.line, self.waiting, f"the subject to end the session: {why}"
        if not waiting.how_ended:
            await self.until(lambda: line.lost or waiting.how_ended or self.offers(), expected)
            await waiting.quiet()
        if waiting.has_crashed:
            raise CaseFailed(expected, waiting.how_ended)
        if self.offers():
            raise CaseFailed(expected, "an offer of another carrier")

    # Carriers.

    def offer(self, generation: int = 0) -> Line:
        """Begin a carrier, of the next generation or of this one; those that there are stay as they are."""
        chosen = generation or self.negotiation.next_generation()
        self.negotiation.generation = max(self.negotiation.generation, chosen)
        line = self._made(chosen, is_offered=True)
        line.carrier = self._transport.offer(chosen, line)
        self.negotiation.begin(line)
        return line

    def answer(self, offer: Offer) -> Line:
        """Begin the carrier that the subject offers."""
        line = self._made(offer.generation, is_offered=False)
        line.sdp = offer.sdp
        line.carrier = self._transport.answer(offer.generation, offer.sdp, line)
        self.negotiation.begin(line)
        return line

    async def opened(self, generation: int = 0) -> Line:
        """A new carrier whose channel is open; nothing was said on it. The present one is closed."""
        if self.lines:
            self.line.close()
        for _ in range(MOST_OFFERS):
            line = self.offer(generation)
            if await self.is_open(line):
                for stream in self.streams.values():
                    stream.lowest_offset = None
                return line
            line.close()
        raise CaseFailed("an answer to an offer", f"{MOST_OFFERS} offers of a higher generation")

    async def is_open(self, line: Line) -> bool:
        """Wait until the channel is; whether it is, or gave way to an offer of the subject."""
        await self.until(
            lambda: line.channel or line.lost or self.negotiation.generation > line.generation,
            f"carrier {line.generation}: its description, and then an open data channel",
        )
        if line.lost:
            raise CaseFailed("an open data channel", f"the loss of the carrier: {line.lost}")
        return line.channel is not None

    async def next_carrier(self, generation: int = 0, *, listed: bytes = raw.NO_PARAMETERS) -> Line:
        """A new carrier on which both ends have proved themselves; streams go on from where they were."""
        line = await self.opened(generation)
        line.say(*self.greeting(listed=listed))
        await self.resumed()
        return line

    async def resumed(self) -> None:
        """The subject's RESUME has come, and is right."""
        line = self.line
        resume = await self.hear(Resume, "its RESUME")
        self._check_resume(line, resume)
        self.knows_us = True
        listed = {position.stream_id: position for position in resume.positions}
        for stream in self.streams.values():
            stream.limit = max(stream.limit, resume.parameters.initial_credit_bytes)
            if (found := listed.get(stream.stream_id)) is not None:
                stream.is_known, stream.is_accepted = True, stream.is_accepted or found.is_accepted
                stream.limit = max(stream.limit, found.window)
                stream.rewind(found.received)
            elif stream.is_known and not stream.is_echoed and not stream.is_gone:
                raise CaseFailed(f"stream {stream.stream_id} in its RESUME", f"the streams {sorted(listed)}")
            elif not stream.is_known and stream.is_opened:
                stream.rewind(0)
                line.say(stream.opening())

    def greeting(self, *, listed: bytes = raw.NO_PARAMETERS) -> list[bytes]:
        """HELLO where it is due, and RESUME, with these parameters, as an honest initiator would say them now."""
        said = [] if self.knows_us else [raw.hello(self.session_id, self.key, listed)]
        return [*said, self.resume(listed=listed)]

    def resume(
        self,
        *,
        listed: bytes = raw.NO_PARAMETERS,
        positions: list[raw.Position] | None = None,
        session_id: bytes = b"",
        generation: int = 0,
        key: bytes = b"",
        by_initiator: bool = True,
    ) -> bytes:
        """RESUME for the present carrier, or with something that is wrong. Streams are listed as they are, unless
        `positions` says otherwise."""
        named, session = generation or self.line.generation, session_id or self.session_id
        proof = ownership_proof(key or self.key, session, named, self._binding(self.line), by_initiator=by_initiator)
        if positions is None:
            positions = [
                (each.stream_id, each.position, each.window)
                for each in self.streams.values()
                if each.is_opened and not each.is_echoed and not each.is_gone
            ]
        return raw.resume(session, named, proof, listed, positions)

    # Streams.

    def new_stream(self, content: bytes, window: int = AMPLE) -> Stream:
        """Whose OPEN the case says itself."""
        resume = self.line.resume
        credit = resume.parameters.initial_credit_bytes if resume is not None else INITIAL_CREDIT_BYTES
        stream = self.streams[self._next_id] = Stream(self._next_id, content, window, limit=credit)
        self._next_id += 2
        return stream

    def open(self, size: int, window: int = AMPLE) -> Stream:
        """A stream with `size` random bytes to say; only its OPEN is said."""
        stream = self.new_stream(self.dice.randbytes(size), window)
        self.line.say(stream.opening())
        return stream

    async def pour(self, stream: Stream, up_to: int | None = None) -> None:
        """Say what is left of a stream's bytes, or those up to an offset, as its credit permits."""
        line, end = self.line, len(stream.content) if up_to is None else up_to
        while stream.sent < end:
            await self.until(
                lambda: (stream.sent < stream.limit and line.carrier.has_room) or line.lost,
                f"credit for stream {stream.stream_id} beyond {stream.limit}",
            )
            if line.lost:
                raise CaseFailed("the carrier to stay", f"its loss: {line.lost}")
            line.say(stream.data(min(end, stream.limit, stream.sent + line.chunk_bytes)))

    async def finish(self, stream: Stream) -> None:
        """Say the rest and FIN; everything comes back, and is acknowledged."""
        await self.pour(stream)
        if not stream.fin_sent:
            self.line.say(stream.fin())
        await self.is_echoed(stream)

    async def is_echoed(self, stream: Stream) -> None:
        line, expected = self.line, f"{len(stream.content)} bytes and a FIN back on stream {stream.stream_id}"
        await self.until(
            lambda: stream.is_echoed or line.lost or stream.is_gone or stream.reset is not None,
            f"{expected}, and the ACK of what it was sent",
        )
        if not stream.is_echoed:
            raise CaseFailed(expected, self.waiting.last_events)

    async def echo(self, size: int = 1000) -> Stream:
        """A whole stream: the session works."""
        stream = self.open(size)
        await self.finish(stream)
        return stream

    async def still_works(self) -> None:
        """On another carrier: the session outlives what happened to this one."""
        await self.next_carrier()
        await self.echo()

    # What the driver tells.

    def take_text(self, line: str) -> None:
        """The subject wrote a line to standard output."""
        try:
            message = self.signals.take(line)
        except CaseFailed as failure:
            self.waiting.broken(failure)
            return
        if message is not None:
            self.negotiation.take(message)
        self.waiting.happened("" if message is None or isinstance(message, Candidate) else word(message))

    def close(self) -> None:
        for line in self.lines:
            line.close()

    # What its carriers tell: a line's `Owner`.

    def described(self, line: Line, generation: int, sdp: str) -> None:
        self.negotiation.described(line, generation, sdp)

    def gathered(self, line: Line, candidate: Candidate) -> None:
        self.negotiation.gathered(line, candidate)

    def heard(self, line: Line, frame: Frame) -> None:
        self.waiting.happened(word(frame))
        match frame:
            case Data(stream_id, offset, payload):
                self._stream(stream_id).take_data(offset, payload)
            case Fin(stream_id, offset):
                self._stream(stream_id).take_fin(offset)
            case Ack(stream_id, received):
                self._stream(stream_id).take_ack(received)
            case Window(stream_id, limit) | Accept(stream_id, limit):
                stream = self._stream(stream_id)
                stream.is_accepted |= isinstance(frame, Accept)
                stream.limit = max(stream.limit, limit)
            case Reset(stream_id, code):
                self._stream(stream_id).reset = code
            case Gone(stream_id):
                self._stream(stream_id).is_gone = True
            case _:
                pass

    def broken(self, failure: CaseFailed) -> None:
        self.waiting.broken(failure)

    def changed(self, line: Line) -> None:
        self.waiting.happened(f"the loss of carrier {line.generation}" if line.lost else "")

    # Parts.

    def _made(self, generation: int, *, is_offered: bool) -> Line:
        line = Line(self, generation, is_offered=is_offered)
        self.lines.append(line)
        return line

    def _check_resume(self, line: Line, resume: Resume) -> None:
        expected = f"a RESUME of this session for generation {line.generation}, with a right proof"
        if resume.session_id != self.session_id:
            raise CaseFailed(expected, f"one of session {resume.session_id.hex()}")
        if resume.generation != line.generation:
            raise CaseFailed(expected, f"one for generation {resume.generation}")
        right = ownership_proof(self.key, self.session_id, line.generation, self._binding(line), by_initiator=False)
        if resume.proof != right:
            raise CaseFailed(expected, "a wrong proof")

    def _binding(self, line: Line) -> bytes:
        assert line.channel is not None
        return channel_binding(line.channel.local_certificate, line.channel.remote_certificate)

    def _stream(self, stream_id: int) -> Stream:
        stream = self.streams.get(stream_id)
        if stream is None:
            raise CaseFailed("nothing about streams that nobody opened", f"a frame of stream {stream_id}")
        stream.is_known = True
        return stream
