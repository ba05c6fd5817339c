"""One simulation: a world with two machines, the internet between them and a rendezvous, from a seed and a scenario."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import traceback
from collections import Counter
from typing import TYPE_CHECKING

from perdure.configfile import Layer, layered
from perdure.core.decision import Rung
from perdure.ticket import Ticket
from perdure.tube.clock import clock_from
from perdure_lab.sim.application import Book
from perdure_lab.sim.checks import ErrorLog, TubeWatch
from perdure_lab.sim.internet import MAPPING_LIFETIME, Internet
from perdure_lab.sim.machine import Machine
from perdure_lab.sim.peers import ClientProcess, GatewayProcess, Process
from perdure_lab.sim.rendezvous import Rendezvous
from perdure_lab.sim.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from perdure.core.actions import StateChanged
    from perdure.core.decision import Decision
    from perdure.manager import TunnelConnectionManager
    from perdure_lab.scenario.model import Link, LinkName
    from perdure_lab.sim.engine import SimCarrier


VIOLATION = "VIOLATION"
"""In the trace, before what was violated."""


class Simulation:
    """Begins with both peers started.

    Args:
        settings: perdure's, by full name, where they are not the defaults.
        mapping_lifetime: seconds for which the NATs remember who says nothing.
    """

    def __init__(
        self,
        seed: int,
        links: Mapping[LinkName, Link],
        *,
        has_relay: bool = False,
        settings: Mapping[str, object] | None = None,
        mapping_lifetime: float = MAPPING_LIFETIME,
    ) -> None:
        self.world = World(seed)
        self.internet = Internet(self.world, links, mapping_lifetime=mapping_lifetime)
        self.has_relay = has_relay
        self.carriers: dict[str, SimCarrier] = {}
        self.settings = layered(Layer("the scenario", settings or {}))
        self.book = Book(self.violated, self.settings.resources, lambda: self.world.now)
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
        self._to_start: set[str] = set()
        self._errors = ErrorLog(self.violated)
        self.rendezvous = Rendezvous(self.world, self.internet)
        self.ticket = Ticket("ws://rendezvous.sim/v1", self.world.dice("ticket").randbytes(32))
        self.machines = {name: Machine(self.world, name, self._failed) for name in ("client", "gateway")}
        self.gateway: GatewayProcess
        self.client: ClientProcess
        for process in ("gateway", "client"):
            self.start(process)

    def run(self, until: float) -> None:
        """Let happen what is due up to that instant."""
        with self._within():
            try:
                self.world.run(until)
            except Exception as error:  # the simulator's own, which must not end the other seeds' histories
                self.violated(error_text(error))

    def act(self, process: str, call: Callable[..., object], *args: object) -> None:
        """Call `call(*args)` within that process, now."""
        with self._within():
            self.machines[process].loop.run(call, *args)

    @contextlib.contextmanager
    def _within(self) -> Iterator[None]:
        """While it lasts, perdure's time is the world's, and its log is listened to for errors; also one in another."""
        logger = logging.getLogger("perdure")
        if self._errors in logger.handlers:
            yield
            return
        level, propagates = logger.level, logger.propagate
        logger.addHandler(self._errors)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        try:
            with clock_from(self.world.clock):
                yield
        finally:
            logger.removeHandler(self._errors)
            logger.setLevel(level)
            logger.propagate = propagates

    def close(self) -> None:
        """Let go of everything. Call it once, at the end."""
        with self._within():
            for process in self.machines:
                self.crash(process)

    # What happens to the peers.

    def start(self, process: str) -> None:
        """Begin it anew; where its machine does not run, when that does."""
        if not self.machines[process].runs:
            self._to_start.add(process)
            return
        self._started.add(process)
        self._starts[process] += 1
        self.act(process, self._start_gateway if process == "gateway" else self._start_client)

    def process(self, name: str) -> Process:
        """That of the client or the gateway which was started last."""
        return self.gateway if name == "gateway" else self.client

    def is_started(self, process: str) -> bool:
        """Whether it runs, or would if its machine did."""
        return process in self._started

    def stop(self, process: str, *, asleep: bool) -> None:
        """Its machine sleeps, or it is stalled."""
        self.machines[process].stop(asleep=asleep)
        if process in self._started:
            self.process(process).stops()
        self.internet.machine_changed(process, is_silent=True)

    def crash(self, process: str) -> None:
        """It is gone, without a word."""
        if process not in self._started:
            return
        self._started.discard(process)
        self.process(process).crash()
        self.rendezvous.crashed(self.machines[process])
        self.machines[process].crash()
        self.internet.told()

    def wake(self, process: str) -> None:
        """It runs on, after a stop or a sleep."""
        has_slept = self.machines[process].is_asleep
        self.machines[process].go_on()
        self.internet.machine_changed(process, is_silent=False)
        if process in self._to_start:
            self._to_start.discard(process)
            self.start(process)
        elif process in self._started:
            self.process(process).goes_on(has_slept=has_slept)

    def jump(self, process: str, seconds: float) -> None:
        """Its machine slept for so long, as its clocks have it."""
        self.machines[process].jump(seconds)
        if process in self._started:
            self.process(process).goes_on(has_slept=True)

    def _start_gateway(self) -> None:
        self.gateway = GatewayProcess(self, self.machines["gateway"])

    def _start_client(self) -> None:
        self.client = ClientProcess(self, self.machines["client"])

    # What is checked.

    def life_of(self, process: str) -> int:
        """Which of its lives a process is in; 0 while it has none."""
        return self._starts[process] if process in self._started else 0

    def has_ended(self, process: str, tube_id: str) -> bool:
        """Whether that end of the tube has."""
        return (process, tube_id) in self._ended

    @property
    def recoveries(self) -> Counter[Rung]:
        """ICE restarts and rebuilds that either end began."""
        begun = (decision.rung for _, _, decision in self.decisions if decision.trigger is not None)
        return Counter(rung for rung in begun if rung in (Rung.ICE_RESTART, Rung.REBUILD))

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

    def watch(self, process: Process, manager: TunnelConnectionManager) -> None:
        TubeWatch(process, manager, self.violated)

        def changed(change: StateChanged) -> None:
            self.changes.append((self.world.now, process.machine.name, change))
            if change.after.is_final:
                self._ended.add((process.machine.name, manager.tube_id))
            detail = f" ({change.detail})" if change.detail else ""
            self.note(f"{process.machine.name} is {change.after.value}: {change.reason.value}{detail}")

        def decided(decision: Decision) -> None:
            self.decisions.append((self.world.now, process.machine.name, decision))
            trigger = decision.trigger.value if decision.trigger is not None else "set-up"
            about = f"{trigger}: {decision.detail}" if decision.detail else trigger
            self.note(f"{process.machine.name} decides {decision.rung.value}: {decision.reason.value} ({about})")

        manager.add_state_change_callback(changed)
        manager.add_network_change_callback(decided)

    def _failed(self, machine: Machine, error: BaseException) -> None:
        self.violated(f"{machine.name}: {error_text(error)}")


def error_text(error: BaseException) -> str:
    """For a violation: the error itself, and below it where it comes from."""
    headline = traceback.format_exception_only(error)[0].rstrip()
    return f"{headline}\n{''.join(traceback.format_exception(error)).rstrip()}"
