"""Many seeds, side by side in processes, and what they come to."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from perdure.core.state import Reason, State
from perdure.scenario.library import load
from perdure.sim.chaos import Chaos
from perdure.sim.play import Play
from perdure.sim.simulation import VIOLATION, Simulation

CHAOS = "chaos"
"""The scenario in which everything is drawn from the seed."""

SEEDS_AHEAD = 3
"""Given to a process at once: the one that it plays, and two so that it never waits for the reader of its outcomes."""

STOP_LOOK_INTERVAL = 0.1
"""Seconds between two looks at whether to stop, while no outcome comes: Ctrl-C feels immediate."""

TRACE_BEFORE = 30
TRACE_AFTER = 10
"""Lines before and from a violation on that are shown without `--trace`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One seed's history, in short."""

    seed: int
    seconds: float
    """Simulated."""
    events: int
    violations: tuple[str, ...]
    trace: tuple[str, ...]
    """All of it, or what is around the first violation where nobody asked for it; empty where nothing was violated."""
    fingerprint: str
    rungs: Counter[str]
    """Recoveries that either end began, by their rung."""
    outages: tuple[float, ...]
    """Seconds that the client's tube was not up, each time that it came back."""
    silences: tuple[float, ...] = ()
    """Seconds without a byte, of each of a scenario's measured steps; see `scenario.results.Outcome`."""
    kinds: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)


def simulate(scenario: str, seed: int, *, whole_trace: bool = False) -> Outcome:
    """One history of `scenario`, a name of the library's or `CHAOS`."""
    kinds: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    silences: dict[int, float] = {}
    if scenario == CHAOS:
        chaos = Chaos(seed)
        chaos.run()
        simulation, kinds, pairs = chaos.simulation, chaos.faults.kinds, chaos.faults.pairs
    else:
        played = Play(load(scenario), seed)
        result = played.run()
        for loss in result.losses:
            played.simulation.violated(loss)
        for each in result.outcomes:
            silences[each.event] = max(silences.get(each.event, 0.0), each.silence)
        simulation = played.simulation
    trace = simulation.trace if whole_trace else _around_the_violation(simulation.trace)
    return Outcome(
        seed,
        simulation.world.now,
        simulation.world.performed,
        tuple(simulation.violations),
        tuple(trace),
        simulation.fingerprint,
        Counter({rung.value: times for rung, times in simulation.recoveries.items()}),
        tuple(_outages(simulation)),
        tuple(silences.values()),
        kinds,
        pairs,
    )


def _around_the_violation(trace: Sequence[str]) -> Sequence[str]:
    """Nothing where there is none."""
    at = next((number for number, line in enumerate(trace) if VIOLATION in line), None)
    return [] if at is None else trace[max(0, at - TRACE_BEFORE) : at + TRACE_AFTER]


def _outages(simulation: Simulation) -> Iterator[float]:
    lost_at: float | None = None
    for at, site, change in simulation.changes:
        if site != "client":
            continue
        if change.reason is Reason.STARTED:
            lost_at = None  # a crash has ended the one before
        elif change.after is State.RECONNECTING:
            lost_at = at
        elif change.after.is_up and lost_at is not None:
            yield at - lost_at
            lost_at = None
        elif change.after.is_final:
            lost_at = None


@dataclass(slots=True)
class Tally:
    """What the seeds so far come to."""

    seeds: int = 0
    simulated_seconds: float = 0.0
    events: int = 0
    rungs: Counter[str] = field(default_factory=Counter)
    outages: list[float] = field(default_factory=list)
    silences: list[float] = field(default_factory=list)
    first_seed: int | None = None
    last_seed: int | None = None
    longest: tuple[float, int] | None = None
    """The longest outage, and its seed."""
    kinds: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    violations: list[Outcome] = field(default_factory=list)
    began_at: float = field(default_factory=time.perf_counter)

    @property
    def took(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self.began_at

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.simulated_seconds += outcome.seconds
        self.events += outcome.events
        self.rungs.update(outcome.rungs)
        self.outages.extend(outcome.outages)
        self.silences.extend(outcome.silences)
        self.first_seed = min(outcome.seed, self.first_seed if self.first_seed is not None else outcome.seed)
        self.last_seed = max(outcome.seed, self.last_seed if self.last_seed is not None else outcome.seed)
        for outage in outcome.outages:
            if self.longest is None or outage > self.longest[0]:
                self.longest = outage, outcome.seed
        self.kinds.update(outcome.kinds)
        self.pairs.update(outcome.pairs)
        if outcome.violations:
            self.violations.append(outcome)


def run(
    scenario: str, seeds: Iterator[int], jobs: int, *, is_stopped: Callable[[], bool] = lambda: False
) -> Generator[Outcome, None, None]:
    """The outcomes of `seeds`, in no certain order, from as many processes as `jobs`.

    Once `is_stopped()`, those that have come are the last. Closing it ends the processes, amid a history too.

    Raises:
        RuntimeError: a process died.
    """
    workers: dict[Connection, SpawnProcess] = {}
    under_way: dict[Connection, list[int]] = {}

    def hand_out(connection: Connection) -> None:
        for seed in islice(seeds, 1):
            under_way[connection].append(seed)
            with contextlib.suppress(ConnectionError):  # it died; the next read says so
                connection.send(seed)

    try:
        for _ in range(jobs):
            connection, process = _start_worker(scenario)
            workers[connection], under_way[connection] = process, []
        for _ in range(SEEDS_AHEAD):
            for connection in workers:
                hand_out(connection)
        while busy := [connection for connection, given in under_way.items() if given]:
            stopped = is_stopped()
            ready = wait(busy, 0.0 if stopped else STOP_LOOK_INTERVAL)
            if stopped and not ready:
                return
            for connection in busy:
                if connection in ready:
                    outcome = _outcome(connection, workers[connection])
                    under_way[connection].remove(outcome.seed)
                    if not stopped:
                        hand_out(connection)
                    yield outcome
    finally:
        for process in workers.values():
            process.terminate()
        for connection, process in workers.items():
            process.join()
            connection.close()


def _outcome(connection: Connection, process: SpawnProcess) -> Outcome:
    try:
        outcome: Outcome = connection.recv()
    except (EOFError, ConnectionError) as error:
        process.join()
        raise RuntimeError(f"a process that plays histories died, with exit code {process.exitcode}") from error
    return outcome


def _start_worker(scenario: str) -> tuple[Connection, SpawnProcess]:
    context = multiprocessing.get_context("spawn")
    connection, theirs = context.Pipe()
    process = context.Process(target=_work, args=(scenario, theirs), daemon=True)
    with _interrupts_left_to_the_parent():
        process.start()
    theirs.close()  # so that the end of either process is seen by the other
    return connection, process


@contextlib.contextmanager
def _interrupts_left_to_the_parent() -> Iterator[None]:
    """A process that is started within inherits it, from its first instruction on."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _work(scenario: str, connection: Connection) -> None:
    """Play the seeds that come, in a process of its own, until the other end is gone."""
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            connection.send(simulate(scenario, connection.recv()))
