"""`perdure simulate`."""

from __future__ import annotations

import json
import os
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perdure.cli.exit_codes import ExitCode
from perdure.cli.running import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure.sim.course import Tally

DEFAULT_SEEDS = 200
"""Some 70 hours of a bad network, in some 10 s."""

Scenario = Annotated[
    str, typer.Option(metavar="NAME", help="A scenario of the lab's, or chaos: everything is drawn from the seed.")
]
Seeds = Annotated[int | None, typer.Option(min=1, help="So many histories, of the seeds from --first on.")]
First = Annotated[int, typer.Option(min=0, help="The first seed.")]
Hours = Annotated[float | None, typer.Option(min=0.0, help="Go on until so many hours are simulated.")]
Seed = Annotated[int | None, typer.Option(min=0, help="This one history.")]
Trace = Annotated[bool, typer.Option("--trace", help="With --seed: print all that happened.")]
Jobs = Annotated[int, typer.Option(min=0, max=256, help="Processes; 0: one for each core.")]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there as JSON.")]


def simulate(
    scenario: Scenario = "chaos",
    seeds: Seeds = None,
    first: First = 1,
    hours: Hours = None,
    seed: Seed = None,
    trace: Trace = False,
    jobs: Jobs = 0,
    json_file: JsonFile = None,
) -> None:
    """Two peers, their signaling and a bad network in virtual time: thousands of histories, each from its seed.

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
    if seed is not None and (seeds is not None or hours is not None):
        raise typer.BadParameter("that is one history; leave --seeds and --hours out", param_hint="--seed")
    if json_file is not None and not json_file.parent.is_dir():
        raise typer.BadParameter(f"{json_file} cannot be written: there is no such folder", param_hint="--json")
    tally = course.Tally()
    if seed is not None:
        outcome = course.simulate(scenario, seed, whole_trace=trace)
        tally.add(outcome)
        if trace:
            say("\n".join(outcome.trace))
        say(f"fingerprint {outcome.fingerprint}")
    else:
        wanted = count(first) if hours is not None else range(first, first + (seeds or DEFAULT_SEEDS))
        was_interrupted = _run(scenario, wanted, jobs or os.cpu_count() or 1, tally, hours)
    _report(scenario, tally, shows_trace=trace)
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(_figures(scenario, tally), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            typer.echo(f"perdure: {json_file} cannot be written: {error.strerror}", err=True)
            raise typer.Exit(ExitCode.FAILED) from error
    if tally.violations:
        raise typer.Exit(ExitCode.FAILED)
    if seed is None and was_interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)


def _run(scenario: str, seeds: Iterable[int], jobs: int, tally: Tally, hours: float | None) -> bool:
    """Fill `tally`; whether Ctrl-C ended it."""
    from rich.console import Console
    from rich.progress import Progress

    from perdure.sim import course

    total = hours * 3600 if hours is not None else float(len(seeds)) if isinstance(seeds, range) else None
    outcomes = course.run(scenario, iter(seeds), jobs)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(scenario, total=total)
        try:
            for outcome in outcomes:
                tally.add(outcome)
                progress.update(bar, completed=tally.simulated_seconds if hours is not None else tally.seeds)
                if hours is not None and tally.simulated_seconds >= hours * 3600:
                    break
        except KeyboardInterrupt:
            return True
        finally:
            outcomes.close()
    return False


def _report(scenario: str, tally: Tally, *, shows_trace: bool) -> None:
    from perdure.lab.results import quantiles

    hours, took = tally.simulated_seconds / 3600, max(tally.took, 1e-9)
    say(
        f"{tally.seeds:,} histories of {scenario}, {hours:,.1f} hours of a tunnel in {took:,.1f} s: "
        f"{tally.simulated_seconds / took:,.0f} times as fast as life, {tally.events / took:,.0f} events a second"
    )
    rungs = ", ".join(f"{count:,} × {rung}" for rung, count in tally.rungs.most_common())
    say(f"recoveries: {rungs or 'none'}")
    if (outages := quantiles(tally.outages)) is not None:
        say(
            f"outages: {outages.count:,}; half of them under {outages.p50:.3f} s, 95 % under {outages.p95:.1f} s, "
            f"the longest {outages.worst:.0f} s"
        )
    if tally.kinds:
        faults = ", ".join(f"{kind} {count:,}" for kind, count in tally.kinds.most_common())
        say(f"faults: {tally.kinds.total():,} of {len(tally.kinds)} kinds: {faults}")
        say(f"pairs of kinds that met: {len(tally.pairs)}; the rarest {min(tally.pairs.values(), default=0)} times")
    for outcome in tally.violations:
        say(f"\nVIOLATED in seed {outcome.seed}: {outcome.violations[0]}")
        if not shows_trace:
            say("\n".join(outcome.trace))
        say(f"all of it: perdure simulate --scenario {scenario} --seed {outcome.seed} --trace")
    say(
        f"{len(tally.violations)} of {tally.seeds:,} histories violated something"
        if tally.violations
        else "nothing was violated"
    )


def _figures(scenario: str, tally: Tally) -> dict[str, Any]:
    """Seconds are floats."""
    from perdure.lab.results import quantiles

    outages = quantiles(tally.outages)
    return {
        "scenario": scenario,
        "seeds": tally.seeds,
        "simulated_seconds": round(tally.simulated_seconds, 3),
        "took_seconds": tally.took,
        "events": tally.events,
        "recoveries": dict(tally.rungs),
        "outages": None
        if outages is None
        else {"count": outages.count, "p50": outages.p50, "p95": outages.p95, "worst": outages.worst},
        "faults": dict(tally.kinds),
        "pairs": [{"kinds": list(pair), "count": count} for pair, count in sorted(tally.pairs.items())],
        "violations": [
            {"seed": outcome.seed, "violations": list(outcome.violations), "trace": list(outcome.trace)}
            for outcome in tally.violations
        ],
    }
