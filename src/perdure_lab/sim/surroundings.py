"""What the peers of a simulation find around them, and where all that happens is written down."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

from perdure.configfile import Layer, layered
from perdure.core.decision import RecoveryAction
from perdure.ticket_store import DEFAULT_TICKET, TicketStore
from perdure_lab.sim.application import Ledger
from perdure_lab.sim.carrier_check import CarrierWatch
from perdure_lab.sim.internet import MAPPING_LIFETIME, Internet
from perdure_lab.sim.relay import Relay
from perdure_lab.sim.rendezvous import Rendezvous
from perdure_lab.sim.unruly_peers import UnrulyPeers
from perdure_lab.sim.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from perdure.core.actions import StateChanged
    from perdure.core.decision import Decision
    from perdure_lab.scenario.model import Link, LinkName
    from perdure_lab.sim.engine import SimCarrier
    from perdure_lab.sim.relay import Terms

_RECOVERIES = (
    RecoveryAction.ICE_RESTART,
    RecoveryAction.REBUILD,
    RecoveryAction.SPARE,
    RecoveryAction.SWITCH,
)

VIOLATION = "VIOLATION"
"""In the trace, before what was violated."""


class Surroundings:
    """A world with an internet and a rendezvous, and the history so far.

    Args:
        relay: on which terms one serves, where there is one.
        settings: perdure's, by full name, where they are not the defaults.
        mapping_lifetime: seconds for which the NATs remember who says nothing.
        says_late: whether the kernels say late that a link runs.
    """

    def __init__(
        self,
        seed: int,
        links: Mapping[LinkName, Link],
        *,
        relay: Terms | None = None,
        settings: Mapping[str, object] | None = None,
        mapping_lifetime: float = MAPPING_LIFETIME,
        says_late: bool = False,
    ) -> None:
        self.world = World(seed)
        self.internet = Internet(self.world, links, mapping_lifetime=mapping_lifetime, says_late=says_late)
        self.relay = None if relay is None else Relay(self.world, relay)
        self.carriers: dict[str, SimCarrier] = {}
        self.unruly_peers = UnrulyPeers(self.world)
        self.carrier_watch = CarrierWatch(self.world, self.carriers, self.unruly_peers, self.violated)
        self.settings = layered(Layer("the scenario", settings or {}))
        self.ledger = Ledger(self.violated, self.settings.resources, lambda: self.world.now)
        self.violations: list[str] = []
        self.changes: list[tuple[float, str, StateChanged]] = []
        """When, at which end, and what."""
        self.decisions: list[tuple[float, str, Decision]] = []
        self.claims: list[Callable[[], None]] = []
        """What ends of tubes said of their peers, to be checked once all is settled."""
        self.trace: list[str] = []
        """What happened, a line each, for a reader."""
        self._started: set[str] = set()
        self._starts: Counter[str] = Counter()
        self._ended: set[tuple[str, str]] = set()
        """Ends of tubes: the process, and the tube's id."""
        self.rendezvous = Rendezvous(self.world, self.internet)
        self.tickets = TicketStore(token_bytes=self.world.dice("ticket").randbytes)
        self.tickets.create(DEFAULT_TICKET, now=0)
        self.ticket = self.tickets.ticket(DEFAULT_TICKET, "ws://rendezvous.sim")

    def is_started(self, process: str) -> bool:
        """Whether it runs, or would if its machine did."""
        return process in self._started

    def life_of(self, process: str) -> int:
        """Which of its lives a process is in; 0 while it has none."""
        return self._starts[process] if process in self._started else 0

    def has_ended(self, process: str, tube_id: str) -> bool:
        """Whether that end of the tube has."""
        return (process, tube_id) in self._ended

    @property
    def recoveries(self) -> Counter[RecoveryAction]:
        """ICE restarts, rebuilds, spares and switches to a warm spare that either end began."""
        begun = (decision.action for _, _, decision in self.decisions if decision.trigger is not None)
        return Counter(action for action in begun if action in _RECOVERIES)

    def note(self, text: str) -> None:
        """A line for the trace."""
        self.trace.append(f"{self.world.now:10.4f} {text}")

    @property
    def fingerprint(self) -> str:
        """What tells one history from another: the same seed has the same, on each machine and Python."""
        return hashlib.sha256("\n".join((*self.trace, str(self.world.performed))).encode()).hexdigest()[:16]

    def violated(self, text: str) -> None:
        self.violations.append(f"at {self.world.now:.3f} s, event {self.world.performed}: {text}")
        self.note(f"{VIOLATION}: {text}")
