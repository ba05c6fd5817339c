"""What must hold of the carriers of a simulation's tubes: none is left behind, and none is left too early."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.core.climber import RETIRE_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from perdure.tube.carrier_set import CarrierSet
    from perdure_lab.sim.engine import SimCarrier
    from perdure_lab.sim.peers import Process
    from perdure_lab.sim.world import World

ROUNDING = 1e-6


class CarrierWatch:
    """Of every carrier that either end closes.

    Args:
        sets: those of the living tubes.
    """

    def __init__(self, world: World, sets: Callable[[], Iterable[CarrierSet]], violated: Callable[[str], None]) -> None:
        self._world = world
        self._sets = sets
        self._violated = violated

    def closes(self, carrier: SimCarrier, peer: SimCarrier) -> None:
        """Its end closes it, on which the peer's end may still speak, and which works."""
        here, there = self._holder(carrier.listener), self._holder(peer.listener)
        if here is None or there is None or here.current is None or there.current is not peer:
            return
        if self._world.now - carrier.said_at < RETIRE_TIMEOUT - ROUNDING:
            self._world.after(0.0, self._check_left, here, here.current, carrier)

    def _check_left(self, here: CarrierSet, current: object, carrier: SimCarrier) -> None:
        """It was closed, and the end goes on on another one."""
        if here.current is current:
            self._violated(f"{carrier.name} was closed, and the other end has not left it yet")

    def _holder(self, listener: object) -> CarrierSet | None:
        return next((each for each in self._sets() if each is getattr(listener, "held", None)), None)


def check_leaks(process: Process, violated: Callable[[str], None]) -> None:
    """Each carrier of the process belongs to a tube."""
    held = {
        carrier
        for manager in process.registry
        for carriers in [manager.tube.driver.carriers.held]
        for carrier in (carriers.current, carriers.spare, carriers.old)
    }
    if leaked := [carrier.name for carrier in process.engine.alive if carrier not in held]:
        violated(f"no tube holds {', '.join(leaked)}, which the {process.machine.name} has not closed")
