"""Many seeds, side by side in processes, and what they come to."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from bisect import insort
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from perdure.core.state import Reason, State
from perdure_lab.scenario import figures
from perdure_lab.scenario.figures import Measure
from perdure_lab.scenario.library import load
from perdure_lab.sim.chaos import Chaos
from perdure_lab.sim.play import Play
from perdure_lab.sim.simulation import Simulation, error_text
from perdure_lab.sim.surroundings import VIOLATION

CHAOS = "chaos"
"""The scenario in which everything is drawn from the seed."""

SEEDS_AHEAD = 3
"""Given to a process at once: the one that it plays, and two so that it never waits for the reader of its outcomes."""

END_TIMEOUT = 5.0
"""Seconds for a process that was killed to be gone: milliseconds, but for one that hangs in the kernel."""

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
    recoveries: Counter[str]
    """Recoveries that either end began, by their action."""
    outages: tuple[float, ...]
    """Seconds that the client's tube was not up, each time that it came back."""
    silences: tuple[float, ...] = ()
    """Seconds without a byte: of chaos, each of `application.Ledger`; of a scenario, the longest of each measured step,
    or what of it is left behind the step (`measure`)."""
    kinds: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)


def simulate(scenario: str, seed: int, *, whole_trace: bool = False) -> Outcome:
    """One history of `scenario`, a name of the library's or `CHAOS`; an error in it is a violation."""
    played: Chaos | Play | None = None
    silences: tuple[float, ...] = ()
    try:
        if scenario == CHAOS:
            played = Chaos(seed)
            played.run()
            silences = tuple(played.simulation.ledger.silences)
        else:
            described = load(scenario)
            played = Play(described, seed)
            silences = _silences(played, figures.main_measure(described.expectation))
    except Exception as error:  # the simulator's own, which must not end the other seeds' histories
        if played is None:
            return _unbegun(seed, error)
        played.simulation.violated(error_text(error))
    simulation = played.simulation
    trace = simulation.trace if whole_trace else _around_the_violation(simulation.trace)
    return Outcome(
        seed,
        simulation.world.now,
        simulation.world.performed,
        tuple(simulation.violations),
        tuple(trace),
        simulation.fingerprint,
        Counter({action.value: times for action, times in simulation.recoveries.items()}),
        tuple(_outages(simulation)),
        silences,
        played.faults.kinds if isinstance(played, Chaos) else Counter(),
        played.faults.pairs if isinstance(played, Chaos) else Counter(),
    )


def measure(scenario: str) -> Measure:
    """What the silences of its outcomes are."""
    return "silence" if scenario == CHAOS else figures.main_measure(load(scenario).expectation)


def _silences(played: Play, measure: Measure) -> tuple[float, ...]:
    """Play it; the longest of each measured step."""
    silences: dict[int, float] = {}
    result = played.run()
    for loss in result.losses:
        played.simulation.violated(loss)
    for each in result.outcomes:
        seconds = each.silence if measure == "silence" else each.after
        silences[each.event] = max(silences.get(each.event, 0.0), seconds)
    return tuple(silences.values())


def _unbegun(seed: int, error: Exception) -> Outcome:
    """What could not even be made."""
    text = error_text(error)
    return Outcome(seed, 0.0, 0, (f"at the beginning: {text}",), (f"{VIOLATION}: {text}",), "", Counter(), ())


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
    recoveries: Counter[str] = field(default_factory=Counter)
    outages: list[float] = field(default_factory=list)
    silences: list[float] = field(default_factory=list)
    first_seed: int | None = None
    last_seed: int | None = None
    longest: tuple[float, int] | None = None
    """The longest outage, and its seed."""
    kinds: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    violations: list[Outcome] = field(default_factory=list)
    """By their seeds."""
    began_at: float = field(default_factory=time.perf_counter)

    @property
    def took(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self.began_at

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.simulated_seconds += outcome.seconds
        self.events += outcome.events
        self.recoveries.update(outcome.recoveries)
        self.outages.extend(outcome.outages)
        self.silences.extend(outcome.silences)
        self.first_seed = min(outcome.seed, self.first_seed if self.first_seed is not None else outcome.seed)
        self.last_seed = max(outcome.seed, self.last_seed if self.last_seed is not None else outcome.seed)
        for outage in outcome.outages:
            if self.longest is None or (outage, -outcome.seed) > (self.longest[0], -self.longest[1]):
                self.longest = outage, outcome.seed
        self.kinds.update(outcome.kinds)
        self.pairs.update(outcome.pairs)
        if outcome.violations:
            insort(self.violations, outcome, key=lambda violated: violated.seed)


def run(
    scenario: str, seeds: Iterator[int], jobs: int, *, is_stopped: Callable[[], bool] = lambda: False
) -> Generator[Outcome, None, None]:
    """The outcomes of `seeds`, in no certain order, from as many processes as `jobs`.

    Once `is_stopped()`, those that have come are the last. Closing it ends the processes, amid a history too.

    Raises:
        RuntimeError: a process died, or could not be started.
    """
    workers: dict[Connection, SpawnProcess] = {}
    under_way: dict[Connection, list[int]] = {}
    """The seeds that each process has, in the order in which it plays them."""

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
                    try:
                        outcome: Outcome = connection.recv()
                    except (EOFError, OSError) as error:
                        death = _death(workers[connection], scenario, under_way[connection])
                        raise RuntimeError(death) from error
                    under_way[connection].remove(outcome.seed)
                    if not stopped:
                        hand_out(connection)
                    yield outcome
    finally:
        for process in workers.values():
            process.kill()  # it has nothing to put in order, and one that is stopped takes nothing else
        for connection, process in workers.items():
            process.join(END_TIMEOUT)
            connection.close()


def _death(process: SpawnProcess, scenario: str, seeds: Sequence[int]) -> str:
    """What ended it, what it had to play, and what to do."""
    process.join(END_TIMEOUT)
    code = process.exitcode
    if code is None:
        how = "cannot be reached any more"
    elif code >= 0:
        how = f"ended with exit code {code}"
    else:
        how = f"was ended by {_signal_name(-code)}"
    held = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}, and was at the first"
    return (
        f"a process that plays histories {how}; it had {held}: "
        f"`perdure simulate --scenario {scenario} --seed {seeds[0]}` plays that again"
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time one
        return f"signal {number}"


def _start_worker(scenario: str) -> tuple[Connection, SpawnProcess]:
    context = multiprocessing.get_context("spawn")
    connection, theirs = context.Pipe()
    process = context.Process(target=_work, args=(scenario, theirs), daemon=True)
    try:
        with _signals_left_to_the_parent():
            process.start()
    except OSError as error:
        raise RuntimeError(f"a process that plays histories could not be started: {error.strerror}") from error
    theirs.close()  # so that the end of either process is seen by the other
    return connection, process


@contextlib.contextmanager
def _signals_left_to_the_parent() -> Iterator[None]:
    """A process that is started within never gets those that ask a whole group to end; here they come afterwards."""
    resource_tracker.ensure_running()  # starting it, as the first process would, lets two of them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(scenario: str, connection: Connection) -> None:
    """Play the seeds that come, in a process of its own, until the other end is gone."""
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            connection.send(simulate(scenario, connection.recv()))
