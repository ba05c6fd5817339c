"""One simulation: a world with two machines, the internet between them and a rendezvous, from a seed and a scenario."""

from __future__ import annotations

import contextlib
import logging
import traceback
from typing import TYPE_CHECKING

from perdure.tube.clock import clock_from
from perdure_lab.sim.checks import ErrorLog, TubeWatch
from perdure_lab.sim.internet import MAPPING_LIFETIME
from perdure_lab.sim.machine import Machine
from perdure_lab.sim.peers import ClientProcess, GatewayProcess, Process
from perdure_lab.sim.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from perdure.core.actions import StateChanged
    from perdure.core.decision import Decision
    from perdure.manager import TunnelConnectionManager
    from perdure_lab.scenario.model import Link, LinkName
    from perdure_lab.sim.relay import Terms


class Simulation(Surroundings):
    """Begins with both peers started.

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
        super().__init__(
            seed,
            links,
            relay=relay,
            settings=settings,
            mapping_lifetime=mapping_lifetime,
            says_late=says_late,
        )
        self._to_start: set[str] = set()
        self._errors = ErrorLog(self.violated)
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

    def rotate(self, process: str) -> None:
        """Its tubes begin another carrier beside the one in use."""
        if process in self._started:
            for manager in self.process(process).registry:
                self.act(process, manager.rebuild)

    def jump(self, process: str, seconds: float) -> None:
        """Its machine slept for so long, as its clocks have it."""
        self.machines[process].jump(seconds)
        if process in self._started:
            self.process(process).goes_on(has_slept=True)

    def _start_gateway(self) -> None:
        self.gateway = GatewayProcess(self, self.machines["gateway"], self._watch)

    def _start_client(self) -> None:
        self.client = ClientProcess(self, self.machines["client"], self._watch)

    def _watch(self, process: Process, manager: TunnelConnectionManager) -> None:
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
            self.note(f"{process.machine.name} decides {decision.action.value}: {decision.reason.value} ({about})")

        manager.add_state_change_callback(changed)
        manager.add_network_change_callback(decided)

    def _failed(self, machine: Machine, error: BaseException) -> None:
        self.violated(f"{machine.name}: {error_text(error)}")


def error_text(error: BaseException) -> str:
    """For a violation: the error itself, and below it where it comes from."""
    headline = traceback.format_exception_only(error)[0].rstrip()
    return f"{headline}\n{''.join(traceback.format_exception(error)).rstrip()}"
