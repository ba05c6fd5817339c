"""No carrier of a simulation's tubes is closed while the other end goes on on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.config import RestartPolicy
from perdure.core.carriers import RETIRE_TIMEOUT
from perdure.tube.carrier_session import CarrierSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from perdure.tube.carrier_set import CarrierSet
    from perdure_lab.sim.engine import SimCarrier
    from perdure_lab.sim.unruly_peers import UnrulyPeers
    from perdure_lab.sim.world import World

ROUNDING = 1e-6

SHORTEST_TIME = RestartPolicy().attempt_timeout
"""Seconds that a spare has at least, to open and to be used by both ends."""


class CarrierWatch:
    """Of every carrier that works and that its end closes.

    Args:
        carriers: every carrier of the simulation by its name.
        peers: while they are unruly, a carrier may be closed as the protocol was broken on it.
    """

    def __init__(
        self, world: World, carriers: Mapping[str, SimCarrier], peers: UnrulyPeers, violated: Callable[[str], None]
    ) -> None:
        self._world = world
        self._carriers = carriers
        self._peers = peers
        self._violated = violated

    def closes(self, carrier: SimCarrier, peers_name: str) -> None:
        """It was left for another one a moment ago, or is a spare that is not needed, and the other end is on it."""
        current, peer = _current(carrier), self._carriers.get(peers_name)
        if self._peers.share or current is None or current is carrier or peer is None or _current(peer) is not peer:
            return
        now, is_spare = carrier.machine.always_clock, carrier.messages_said <= 1  # its RESUME
        if is_spare and now - carrier.begun_at >= SHORTEST_TIME - ROUNDING:
            return
        if not _is_warm_spare(carrier) and now - carrier.said_at < RETIRE_TIMEOUT - ROUNDING:
            self._world.after(0.0, self._check, carrier, current, is_spare)

    def _check(self, carrier: SimCarrier, current: object, is_spare: bool) -> None:
        """Its end goes on on the other one: it was not closed with all that there are, nor for another spare."""
        if _current(carrier) is current and not (is_spare and _has_spare(carrier)):
            self._violated(f"{carrier.name} was closed, and the other end has not left it")


def _held(carrier: SimCarrier) -> CarrierSet | None:
    """The carriers of its tube."""
    return carrier.listener.held if isinstance(carrier.listener, CarrierSession) else None


def _has_spare(carrier: SimCarrier) -> bool:
    held = _held(carrier)
    return held is not None and held.spare is not None


def _is_warm_spare(carrier: SimCarrier) -> bool:
    """Whether it is one that its end has not used, and closes: it did not answer in time there."""
    held = _held(carrier)
    return held is not None and held.places.has(carrier)


def _current(carrier: SimCarrier) -> object:
    """The one in use where `carrier` is held."""
    return None if (held := _held(carrier)) is None else held.current
