"""`perdure simulate`."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from contextlib import closing
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perdure.cli.exit_codes import ExitCode
from perdure.cli.running import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from perdure.scenario.results import Quantiles
    from perdure.sim.course import Outcome, Tally

DEFAULT_SEEDS = 200
"""Some 70 hours of a bad network, in some 10 s."""

DEFAULT_FIRST = 1

Scenario = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="One of the lab's built-in scenarios (no file), or chaos: everything is drawn from the seed.",
    ),
]
Seeds = Annotated[
    int | None,
    typer.Option(min=1, show_default=str(DEFAULT_SEEDS), help="So many histories, of the seeds from --first on."),
]
First = Annotated[int | None, typer.Option(min=0, show_default=str(DEFAULT_FIRST), help="The first seed.")]
Hours = Annotated[float | None, typer.Option(help="Instead of --seeds: go on until so many hours are simulated.")]
Seed = Annotated[int | None, typer.Option(min=0, help="This one history, alone.")]
Trace = Annotated[bool, typer.Option("--trace", help="With --seed: print all that happened.")]
Jobs = Annotated[int | None, typer.Option(min=0, max=256, show_default="0", help="Processes; 0: one for each core.")]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there as JSON.")]


def simulate(
    scenario: Scenario = "chaos",
    seeds: Seeds = None,
    first: First = None,
    hours: Hours = None,
    seed: Seed = None,
    trace: Trace = False,
    jobs: Jobs = None,
    json_file: JsonFile = None,
) -> None:
    """Two peers, their signaling and a bad network in virtual time: thousands of histories, each from its seed.

    Checked at every step: each stream's bytes arrive in order, once and unaltered; no stream opens to a target that is
    not allowed; buffers stay within their bounds, restarts within the storm budget; states change as they may, and
    signals are well formed. At the end: 30 s after the network is good again, all is connected and all is delivered.
    (The lab's scenarios end sooner: there, no connection and no byte may be lost.)

    An outage lasts from when the client's end noticed that the path was gone until it was back, the time without any
    network included. A silence, which scenarios have, lasts from the last byte before a measured step to the next.

    A fingerprint is the same where a history is the same. `perdure lab list` names the scenarios.

    Exits with 1 where anything was violated, and says how to replay it. Ctrl-C ends it with the figures so far.
    """
    from perdure.scenario.library import names
    from perdure.scenario.reading import nearest
    from perdure.sim import course

    known = [course.CHAOS, *names()]
    if scenario not in known:
        raise typer.BadParameter(
            f"there is no scenario {scenario!r}; {nearest(scenario, known)}", param_hint="--scenario"
        )
    if trace and seed is None:
        raise typer.BadParameter("it shows one history: give its --seed", param_hint="--trace")
    if seed is not None and not (seeds is first is hours is jobs is None):
        raise typer.BadParameter(
            "that is one history; leave --seeds, --first, --hours and --jobs out", param_hint="--seed"
        )
    if hours is not None:
        if not (math.isfinite(hours) and hours > 0):
            raise typer.BadParameter(f"{hours:g} is not a number of hours above 0", param_hint="--hours")
        if seeds is not None:
            raise typer.BadParameter("it goes on until they are simulated; leave --seeds out", param_hint="--hours")
    if json_file is not None and not json_file.parent.is_dir():
        raise typer.BadParameter(f"{json_file} cannot be written: there is no such folder", param_hint="--json")
    if json_file is not None and json_file.is_dir():
        raise typer.BadParameter(f"{json_file} cannot be written: it is a folder", param_hint="--json")
    tally = course.Tally()
    interrupted = failure = ""
    if seed is None:
        try:
            interrupted = _run(scenario, first if first is not None else DEFAULT_FIRST, seeds, hours, jobs, tally)
        except RuntimeError as error:
            failure = f"perdure: {error}; what came before it is told"
    else:
        try:
            outcome = course.simulate(scenario, seed, whole_trace=trace)
        except KeyboardInterrupt:
            interrupted = "interrupted"
        else:
            tally.add(outcome)
            if trace:
                say("\n".join(outcome.trace))
            say(f"fingerprint {outcome.fingerprint}")
    if tally.seeds:
        _report(scenario, tally, interrupted, shows_trace=trace)
    elif interrupted:
        say("interrupted before a history had ended")
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(_figures(scenario, tally, interrupted), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            typer.echo(f"perdure: {json_file} cannot be written: {error.strerror}", err=True)
            raise typer.Exit(ExitCode.FAILED) from error
    if failure:
        typer.echo(failure, err=True)
    if tally.violations or failure:
        raise typer.Exit(ExitCode.FAILED)
    if interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)


TELL_INTERVAL = 60.0
"""Seconds between two lines about the progress where there is no terminal to draw a bar on."""


def _run(scenario: str, first: int, seeds: int | None, hours: float | None, jobs: int | None, tally: Tally) -> str:
    """Fill `tally`; how far it came, where Ctrl-C ended it."""
    from rich.console import Console
    from rich.progress import Progress

    from perdure.sim import course

    many = seeds or DEFAULT_SEEDS
    processes = jobs or os.cpu_count() or 1
    wanted: Iterator[int] = count(first)
    if hours is None:
        wanted, processes = islice(wanted, many), min(processes, many)
    interrupts = _Interrupts()
    outcomes = course.run(scenario, wanted, processes, is_stopped=lambda: interrupts.came)
    console, told_at = Console(stderr=True), time.monotonic()
    with interrupts, closing(outcomes), Progress(console=console, transient=True) as progress:
        bar = progress.add_task(scenario, total=many if hours is None else hours * 3600)
        for outcome in outcomes if hours is None else _in_order(outcomes, first):
            tally.add(outcome)
            if outcome.violations:
                console.print(f"seed {outcome.seed}: {outcome.violations[0]}", markup=False, soft_wrap=True)
            if not console.is_terminal and time.monotonic() - told_at >= TELL_INTERVAL:
                told_at = time.monotonic()
                so_far = _counted(tally.seeds, "history", "histories")
                console.print(f"{so_far} after {_duration(tally.took)}; {len(tally.violations):,} violated something")
            progress.update(bar, completed=tally.seeds if hours is None else tally.simulated_seconds)
            if hours is not None and tally.simulated_seconds >= hours * 3600:
                return ""
    if hours is not None:
        return f"interrupted: {tally.simulated_seconds / 3600:,.1f} of {hours:,g} hours"
    return f"interrupted: {tally.seeds:,} of {many:,}" if tally.seeds < many else ""


def _in_order(outcomes: Iterable[Outcome], seed: int) -> Iterator[Outcome]:
    """From `seed` on, none left out: those that end first are the short and quiet ones."""
    early: dict[int, Outcome] = {}
    for outcome in outcomes:
        early[outcome.seed] = outcome
        while (found := early.pop(seed, None)) is not None:
            yield found
            seed += 1


class _Interrupts:
    """While it lasts, Ctrl-C is only noted: no outcome is lost halfway into the tally."""

    def __init__(self) -> None:
        self.came = False

    def __enter__(self) -> None:
        self._handler = signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._handler)

    def _note(self, number: int, frame: object) -> None:
        self.came = True


def _report(scenario: str, tally: Tally, interrupted: str, *, shows_trace: bool) -> None:
    from perdure.scenario.results import quantiles

    took = max(tally.took, 1e-9)
    say(
        f"{_counted(tally.seeds, 'history', 'histories')} of {scenario} ({_seeds(tally)}), "
        f"{_duration(tally.simulated_seconds)} of a "
        f"tunnel in {_duration(took)}: {tally.simulated_seconds / took:,.0f} times as fast as life, "
        f"{tally.events / took:,.0f} events a second"
    )
    rungs = ", ".join(f"{count:,} × {rung}" for rung, count in tally.rungs.most_common())
    say(f"recoveries: {rungs or 'none'}")
    longest = f" (seed {tally.longest[1]})" if tally.longest is not None and tally.seeds > 1 else ""
    _say_spread("outages", quantiles(tally.outages), longest)
    _say_spread("silences", quantiles(tally.silences), "")
    if tally.kinds:
        faults = ", ".join(f"{kind} {count:,}" for kind, count in tally.kinds.most_common())
        say(f"faults: {tally.kinds.total():,} of {_counted(len(tally.kinds), 'kind', 'kinds')}: {faults}")
    if tally.pairs:
        rarest = _counted(min(tally.pairs.values()), "time", "times")
        possible = len(tally.kinds) * (len(tally.kinds) + 1) // 2
        say(f"pairs of kinds that met: {len(tally.pairs):,} of {possible:,}; the rarest {rarest}")
    for outcome in tally.violations:
        say(f"\nVIOLATED in seed {outcome.seed}: {outcome.violations[0]}")
        if not shows_trace:
            say("\n".join(outcome.trace))
        say(f"all of it: perdure simulate --scenario {scenario} --seed {outcome.seed} --trace")
    if interrupted:
        say(interrupted)
    say(
        f"{len(tally.violations):,} of {_counted(tally.seeds, 'history', 'histories')} violated something"
        if tally.violations
        else "nothing was violated"
    )


def _say_spread(name: str, spread: Quantiles | None, where: str) -> None:
    """Of silences too short to be kept only the bound is known."""
    from perdure.scenario.results import SILENCE_FLOOR

    if spread is None:
        return
    p50, p95, worst = (
        _duration(seconds) if seconds else f"< {_duration(SILENCE_FLOOR)}"
        for seconds in (spread.p50, spread.p95, spread.worst)
    )
    if spread.count == 1:
        say(f"{name}: 1, of {worst}")
    else:
        say(f"{name}: {spread.count:,}; half of them within {p50}, 95 % within {p95}, the longest {worst}{where}")


def _seeds(tally: Tally) -> str:
    return f"seed {tally.first_seed}" if tally.seeds == 1 else f"seeds {tally.first_seed} to {tally.last_seed}"


def _counted(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def _duration(seconds: float) -> str:
    """`62 ms`, `1.3 s`, `59.9 s`, `1 min 48 s`, `20.6 minutes`, `4.1 hours`: a longer one never looks shorter."""
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    if round(seconds) < 600:
        return f"{round(seconds) // 60} min {round(seconds) % 60} s"
    if round(seconds / 60, 1) < 60:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:,.1f} hours"


def _figures(scenario: str, tally: Tally, interrupted: str) -> dict[str, Any]:
    """Outages and silences are in seconds."""
    from perdure import __version__
    from perdure.scenario.results import quantiles

    spreads = {"outages": quantiles(tally.outages), "silences": quantiles(tally.silences)}
    return {
        "perdure": __version__,
        "scenario": scenario,
        "seeds": tally.seeds,
        "first_seed": tally.first_seed,
        "last_seed": tally.last_seed,
        "interrupted": bool(interrupted),
        "simulated_seconds": round(tally.simulated_seconds, 3),
        "took_seconds": tally.took,
        "events": tally.events,
        "recoveries": dict(tally.rungs),
        **{
            name: None
            if spread is None
            else {"count": spread.count, "p50": spread.p50, "p95": spread.p95, "worst": spread.worst}
            for name, spread in spreads.items()
        },
        "faults": dict(tally.kinds),
        "pairs": [{"kinds": list(pair), "count": count} for pair, count in sorted(tally.pairs.items())],
        "violations": [
            {"seed": outcome.seed, "violations": list(outcome.violations), "trace": list(outcome.trace)}
            for outcome in tally.violations
        ],
    }
