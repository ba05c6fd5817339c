"""A scenario played in the simulator: the same description as the lab's, and the same kind of result."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from perdure_lab.scenario.figures import OWN_SUBJECT
from perdure_lab.scenario.model import TICK_SECONDS, ClockJump, LinkChange, MappingLost, ProcessAction, ProcessChange
from perdure_lab.scenario.results import (
    SET_UP,
    SILENCE_FLOOR,
    ActionTaken,
    Direction,
    NetworkEvent,
    RunResult,
    Silence,
    StateSpan,
    Throughput,
    attribute,
)
from perdure_lab.sim.relay import Terms
from perdure_lab.sim.simulation import Simulation

if TYPE_CHECKING:
    from perdure_lab.scenario.model import Action, Scenario, Step
    from perdure_lab.sim.application import Workload

SET_UP_TIMEOUT = 30.0
"""Seconds, of the simulation, until its first session must have begun."""

WARM_UP = 1.0
"""Seconds of traffic that are not measured, as in the lab."""

LAST_BYTES_TIMEOUT = 60.0
LOOK_INTERVAL = 0.1
BIN_SECONDS = 0.05


def play(scenario: Scenario, seed: int) -> RunResult:
    """Play `scenario` once."""
    return Play(scenario, seed).run()


class Play:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        self.simulation = Simulation(
            seed, scenario.links, relay=Terms() if scenario.relay else None, settings=scenario.settings
        )
        self._workloads: list[tuple[Direction, Workload]] = []
        self._began_at = 0.0
        self._events: list[NetworkEvent] = []
        self._silences: list[Silence] = []
        self._heard_at: dict[Workload, float] = {}
        self._bins: dict[Direction, list[float]] = {"up": [], "down": []}
        self._ends_at = 0.0

    def run(self) -> RunResult:
        """Play it, once."""
        simulation, scenario = self.simulation, self._scenario
        try:
            self._begin()
            for step in scenario.steps:
                simulation.run(self._began_at + step.at)
                self._apply(step)
            self._ends_at = self._began_at + scenario.seconds
            simulation.run(self._ends_at)
            while not self._has_all() and simulation.world.now < self._ends_at + LAST_BYTES_TIMEOUT:
                simulation.run(simulation.world.now + LOOK_INTERVAL)
            self._end_silences()
            return self._told()
        finally:
            simulation.close()

    def _begin(self) -> None:
        simulation = self.simulation
        while simulation.client.manager is None or not simulation.client.manager.state.is_up:
            simulation.run(simulation.world.now + LOOK_INTERVAL)
            if simulation.world.now > SET_UP_TIMEOUT:
                raise AssertionError("no session began")
        simulation.act("client", self._open)
        simulation.run(simulation.world.now + 0.5)
        for gateway_workload in simulation.gateway.workloads:
            self._workloads.append(("up", gateway_workload))
        for client_workload in simulation.client.workloads:
            self._workloads.append(("down", client_workload))
        self._began_at = simulation.world.now + WARM_UP
        for _, workload in self._workloads:
            simulation.act("client" if workload.is_client else "gateway", self._say, workload)
        simulation.run(self._began_at)
        simulation.note("the traffic is measured from now on: the scenario's 0 s")
        for direction, workload in self._workloads:
            self._heard_at[workload] = self._began_at
            workload.on_heard = lambda count, direction=direction, workload=workload: self._heard(
                direction, workload, count
            )

    def _open(self) -> None:
        for _ in range(self._scenario.traffic.connections):
            assert self.simulation.client.open_stream() is not None

    def _say(self, workload: Workload) -> None:
        if self._ends_at and self.simulation.world.now >= self._ends_at:
            return
        workload.say(max(1, round(self._scenario.traffic.rate * TICK_SECONDS)))
        loop = self.simulation.machines["client" if workload.is_client else "gateway"].loop
        loop.call_later(TICK_SECONDS, self._say, workload)

    def _heard(self, direction: Direction, workload: Workload, count: int) -> None:
        now = self.simulation.world.now
        since, self._heard_at[workload] = self._heard_at[workload], now
        if self._ends_at and since > self._ends_at:
            return
        self._note_silence(direction, since, now, ended=True)
        bins, place = self._bins[direction], int((now - self._began_at) / BIN_SECONDS)
        bins.extend([0.0] * (place + 1 - len(bins)))
        bins[place] += count / BIN_SECONDS

    def _has_all(self) -> bool:
        """Whether all that was written has arrived; a stream that was reset waits for nothing."""
        return all(workload.record.was_reset or _has_heard_all(workload) for _, workload in self._workloads)

    def _end_silences(self) -> None:
        for direction, workload in self._workloads:
            if not _has_heard_all(workload):
                self._note_silence(direction, self._heard_at[workload], self._ends_at, ended=False)

    def _note_silence(self, direction: Direction, since: float, until: float, *, ended: bool) -> None:
        if until - since >= SILENCE_FLOOR:
            self._silences.append(Silence(since - self._began_at, until - self._began_at, direction, ended=ended))

    # Steps.

    def _apply(self, step: Step) -> None:
        self.simulation.note(step.text)
        for action in step.actions:
            self._act(action)
        self._events.append(NetworkEvent(step.at, step.text, step.measured))

    def _act(self, action: Action) -> None:
        simulation = self.simulation
        match action:
            case LinkChange(name, values):
                simulation.internet.change(name, **values)
            case MappingLost(name):
                simulation.internet.lose_mappings(name)
            case ProcessChange(process, process_action):
                self._do(process, process_action)
            case ClockJump(process, seconds):
                simulation.jump(process, seconds)
            case _:
                assert_never(action)

    def _do(self, process: str, action: ProcessAction) -> None:
        simulation = self.simulation
        if process == "rendezvous":
            if action in (ProcessAction.STOP, ProcessAction.KILL):
                simulation.rendezvous.stop()
            elif action is not ProcessAction.ROTATE:
                simulation.rendezvous.start()
            return
        match action:
            case ProcessAction.STOP:
                simulation.stop(process, asleep=False)
            case ProcessAction.CONTINUE:
                simulation.wake(process)
            case ProcessAction.KILL:
                simulation.crash(process)
            case ProcessAction.START:
                simulation.start(process)
            case ProcessAction.ROTATE:
                simulation.rotate(process)
            case _:
                assert_never(action)

    # The result.

    def _told(self) -> RunResult:
        simulation = self.simulation
        records = [workload.record for direction, workload in self._workloads if direction == "down"]
        courses = [course for record in records for course in (record.up, record.down)]
        most = max(len(values) for values in self._bins.values())
        throughput = {way: tuple(values + [0.0] * (most - len(values))) for way, values in self._bins.items()}
        violation = simulation.violations[0] if simulation.violations else None
        return RunResult(
            scenario=self._scenario.name,
            subject=OWN_SUBJECT,
            seed=simulation.world.seed,
            seconds=self._scenario.seconds,
            impairment="simulated",
            events=tuple(self._events),
            states=tuple(
                StateSpan(at - self._began_at, change.after.value)
                for at, site, change in simulation.changes
                if site == "client"
            ),
            actions_taken=tuple(
                ActionTaken(
                    at - self._began_at,
                    "client" if site == "client" else "gateway",
                    decision.trigger.value if decision.trigger is not None else SET_UP,
                    decision.action.value,
                    decision.reason.value,
                )
                for at, site, decision in simulation.decisions
            ),
            silences=attribute(tuple(sorted(self._silences, key=lambda silence: silence.began_at)), self._events),
            throughput=Throughput(BIN_SECONDS, throughput["up"], throughput["down"]),
            connections=len(records),
            connections_kept=sum(not record.was_reset for record in records),
            bytes_sent=sum(course.sent_bytes for course in courses),
            bytes_lost=sum(course.sent_bytes - course.received_bytes for course in courses),
            bytes_wrong=0,  # one is a violation, and so a problem
            problem=violation,
        )


def _has_heard_all(workload: Workload) -> bool:
    return workload.theirs.received_bytes == workload.theirs.sent_bytes
