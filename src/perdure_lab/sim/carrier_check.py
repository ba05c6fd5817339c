"""No carrier of a simulation's tubes is closed while the other end goes on on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.core.carriers import RETIRE_TIMEOUT
from perdure.tube.carrier_session import CarrierSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from perdure_lab.sim.engine import SimCarrier
    from perdure_lab.sim.unruly_peers import UnrulyPeers
    from perdure_lab.sim.world import World

ROUNDING = 1e-6


class CarrierWatch:
    """Of every carrier that works and that its end closes.

    Args:
        carriers: every carrier of the simulation by its name.
        unruly: while they add to what the ends say, nothing is checked.
    """

    def __init__(
        self,
        world: World,
        carriers: Mapping[str, SimCarrier],
        unruly: UnrulyPeers,
        violated: Callable[[str], None],
    ) -> None:
        self._world = world
        self._carriers = carriers
        self._violated = violated
        self._unruly = unruly

    def closes(self, carrier: SimCarrier, peers_name: str) -> None:
        """It was left for another one a moment ago, and the other end has not left it."""
        if self._unruly.share:  # what is added to an end's padding on a spare says that it goes on there
            return
        current, peer = _current(carrier), self._carriers.get(peers_name)
        if current is None or current is carrier or peer is None or _current(peer) is not peer:
            return
        # But for its RESUME nothing was said on it; or it stood by, and did not answer in time here.
        is_spare = carrier.messages_said <= 1 or _is_warm_spare(carrier)
        if not is_spare and carrier.machine.always_clock - carrier.said_at < RETIRE_TIMEOUT - ROUNDING:
            self._world.after(0.0, self._check, carrier, current)

    def _check(self, carrier: SimCarrier, current: object) -> None:
        """Its end goes on on the other one: it was not closed with all that there are."""
        if _current(carrier) is current:
            self._violated(f"{carrier.name} was closed, and the other end has not left it")


def _is_warm_spare(carrier: SimCarrier) -> bool:
    """Whether it is one that its end has not used, and closes."""
    return isinstance(carrier.listener, CarrierSession) and carrier.listener.held.places.has(carrier)


def _current(carrier: SimCarrier) -> object:
    """The one in use where `carrier` is held."""
    return carrier.listener.held.current if isinstance(carrier.listener, CarrierSession) else None
