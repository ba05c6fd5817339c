"""The warm spare: a carrier on another link that stands by while a tube is used, so that a dead link costs no set-up.

1. One is held where this machine has several uplinks, `warm_spare` is `auto`, the peer can have two carriers, and bytes
   of a stream moved within `IN_USE_SECONDS`. It is begun when nothing has happened to the path for `SETTLE_SECONDS`.
   The acceptor waits longer, as one is enough for both ends.
2. One that does not open, or is lost, doubles the wait for the next: 10 s, 20 s … 600 s. One that was ready for
   `PROVED_SECONDS`, or was used, starts over.
3. It is dropped when nobody used the tube for `IDLE_SECONDS`, by each network event, and by whatever begins another
   carrier or restarts ICE.
4. A suspect path has the warm spare asked. It is used if it answers while the path has not, or the peer asks there: a
   peer that stood still for a moment answers on both. If it does not answer in time it is dropped, and a spare is
   built as without it.
5. Where ICE has given up, or the carrier is lost, there is nothing to wait for: it is used at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, assert_never

from perdure.core.actions import StandbyTask, TendStandby
from perdure.core.events import StandbyAnswered, StandbyReady, UplinksCounted
from perdure.core.timers import Timer

if TYPE_CHECKING:
    from perdure.config import RestartPolicy
    from perdure.core.carriers import Carriers
    from perdure.core.context import Context
    from perdure.core.keepalive import Liveness

SETTLE_SECONDS = 3.0
"""Behind whatever happened to the path. The engine's list of networks is up to 2 s old."""

SECOND_TURN_SECONDS = 2.0
"""How much longer the acceptor waits: more than an offer and its answer take."""

IN_USE_SECONDS = 10.0
"""Traffic within this time says that the tube is in use."""

IDLE_SECONDS = 120.0
"""Without traffic for this long one is not worth its checks; another takes some seconds of traffic."""

CHECK_INTERVAL = 30.0
"""Seconds between looks at whether it is on another link still: the engine may have moved the path in use."""

FIRST_CHECK_DELAY = 0.25
"""Seconds behind its opening: the engine does not tell at once which pair it has selected."""

FIRST_WAIT = 10.0
LONGEST_WAIT = 600.0
"""Seconds after one that did not open or was lost. An uplink that leads nowhere costs an offer each ten minutes."""

PROVED_SECONDS = 60.0
"""One that was ready for so long was no failure, however it ended."""

ANSWER_TIMEOUT = 0.1
"""Seconds that its answer may take beyond two round trips of the path in use; other links are often slower."""

LONGEST_ANSWER = 1.0


