"""The warm spare: a carrier on another link that stands by while a tube is used, so that a dead link costs no set-up.
On the wire, and where it is handled, it is a *standby*; *warm spare* is the setting's and the user's word.

1. One is held where this machine has several uplinks, `warm_spare` is `auto`, the peer can have two carriers, and bytes
   of a stream moved within `IN_USE_SECONDS`. It is begun when nothing has happened to the path for `SETTLE_SECONDS`.
   The acceptor waits longer, as one is enough for both ends.
2. One that does not open, or is lost, doubles the wait for the next: 10 s, 20 s … 600 s. So does one on which the peer
   goes on as soon as it is ready: it may take each for a spare, and the tube would change its link with each. One that
   was ready for `PROVED_SECONDS`, or was used otherwise, starts over.
3. It is dropped when nobody used the tube for `IDLE_SECONDS`, by each network event that does not lead to it, by new
   credentials of its TURN server, and by whatever begins another carrier or restarts ICE. The peer's is dropped when
   nobody used the tube for twice as long: it should be gone then.
4. A suspect path has the warm spare asked, and so has a silent one that was not suspect, as it was idle. It is used if
   it answers while the path has not, or the peer asks there: a peer that stood still for a moment answers on both. If
   it does not answer in time it is dropped, and a spare is built as without it.
5. Where ICE has given up, the carrier is lost, or its address is and the default route leads by the warm spare's now,
   there is nothing to wait for: it is used at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, assert_never

from perdure.core.actions import StandbyTask, TendStandby
from perdure.core.events import StandbyAnswered, StandbyReady, UplinksCounted
from perdure.core.keepalive import READING_DELAY
from perdure.core.timers import Timer
from perdure.doubling import doubled

if TYPE_CHECKING:
    from perdure.config import RestartPolicy
    from perdure.core.carriers import Carriers
    from perdure.core.context import Context
    from perdure.core.keepalive import Liveness
    from perdure.core.spare import Spare

SETTLE_SECONDS = 3.0
"""Behind whatever happened to the path. The engine's list of networks is up to 2 s old."""

SECOND_TURN_SECONDS = 2.0
"""How much longer the acceptor waits: more than an offer and its answer take."""

IN_USE_SECONDS = 10.0
"""Traffic within this time says that the tube is in use."""

IDLE_SECONDS = 120.0
"""Without traffic for this long one is not worth its checks; another takes some seconds of traffic."""

PEERS_IDLE_SECONDS = 2 * IDLE_SECONDS
"""The same for the peer's. Later than the peer, which would take it for a failure."""

CHECK_INTERVAL = 30.0
"""Seconds between looks at whether it is on another link still: the engine may have moved the path in use."""

FIRST_CHECK_DELAY = 0.25
"""Seconds behind its opening: the engine does not tell at once which pair it has selected."""

FIRST_WAIT = 10.0
LONGEST_WAIT = 600.0
"""Seconds after one that did not open or was lost. An uplink that leads nowhere costs an offer each ten minutes."""

AT_ONCE_SECONDS = 10.0
"""A peer that takes each for a spare goes on there within a round trip, or within 3 s where it pads."""

PROVED_SECONDS = 60.0
"""One that was ready for so long was no failure, however it ended."""

ANSWER_TIMEOUT = 0.1
"""Seconds that its answer may take beyond two round trips of the path in use; other links are often slower."""

LONGEST_ANSWER = 1.0


