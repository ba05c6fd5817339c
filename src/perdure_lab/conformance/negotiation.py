"""The conformance peer's descriptions and candidates, and the subject's. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from perdure.signaling.messages import Answer, Bye, Candidate, Message, Offer
from perdure.transport.description import without_candidates

if TYPE_CHECKING:
    from perdure_lab.conformance.line import Line


class Negotiation:
    """
    Args:
        send: says a message to the subject.
    """

    def __init__(self, send: Callable[[Message], object]) -> None:
        self.send = send
        """A case may say it another way."""
        self.generation = 0
        """The highest generation that either end has offered."""
        self.as_described: Callable[[str], str] = lambda sdp: sdp
        """What becomes of this end's descriptions before they are sent."""
        self.trickles = True
        """Whether candidates go behind the description; otherwise the first one is within it."""
        self.takes_candidates = True
        """Where it does not take the subject's, the path depends on what the subject makes of this end's."""
        self.offers: list[Offer] = []
        """All of the subject."""
        self.answers: list[Answer] = []
        self._line: Line | None = None
        self._theirs: list[Candidate] = []
        self._waiting: Offer | Answer | None = None

    def next_generation(self) -> int:
        """Of an offer of the initiator."""
        self.generation = 2 * (self.generation // 2 + 1) + 1
        return self.generation

    def begin(self, line: Line) -> None:
        """From now on descriptions and candidates are for this carrier, which has been made."""
        self._line, self._waiting = line, None
        for candidate in self._theirs:
            self._take_candidate(candidate)

    # This end's.

    def described(self, line: Line, generation: int, sdp: str) -> None:
        if line is not self._line:
            return
        sdp = self.as_described(sdp)
        is_restart = generation != line.generation
        self._waiting = (
            Offer(generation, sdp, line.generation if is_restart else 0)
            if line.is_awaiting_answer
            else Answer(generation, sdp)
        )
        if self.trickles:
            self._describe("")

    def gathered(self, line: Line, candidate: Candidate) -> None:
        if line is not self._line:
            return
        if self._waiting is not None:
            self._describe(f"a={candidate.candidate}\r\n")
        elif self.trickles:
            self.send(candidate)

    def _describe(self, candidate_line: str) -> None:
        match self._waiting:
            case Offer(generation, sdp, restarts):
                self.send(Offer(generation, sdp + candidate_line, restarts))
            case Answer(generation, sdp):
                self.send(Answer(generation, sdp + candidate_line))
            case None:
                pass
        self._waiting = None

    # The subject's.

    def take(self, message: Message) -> None:
        match message:
            case Offer():
                self.generation = max(self.generation, message.generation)
                self.offers.append(message)
            case Answer(generation, sdp):
                self.answers.append(message)
                line = self._line
                if line is not None and line.is_awaiting_answer and generation == line.negotiation and not line.lost:
                    line.is_awaiting_answer, line.sdp = False, sdp
                    line.carrier.apply_answer(sdp if self.takes_candidates else without_candidates(sdp))
            case Candidate():
                self._theirs.append(message)
                self._take_candidate(message)
            case Bye():
                pass

    def _take_candidate(self, message: Candidate) -> None:
        line = self._line
        if line is not None and not line.lost and message.generation == line.negotiation and self.takes_candidates:
            line.carrier.add_candidate(message.candidate, message.sdp_mid, message.sdp_mline_index)
