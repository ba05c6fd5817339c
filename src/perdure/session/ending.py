"""The end of a session: its CLOSE stands behind what was accepted before.

Phase, by what has happened:

    OPEN ── close ──→ DRAINING ── the peer has everything, or close_now ──→ DUE ── CLOSE is framed ──→ SAID

    OPEN, DRAINING ── the peer's CLOSE, or abandon ──→ SILENT
    OPEN, DRAINING ── this end cannot serve what the peer asks for ──→ DUE

Rules:
1. While it drains, a session takes no new stream and no further bytes. What it holds is sent, over as many carriers as
   it takes. Streams can still be finished, reset and aborted, and what the peer sends is still delivered.
2. CLOSE is due once the peer has acknowledged every byte and FIN, and answered every RESET. Sent is not enough: a
   carrier is closed soon after the CLOSE, and drops what it holds.
3. A stream that the peer opens meanwhile is answered with GONE.
4. A peer that closes reads no more: its CLOSE ends the session here, behind the events before it.
5. When to stop waiting is not decided here: `close_now` drops what is left.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from perdure.wire import encode_frame

if TYPE_CHECKING:
    from perdure.wire import Close


class Phase(Enum):
    OPEN = auto()
    DRAINING = auto()
    DUE = auto()
    SAID = auto()
    SILENT = auto()
    """It ended, and there is nothing to say."""


class Ending:
    """What is said last, and whether it was."""

    __slots__ = ("close", "has_begun", "is_over", "phase")

    def __init__(self, phase: Phase, close: Close | None) -> None:
        self.phase = phase
        self.close = close
        """What is said last, where anything is."""
        self.has_begun = phase is not Phase.OPEN
        self.is_over = phase in (Phase.DUE, Phase.SILENT)
        """Whether there are no streams any more. Both are asked for each message, so not derived each time."""

    def take(self) -> bytes | None:
        """The last message, once."""
        if self.phase is not Phase.DUE or self.close is None:
            return None
        self.phase = Phase.SAID
        return encode_frame(self.close)


NOT_ENDING = Ending(Phase.OPEN, None)
"""Of every session that has not begun to end."""


def draining(close: Close) -> Ending:
    """`close` is said once what is held was delivered."""
    return Ending(Phase.DRAINING, close)


def ended(close: Close | None) -> Ending:
    """The streams are gone. `close` is said next; `None`: nothing is."""
    return Ending(Phase.SILENT if close is None else Phase.DUE, close)
