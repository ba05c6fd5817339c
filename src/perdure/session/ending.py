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

    def __init__(self) -> None:
        self.phase = Phase.OPEN
        self.has_begun = False
        self.is_over = False
        """Whether there are no streams any more. Both are asked for each message, so not derived each time."""
        self.close: Close | None = None
        """What is said last, where anything is."""

    def drain(self, close: Close) -> None:
        """`close` is said once what is held was delivered."""
        self.phase = Phase.DRAINING
        self.close = close
        self.has_begun = True

    def end(self, close: Close | None) -> None:
        """The streams are gone. `close` is said next; `None`: nothing is."""
        self.close = close
        self.phase = Phase.SILENT if close is None else Phase.DUE
        self.has_begun = self.is_over = True

    def take(self) -> bytes | None:
        """The last message, once."""
        if self.phase is not Phase.DUE or self.close is None:
            return None
        self.phase = Phase.SAID
        return encode_frame(self.close)
