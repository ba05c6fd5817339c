"""How many restarts a flapping network may cause, and which of them it may cause while it flaps."""

from __future__ import annotations

from typing import NamedTuple

LIMIT_WINDOW = 60.0
"""Seconds over which the budget counts."""

QUIET_BEFORE_LAST = (4.0, 1.0)
"""Seconds that the network must have been at rest for the last restart of the budget, and for the last but one. What is
built while an interface flaps is lost again; so a restart is left for when it has come to rest, which may be with
another address, and nobody waits for the minute's end. A budget keeps back at most half of itself."""

SILENT_BEFORE_LAST = (LIMIT_WINDOW, 10.0)
"""The same, where no network event asks for the restart, but what follows one: silence, poor quality. Otherwise the end
whose network is at rest would spend what the other one needs."""

EVENTS_OF_RETURN_SECONDS = 0.5
"""Seconds within which further network events belong to the return of an address. Its route follows within
milliseconds, and the network monitor puts a look off by as much at most (`netmon.debounce.MAX_HOLD`)."""


_NEVER = float("-inf")


class Allowance(NamedTuple):
    """How far the limit lets something begin."""

    spent_until: float | None
    """When the next restart may begin; `None`: now, as far as their number goes."""
    reserved_until: float | None
    """When one that is left may begin, if the network does not move again before; `None`: now."""
    is_halved: bool
    """Whether those that are left are for what needs a restart more than a suspicion does. That is half of them: the
    peer, whose network may be the one that flaps, counts this end's too."""


UNLIMITED = Allowance(None, None, False)


class RestartLimit:
    """At most `budget` restarts in any `LIMIT_WINDOW`."""

    __slots__ = ("_budget", "_moved_at", "_restarts", "_returned_at")

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._restarts: tuple[float, ...] = ()
        """The last ones, the oldest first."""
        self._moved_at = _NEVER
        self._returned_at = _NEVER
        """When the path's own address came back, if no restart has begun since."""

    def moved(self, now: float, *, is_return: bool = False) -> None:
        """The network of either end has changed.

        Args:
            is_return: it brought back the address that the path had. Nothing else has to follow, so one restart that a
                network event asks for does not wait for the network to settle. Only the last one does: the network may
                still come to rest with another address, and a carrier that is kept heals with the old one by itself.
        """
        self._moved_at = now
        if is_return:
            self._returned_at = now

    def spend(self, now: float) -> None:
        """A restart begins; one more than the budget, as the use of a warm spare may be, is counted like any other."""
        self._restarts = (*self._restarts, now)[-self._budget :]
        self._returned_at = _NEVER

    def peer_spends(self, now: float) -> None:
        """The peer begins one. The last restart of the budget is this end's own: it may be the only one that knows
        where its network came to rest, while the peer retries after silence."""
        if len(self._counted(now)) < self._budget - 1:
            self.spend(now)

    def take_back(self, at: float) -> None:
        """The restart that began then was none."""
        if at in self._restarts:
            place = self._restarts.index(at)
            self._restarts = (*self._restarts[:place], *self._restarts[place + 1 :])

    def look(self, now: float, *, network_event: bool) -> Allowance:
        """What may begin at `now`.

        Args:
            network_event: whether one asks for it.
        """
        counted = self._counted(now)
        if not counted:
            return UNLIMITED
        left = self._budget - len(counted)
        is_halved = left <= self._budget // 2
        if left == 0:
            return Allowance(counted[0] + LIMIT_WINDOW, None, is_halved)
        if left > min(len(QUIET_BEFORE_LAST), self._budget // 2):
            return Allowance(None, None, is_halved)
        has_returned = self._moved_at <= self._returned_at + EVENTS_OF_RETURN_SECONDS
        if network_event and has_returned and left > 1:
            return Allowance(None, None, is_halved)
        delays = QUIET_BEFORE_LAST if network_event else SILENT_BEFORE_LAST
        until = min(counted[0] + LIMIT_WINDOW, self._moved_at + delays[left - 1])
        return Allowance(None, until if now < until else None, is_halved)

    def _counted(self, now: float) -> list[float]:
        return [at for at in self._restarts if now < at + LIMIT_WINDOW]
