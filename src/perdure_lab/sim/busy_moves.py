"""Planned moves to another carrier in the midst of work: streams are opened, say much and end, and new carriers die.

What a spare's RESUME says is old where it arrives late, and was never said where the spare dies. So both ends talk all
the time until the spare is in use or gone, and are silent then: nothing that is said later repeats what was lost.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from perdure_lab.sim.faults import Faults
    from perdure_lab.sim.simulation import Simulation

_MEAN_REST = 75.0
"""Seconds between two moves. A peer that never acknowledges what it got is noticed after 30 s."""

_LONGEST_MOVE = 4.0
"""Seconds for which both ends talk at most: where no spare is begun, or the last of them does not open."""

_MEAN_PAUSE = 0.015
"""Seconds between two things that are done, about as long as an acknowledgement waits for company."""

_MOST_STREAMS = 8

_DYING_SHARE = 0.5
"""Of the moves, those in which something on the way ends each new carrier."""


class BusyMoves:
    """Those of one history.

    Args:
        until: the instant of the simulation from which on none begins, and those under way end.
    """

    def __init__(self, simulation: Simulation, faults: Faults, dice: Random, *, until: float) -> None:
        self._simulation = simulation
        self._faults = faults
        self._dice = dice
        self._until = until
        self._ends_at = 0.0
        """When the move under way ends at the latest."""
        self._has_spare = False
        """Whether its spare was begun."""
        self._most_bytes = 1
        """That are said at once."""

    def begin(self) -> None:
        """Let them happen from now on."""
        self._simulation.world.after(self._dice.expovariate(1 / _MEAN_REST), self._move)

    def _move(self) -> None:
        world, dice, internet = self._simulation.world, self._dice, self._simulation.internet
        if world.now >= self._until:
            return
        world.after(_LONGEST_MOVE + dice.expovariate(1 / _MEAN_REST), self._move)
        site, lives = dice.choice(["client", "gateway"]), dice.choice([0.0, 0.0, 0.2])
        self._most_bytes = dice.choice([300, 20_000])
        self._ends_at, self._has_spare = min(self._until, world.now + _LONGEST_MOVE), False
        dies = dice.random() < _DYING_SHARE and not internet.ends_new_flows
        self._faults.happens("busy move", site, "new carriers die" if dies else "")
        if dies:
            internet.ends_new_flows, internet.life_of_new_flows = 1.0, lives
            world.after(self._ends_at - world.now, internet.let_new_flows_live)
        self._talk()
        world.after(dice.uniform(0.05, 0.5), self._rotate, site)

    def _rotate(self, site: str) -> None:
        """Each path that works is left for another."""
        simulation = self._simulation
        if simulation.machines[site].runs and simulation.is_started(site):
            for manager in simulation.process(site).registry:
                if manager.state.is_up:
                    simulation.act(site, manager.rebuild)

    def _talk(self) -> None:
        """Until the spare is in use, or gone."""
        simulation, dice = self._simulation, self._dice
        had_spare, self._has_spare = self._has_spare, self._holds_spare()
        if simulation.world.now >= self._ends_at or (had_spare and not self._has_spare):
            return
        simulation.world.after(dice.expovariate(1 / _MEAN_PAUSE), self._talk)
        site = dice.choice(["client", "gateway"])
        if simulation.machines[site].runs and simulation.is_started(site):
            simulation.act(site, self._act, site)

    def _holds_spare(self) -> bool:
        """Whether either end holds one."""
        processes = [self._simulation.process(site) for site in ("client", "gateway")]
        sets = [manager.tube.driver.carriers.held for process in processes for manager in process.registry]
        return any(each.spare is not None and not each.places.has(each.spare) for each in sets)

    def _act(self, site: str) -> None:
        simulation, dice = self._simulation, self._dice
        workloads = [each for each in simulation.process(site).workloads if each.is_alive and each.speaks]
        if site == "client" and len(workloads) < _MOST_STREAMS and dice.random() < 0.3:
            simulation.client.open_stream()
        elif workloads:
            workload, act = dice.choice(workloads), dice.random()
            if act < 0.6:
                workload.say(int(math.exp(dice.uniform(0, math.log(self._most_bytes)))))
            elif act < 0.98:
                workload.finish()
            else:
                workload.reset()