class Warm:
    """A tube's warm spare: when there is one, and when it is used. At the end that answers, only the latter."""

    __slots__ = (
        "_asked_at",
        "_carriers",
        "_context",
        "_data_at",
        "_failures",
        "_heard_at",
        "_initiator",
        "_liveness",
        "_not_before",
        "_policy",
        "_ready_at",
        "_uplinks",
        "has_answered",
    )

    def __init__(
        self, context: Context, carriers: Carriers, policy: RestartPolicy, liveness: Liveness, *, initiator: bool
    ) -> None:
        self._context = context
        self._policy = policy
        self._liveness = liveness
        self._carriers = carriers
        self._initiator = initiator
        self._uplinks = 1
        self._asked_at = -math.inf
        self._data_at = -math.inf
        """When a stream's bytes last moved."""
        self._not_before = 0.0
        self._failures = 0
        """In a row."""
        self._ready_at = math.inf
        """Since when one is ready."""
        self._heard_at = -math.inf
        """When the peer was last heard on one."""
        self.has_answered = False
        """Whether it answered what it was asked last."""

    # When there is one.

    def data_moved(self, at: float) -> None:
        """A stream's bytes moved at `at`."""
        if at <= self._data_at:
            return
        self._data_at = at
        if self._may_hold and self._context.timers.deadline(Timer.WARM) == math.inf:
            self._look_at(max(self._not_before, self._context.now + self._settling))

    def unsettled(self) -> None:
        """Something happened to the path, or to the network: the next one waits until that is over."""
        self._not_before = max(self._not_before, self._context.now + self._settling)
        if self._context.timers.deadline(Timer.WARM) != math.inf:
            self._look_at(self._not_before)

    def is_due(self, *, is_calm: bool) -> None:
        """WARM: one is begun or dropped, or looked at. `is_calm`: the path works, and nothing is under way."""
        now, carriers = self._context.now, self._carriers
        idle_at = self._data_at + IDLE_SECONDS  # added, as the timer is
        if carriers.spare is not None and carriers.spare.stands_by and self._is_ours:
            if now >= idle_at:
                self._settle_accounts()
                carriers.drop_spare()
                return
            if carriers.spare.is_ready:
                self._context.actions.append(TendStandby(StandbyTask.CHECK))
            self._look_at(min(now + CHECK_INTERVAL, idle_at))
        elif self._may_hold and now - self._data_at < IN_USE_SECONDS:
            if carriers.spare is None and is_calm and now >= self._not_before:
                carriers.build_standby()
                self._look_at(now + CHECK_INTERVAL)
            else:
                self._look_at(max(self._not_before, now + self._settling))

    def lost(self) -> None:
        """It did not open in time, is lost, or is of no use."""
        carriers = self._carriers
        if not carriers.holds_standby:
            return
        if self._is_ours:
            self._settle_accounts()
            self._failures += 1
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self._failures - 1, 16))
            self._not_before = self._context.now + wait
            self._look_at(self._not_before)
        carriers.drop_spare()

    def used(self) -> None:
        """The session goes on on it."""
        self._failures = 0
        self._ready_at = math.inf
        self.unsettled()

    # What happens to it.

    def hear(self, event: StandbyReady | StandbyAnswered | UplinksCounted) -> bool:
        """Whether it is to be used now: it works, and the path is suspect."""
        spare = self._carriers.spare
        match event:
            case UplinksCounted(count):
                self._uplinks = count
                if not self._may_hold and self._is_ours:
                    self._carriers.drop_standby()
            case StandbyReady(carrier):
                if spare is not None and spare.stands_by and spare.generation == carrier:
                    spare.is_ready = True
                    self._ready_at = self._context.now
                    self._context.timers.cancel(Timer.SPARE)
                    if self._is_ours:
                        self._look_at(self._context.now + FIRST_CHECK_DELAY)
                    if self._path_is_suspect:
                        return self.ask()
            case StandbyAnswered(carrier):
                self.has_answered = True
                self._heard_at = self._context.now
                if spare is not None and spare.generation == carrier and self._path_is_suspect:
                    self._context.timers.cancel(Timer.SPARE)
                    return True
            case _:
                assert_never(event)
        return False

    def ask(self) -> bool:
        """The path is suspect: whether the warm spare works; it does where it was heard since the path was. SPARE says
        when it should have answered."""
        if self._heard_at > self._liveness.last_heard_at:
            return True
        self.has_answered = False
        self._asked_at = self._context.now
        patience = ANSWER_TIMEOUT + 2 * (self._liveness.rtt.srtt or 0.0)
        self._context.actions.append(TendStandby(StandbyTask.ASK))
        self._context.timers.set(Timer.SPARE, self._context.now + min(LONGEST_ANSWER, patience))
        return False

    def has_not_answered(self) -> bool:
        """SPARE: it has had its time to open or to answer. Whether another spare is to be begun."""
        spare = self._carriers.spare
        asked_at, self._asked_at = self._asked_at, -math.inf
        if spare is not None and spare.is_ready and self._liveness.last_heard_at > asked_at:
            return False  # the path has answered meanwhile
        self.lost()
        return self._path_is_suspect

    @property
    def _path_is_suspect(self) -> bool:
        return self._context.state.is_up and self._liveness.is_suspect(self._context.now)

    @property
    def _may_hold(self) -> bool:
        """Whether this end may begin one."""
        return self._uplinks > 1 and self._policy.warm_spare == "auto"

    @property
    def _is_ours(self) -> bool:
        return self._carriers.spare_generation % 2 == self._initiator

    @property
    def _settling(self) -> float:
        return SETTLE_SECONDS if self._initiator else SETTLE_SECONDS + SECOND_TURN_SECONDS

    def _settle_accounts(self) -> None:
        """It goes."""
        if self._context.now - self._ready_at >= PROVED_SECONDS:
            self._failures = 0
        self._ready_at = math.inf

    def _look_at(self, at: float) -> None:
        self._context.timers.set(Timer.WARM, at)
