"""How a tube that is closed here comes to its end.

| what happens | what is done |
| --- | --- |
| no carrier on which streams flow | it ends at once: nobody would hear it |
| there is one | SayGoodbye; GOODBYE in `GOODBYE_TIMEOUT` |
| the session goes on on a spare on which RESUME was said | that is the carrier now |
| CloseSent before GOODBYE | FAREWELL in `FAREWELL_SECONDS` |
| GOODBYE | CloseNow; FAREWELL in `FAREWELL_SECONDS` |
| FAREWELL | it ends |
| the current carrier is lost or its address gone; the peer, or the session, has ended | it ends at once |
| anything else | nothing: the path is recovered no more |

So an idle tube, whose CloseSent answers SayGoodbye at once, ends after `FAREWELL_SECONDS`, and any tube ends within
`GOODBYE_TIMEOUT + FAREWELL_SECONDS`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from perdure.core.actions import CloseNow, SayGoodbye
from perdure.core.events import (
    CarrierLost,
    CloseSent,
    NetworkChanged,
    PeerLeft,
    PeerRestarted,
    SessionEnded,
    SessionResumed,
)
from perdure.core.state import State
from perdure.core.timers import Timer

if TYPE_CHECKING:
    from perdure.core.context import Context
    from perdure.core.events import CloseRequested, Event
    from perdure.core.recovery import Recovery

GOODBYE_TIMEOUT = 2.0
"""Seconds that a tube which is closed here waits until its peer has all that was accepted before. A full stream's 2 MiB
at 10 Mbit/s take 1.7 s, and a lost packet's retransmission 0.4 s (dcSCTP's least timeout). Longer, and whoever pressed
Ctrl-C would press it again: a peer that never reads costs all of it."""

FAREWELL_SECONDS = 0.25
"""How long a carrier stays open behind a last message: SCTP has no flush, and closing drops what is queued."""


class Closing:
    """Of one tube, made as it begins: nothing is recovered any more. `request` says why."""

    __slots__ = ("_context", "_recovery", "_request")

    def __init__(self, context: Context, recovery: Recovery, request: CloseRequested) -> None:
        self._context = context
        self._recovery = recovery
        self._request = request

    def begin(self) -> None:
        if not self._recovery.carriers.is_open:
            self.finish()
            return
        carriers = self._recovery.carriers
        if carriers.spare is None or not carriers.spare.is_told:  # otherwise the peer may have gone on on it
            carriers.drop_spare()
        self._context.timers.clear()
        self._context.timers.set(Timer.GOODBYE, self._context.now + GOODBYE_TIMEOUT)
        self._context.actions.append(SayGoodbye(self._request.reason, self._request.detail))

    def handle_event(self, event: Event) -> None:
        match event:
            case CloseSent():
                if self._context.timers.deadline(Timer.GOODBYE) != math.inf:
                    self._part()
            case SessionResumed(carrier) if carrier == self._recovery.carriers.spare_generation:
                self._recovery.carriers.promoted(recovers=False)
            case CarrierLost(carrier) if carrier != self._recovery.carriers.current:
                pass
            case (
                CarrierLost() | SessionEnded() | PeerLeft() | PeerRestarted() | NetworkChanged(local_address_lost=True)
            ):
                self.finish()  # nobody would hear it any more
            case _:
                pass

    def hurry(self) -> None:
        """GOODBYE is due: the last message is the next one."""
        self._context.actions.append(CloseNow())
        self._part()

    def finish(self) -> None:
        """FAREWELL is due, or nobody would hear more."""
        if not self._context.state.is_final:
            self._recovery.end(State.CLOSED, self._request.reason, self._request.detail)

    def _part(self) -> None:
        """The last message is out, or is next: it has its time to leave."""
        self._context.timers.cancel(Timer.GOODBYE)
        self._context.timers.set(Timer.FAREWELL, self._context.now + FAREWELL_SECONDS)