class Warm:
    """A tube's warm spare: when there is one, and when it is used. The end that answers begins none."""

    __slots__ = (
        "_asked_at",
        "_carriers",
        "_context",
        "_data_at",
        "_failures",
        "_initiator",
        "_is_put_off",
        "_liveness",
        "_not_before",
        "_policy",
        "_silent_since",
        "_uplinks",
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
        self._data_at = -math.inf
        """When a stream's bytes last moved."""
        self._not_before = 0.0
        self._failures = 0
        """In a row."""
        self._asked_at = -math.inf
        """When that was found."""
        self._is_put_off = False
        """Whether the time for the answer to what was asked last was put off, as this process was late."""
        self._silent_since: float | None = None
        """Since when the path owed its answer as it was found silent, and a warm spare was asked for that."""

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
        now, carriers, spare = self._context.now, self._carriers, self._carriers.spare
        if spare is not None and spare.stands_by:
            self._settle_accounts()
            if now >= self._idle_at(spare):
                carriers.drop_spare()
                return
            if self._is_ours and spare.is_ready:
                self._context.actions.append(TendStandby(StandbyTask.CHECK))
            self._look_again(spare, CHECK_INTERVAL if self._is_ours else self._settling)
        elif self._may_hold and now - self._data_at < IN_USE_SECONDS:
            if spare is None and is_calm and now >= self._not_before:
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
            self._failed()
        carriers.drop_spare()

    def relays_renewed(self) -> None:
        """It has the old credentials of its TURN server, which ends it some time: another one takes its place. One that
        is needed now is kept, and the path gets the new ones once it is used."""
        spare = self._carriers.spare
        if spare is None or not spare.stands_by:
            return
        if self.is_needed:
            spare.is_outdated = True
        else:
            self._settle_accounts()
            self._carriers.drop_spare()
            self.unsettled()

    def use(self) -> None:
        """This end goes on on it; `used` follows."""
        if self._carriers.spare is not None:
            self._carriers.spare.is_chosen = True
        self._context.actions.append(TendStandby(StandbyTask.USE))

    def used(self) -> None:
        """The session goes on on it."""
        spare, now = self._carriers.spare, self._context.now
        if spare is not None and self._is_ours and not spare.is_chosen and now < spare.ready_at + AT_ONCE_SECONDS:
            self._failed()
        else:
            self._failures = 0
        self.unsettled()

    # What happens to it.

    def hear(self, event: StandbyReady | StandbyAnswered | UplinksCounted) -> bool:
        """Whether it is to be used now: it works, and the path is suspect or silent."""
        spare = self._carriers.spare
        match event:
            case UplinksCounted(count):
                self._uplinks = count
                if not self._may_hold and self._is_ours:
                    self._carriers.drop_standby()
                elif spare is not None and spare.is_ready:
                    self._look_again(spare, self._settling)
            case StandbyReady(carrier):
                if spare is not None and spare.stands_by and spare.generation == carrier:
                    spare.ready_at = self._context.now
                    self._context.timers.cancel(Timer.SPARE)
                    self._look_again(spare, FIRST_CHECK_DELAY if self._is_ours else self._settling)
                    if self.is_needed:
                        return self.ask()
            case StandbyAnswered(carrier):
                if spare is not None and spare.is_ready and spare.generation == carrier:
                    spare.heard_at = self._context.now
                    self._context.timers.cancel(Timer.SPARE)
                    return self.is_needed
            case _:
                assert_never(event)
        return False

    def path_silent(self) -> bool:
        """As `ask`, of a path that is silent. Since when the answer is due is remembered: silence counts anew now."""
        self._silent_since, self._asked_at = self._liveness.awaiting_since, self._context.now
        return self.ask()

    def ask(self) -> bool:
        """Whether the warm spare works; it does where it was heard since the path was. SPARE says when it should have
        answered."""
        spare, now = self._carriers.spare, self._context.now
        if spare is not None and spare.heard_at > self._liveness.last_heard_at:
            return True
        self._is_put_off = False
        patience = ANSWER_TIMEOUT + 2 * (self._liveness.rtt.srtt or 0.0)
        self._context.actions.append(TendStandby(StandbyTask.ASK))
        self._context.timers.set(Timer.SPARE, now + min(LONGEST_ANSWER, patience))
        return False

    def put_off(self) -> bool:
        """Its time is noticed late, so this process stood still, and its answer may not be read yet. Whether it waits
        for that; once for each question."""
        if self._is_put_off:
            return False
        self._is_put_off = True
        self._context.timers.set(Timer.SPARE, self._context.now + READING_DELAY)
        return True

    def has_not_answered(self) -> None:
        """SPARE: it has had its time to open or to answer."""
        spare = self._carriers.spare
        if spare is None or not spare.is_ready or self.is_needed:
            self.lost()

    @property
    def is_needed(self) -> bool:
        """Whether the path has not answered yet that was found suspect, or silent."""
        return self.is_path_silent or (self._context.state.is_up and self._liveness.is_suspect(self._context.now))

    @property
    def is_path_silent(self) -> bool:
        """Whether the path still owes the answer for which it was found silent."""
        since, heard_at = self._silent_since, self._liveness.last_heard_at
        is_silent = since is not None and since == self._liveness.awaiting_since and heard_at <= self._asked_at
        return is_silent and self._context.state.is_up

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

    def _failed(self) -> None:
        self._failures += 1
        self._not_before = self._context.now + doubled(FIRST_WAIT, self._failures - 1, LONGEST_WAIT)
        self._look_at(self._not_before)

    def _settle_accounts(self) -> None:
        """One that was ready for long enough was no failure."""
        spare = self._carriers.spare
        if spare is not None and self._context.now - spare.ready_at >= PROVED_SECONDS and self._is_ours:
            self._failures = 0

    def _idle_at(self, spare: Spare) -> float:
        """When nobody has used the tube for so long that the warm spare goes."""
        if self._is_ours:
            return self._data_at + IDLE_SECONDS  # added, as the timer is
        return max(self._data_at, spare.begun_at) + PEERS_IDLE_SECONDS

    def _look_again(self, spare: Spare, delay: float) -> None:
        """The peer's is looked at where this end may begin one in its place, and when it goes."""
        at = self._context.now + delay if self._is_ours or self._may_hold else math.inf
        self._look_at(min(at, self._idle_at(spare)))

    def _look_at(self, at: float) -> None:
        self._context.timers.set(Timer.WARM, at)
