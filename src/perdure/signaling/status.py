"""What a person or a log is told of an end's signaling: its status, and what it refused."""

from __future__ import annotations

import enum
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure.eventlog import log_event
from perdure.signaling.envelope import EnvelopeRefusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.signaling.frames import RefusalCode

_logger = logging.getLogger("perdure.signaling")

REFUSAL_LOG_INTERVAL = 10.0
"""Seconds between two lines for one reason: a hostile rendezvous must not fill the disk."""


class SignalingState(enum.Enum):
    """How far an end has come. A gateway knows UNREACHABLE, READY and FAILED only."""

    UNREACHABLE = "unreachable"
    WAITING_FOR_GATEWAY = "waiting-for-gateway"
    KNOCKING = "knocking"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SignalingStatus:
    """A state, the rendezvous' URL, and the reason where there is one. `str()` of it is for a person."""

    state: SignalingState
    url: str
    reason: str = ""
    refusal: RefusalCode | None = None
    """Of UNREACHABLE: why the rendezvous, which was reached, did not let us in."""

    @property
    def problem(self) -> str:
        """Of UNREACHABLE and FAILED: a sentence for who waits no longer."""
        if self.state is SignalingState.FAILED:
            return self.reason
        verb = "is unreachable" if self.refusal is None else "refuses"
        return f"the rendezvous at {self.url} {verb}: {self.reason or 'no answer'}"

    def __str__(self) -> str:
        because = f": {self.reason}" if self.reason else ""
        match self.state:
            case SignalingState.UNREACHABLE:
                return f"waiting for the rendezvous at {self.url}{because}"
            case SignalingState.WAITING_FOR_GATEWAY:
                return "waiting for the gateway" + because
            case SignalingState.KNOCKING:
                return "waiting for the gateway's answer" + because
            case SignalingState.READY:
                return f"connected through the rendezvous at {self.url}"
            case SignalingState.FAILED:
                return self.reason


class RefusalLog:
    """Counts refused envelopes by reason, and logs at most one line for each reason in `REFUSAL_LOG_INTERVAL`."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._logged_at: dict[EnvelopeRefusal, float] = {}
        self.counts: Counter[EnvelopeRefusal] = Counter()

    def record(self, refusal: EnvelopeRefusal, why: str = "") -> None:
        """One more envelope was refused. What was sealed before a change of keys is the common, harmless case.

        Args:
            why: what could not be read, where the peer is authentic.
        """
        self.counts[refusal] += 1
        now = self._now()
        logged_at = self._logged_at.get(refusal)
        if logged_at is None or now - logged_at >= REFUSAL_LOG_INTERVAL:
            self._logged_at[refusal] = now
            total = self.counts[refusal]
            level = logging.DEBUG if refusal is EnvelopeRefusal.STALE else logging.WARNING
            about = {"why": why} if why else {}
            log_event(_logger, level, "envelope-refused", reason=refusal.value, total=total, **about)
