"""Many seeds, side by side in processes, and what they come to."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice

from perdure.core.decision import Rung
from perdure.core.state import State
from perdure.scenario.library import load
from perdure.sim.chaos import Chaos
from perdure.sim.play import Play
from perdure.sim.simulation import Simulation

CHAOS = "chaos"
"""The scenario in which everything is drawn from the seed."""

SEEDS_A_TASK = 10
"""Enough that handing a task to a process costs next to nothing, few enough for a progress bar."""

TRACE_TAIL = 40
"""Lines of a violation's trace that are shown without `--trace`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One seed's history, in short."""

    seed: int
    seconds: float
    """Simulated."""
    events: int
    violations: tuple[str, ...]
    trace: tuple[str, ...]
    """All of it, or its end where nobody asked for it; empty where nothing was violated."""
    fingerprint: str
    rungs: Counter[str]
    """Recoveries that either end began, by their rung."""
    outages: tuple[float, ...]
    """Seconds that the client's tube was not up, each time that it came back."""
    kinds: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)


def simulate(scenario: str, seed: int, *, whole_trace: bool = False) -> Outcome:
    """One history of `scenario`, a name of the library's or `CHAOS`."""
    kinds: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    if scenario == CHAOS:
        chaos = Chaos(seed)
        chaos.run()
        simulation, kinds, pairs = chaos.simulation, chaos.kinds, chaos.pairs
    else:
        played = Play(load(scenario), seed)
        for loss in played.run().losses:
            played.simulation.violated(loss)
        simulation = played.simulation
    trace = simulation.trace if whole_trace else simulation.trace[-TRACE_TAIL:] if simulation.violations else []
    begun = [decision.rung for _, _, decision in simulation.decisions if decision.trigger is not None]
    return Outcome(
        seed,
        simulation.world.now,
        simulation.world.performed,
        tuple(simulation.violations),
        tuple(trace),
        simulation.fingerprint,
        Counter(rung.value for rung in begun if rung in (Rung.ICE_RESTART, Rung.REBUILD)),
        tuple(_outages(simulation)),
        kinds,
        pairs,
    )


def _outages(simulation: Simulation) -> Iterator[float]:
    lost_at: float | None = None
    for at, site, change in simulation.changes:
        if site != "client":
            continue
        if change.after is State.RECONNECTING:
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
        self.kinds.update(outcome.kinds)
        self.pairs.update(outcome.pairs)
        if outcome.violations:
            self.violations.append(outcome)


def run(scenario: str, seeds: Iterator[int], jobs: int) -> Generator[Outcome, None, None]:
    """The outcomes of `seeds`, in no certain order, from as many processes as `jobs`.

    Closing it ends the processes.
    """
    if jobs == 1:
        for seed in seeds:
            yield simulate(scenario, seed)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_leave_interrupts_to_the_parent) as pool:
        under_way: set[Future[list[Outcome]]] = set()
        try:
            while True:
                while len(under_way) < 2 * jobs and (batch := list(islice(seeds, SEEDS_A_TASK))):
                    under_way.add(pool.submit(_simulate_all, scenario, batch))
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _simulate_all(scenario: str, seeds: list[int]) -> list[Outcome]:
    return [simulate(scenario, seed) for seed in seeds]
