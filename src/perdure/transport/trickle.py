"""Local candidates wait for the description that they belong to. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.core.description import ice_ufrag

MAX_WAITING_CANDIDATES = 128
"""Local candidates that wait, at most some milliseconds, for the description they belong to; the oldest are dropped.
A machine with 4 addresses has 8, and a few more for each STUN and TURN server."""


@dataclass(frozen=True, slots=True)
class LocalCandidate:
    """A candidate that the engine gathered."""

    ufrag: str | None
    """Names the local description that it was gathered for."""
    candidate: str
    sdp_mid: str | None
    sdp_mline: int | None


class Trickle:
    """Which candidates may be sent (RFC 8838): those of the description that was sent last."""

    def __init__(self) -> None:
        self._ufrag: str | None = None
        self._waiting: list[LocalCandidate] = []
        """Not a deque: that has 600 bytes before it holds anything, in each idle tube."""

    def described(self, sdp: str) -> list[LocalCandidate]:
        """The local description `sdp` is being sent: the candidates that waited for it. Those of others are dropped."""
        self._ufrag = ice_ufrag(sdp)
        due = [candidate for candidate in self._waiting if candidate.ufrag == self._ufrag]
        self._waiting.clear()
        return due

    def is_due(self, candidate: LocalCandidate) -> bool:
        """Whether `candidate` may be sent now; otherwise it waits for its description."""
        if candidate.ufrag is not None and candidate.ufrag == self._ufrag:
            return True
        self._waiting.append(candidate)
        del self._waiting[:-MAX_WAITING_CANDIDATES]
        return False
