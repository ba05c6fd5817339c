"""What was asked of the simulator, and what its histories came to: lines for a person, figures for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from perdure import __version__
from perdure_lab.scenario.results import SILENCE_FLOOR, Quantiles, quantiles
from perdure_lab.sim.course import Outcome, Tally, measure
from perdure_lab.sim.faults import possible_pairs


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for."""

    scenario: str
    first: int
    seeds: int
    hours: float | None
    """Instead of seeds."""

    @property
    def total(self) -> float:
        """Seeds, or simulated seconds."""
        return self.seeds if self.hours is None else self.hours * 3600

    def done(self, tally: Tally) -> float:
        """Of `total`."""
        return tally.seeds if self.hours is None else tally.simulated_seconds

    def is_met(self, tally: Tally) -> bool:
        return self.done(tally) >= self.total

    def so_far(self, tally: Tally) -> str:
        if self.hours is None:
            return f"{tally.seeds:,} of {self.seeds:,}"
        return f"{tally.simulated_seconds / 3600:,.1f} of {self.hours:,g} hours"


def lines(wanted: Wanted, tally: Tally, cut_short: str, *, shows_trace: bool) -> Iterator[str]:
    """For a person.

    Args:
        cut_short: how it ended, where that was before its time.
        shows_trace: whether the traces were printed already.
    """
    took = max(tally.took, 1e-9)
    yield (
        f"{counted(tally.seeds, 'history', 'histories')} of {wanted.scenario} ({_seeds(tally)}), "
        f"{duration(tally.simulated_seconds)} of a "
        f"tunnel in {duration(took)}: {tally.simulated_seconds / took:,.0f} times as fast as life, "
        f"{tally.events / took:,.0f} events a second"
    )
    recoveries = ", ".join(f"{count:,} × {action}" for action, count in _ranked(tally.recoveries))
    yield f"recoveries: {recoveries or 'none'}"
    longest = f" (seed {tally.longest[1]})" if tally.longest is not None and tally.seeds > 1 else ""
    yield from _spread("outages", quantiles(tally.outages), longest)
    when = "" if measure(wanted.scenario) == "silence" else " after the network is back"
    yield from _spread(f"silences{when}", quantiles(tally.silences), "")
    if tally.kinds:
        faults = ", ".join(f"{kind} {count:,}" for kind, count in _ranked(tally.kinds))
        yield f"faults: {tally.kinds.total():,} of {counted(len(tally.kinds), 'kind', 'kinds')}: {faults}"
    if tally.pairs:
        rarest = counted(min(tally.pairs.values()), "time", "times")
        yield f"pairs of kinds that met: {len(tally.pairs):,} of {possible_pairs(tally.kinds):,}; the rarest {rarest}"
    for outcome in tally.violations:
        yield f"\nVIOLATED in seed {outcome.seed}: {headline(outcome)}"
        if not shows_trace:
            yield from outcome.trace
        yield f"all of it: perdure simulate --scenario {wanted.scenario} --seed {outcome.seed} --trace"
    if cut_short:
        yield f"{cut_short}: {wanted.so_far(tally)}"
    if tally.violations:
        yield f"{len(tally.violations):,} of {counted(tally.seeds, 'history', 'histories')} violated something"
    else:
        yield "nothing was violated so far" if cut_short else "nothing was violated"


def headline(outcome: Outcome) -> str:
    """The first violation, without what is below it, as an error has."""
    return outcome.violations[0].partition("\n")[0]


def _ranked(counter: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent first, and by name where they are as frequent: not by whose process came first."""
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


def _spread(name: str, spread: Quantiles | None, where: str) -> Iterator[str]:
    """Of silences too short to be kept only the bound is known."""
    if spread is None:
        return
    p50, p95, worst = (
        duration(seconds) if seconds else f"< {duration(SILENCE_FLOOR)}"
        for seconds in (spread.p50, spread.p95, spread.worst)
    )
    if spread.count == 1:
        yield f"{name}: 1, of {worst}"
    else:
        yield f"{name}: {spread.count:,}; half of them within {p50}, 95 % within {p95}, the longest {worst}{where}"


def _seeds(tally: Tally) -> str:
    return f"seed {tally.first_seed}" if tally.seeds == 1 else f"seeds {tally.first_seed} to {tally.last_seed}"


def counted(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def duration(seconds: float) -> str:
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


def figures(
    wanted: Wanted, tally: Tally, cut_short: str, failure: str | None, fingerprint: str | None
) -> dict[str, Any]:
    """For JSON; outages and silences are in seconds."""
    spreads = {"outages": quantiles(tally.outages), "silences": quantiles(tally.silences)}
    return {
        "perdure": __version__,
        "scenario": wanted.scenario,
        "wanted": {"seeds": wanted.seeds} if wanted.hours is None else {"hours": wanted.hours},
        "seeds": tally.seeds,
        "first_seed": tally.first_seed,
        "last_seed": tally.last_seed,
        "interrupted": bool(cut_short) and failure is None,
        "failure": failure,
        "fingerprint": fingerprint,
        "simulated_seconds": round(tally.simulated_seconds, 3),
        "took_seconds": tally.took,
        "events": tally.events,
        "recoveries": dict(_ranked(tally.recoveries)),
        **{
            name: None
            if spread is None
            else {"count": spread.count, "p50": spread.p50, "p95": spread.p95, "worst": spread.worst}
            for name, spread in spreads.items()
        },
        "faults": dict(_ranked(tally.kinds)),
        "pairs": [{"kinds": list(pair), "count": count} for pair, count in sorted(tally.pairs.items())],
        "violations": [
            {"seed": outcome.seed, "violations": list(outcome.violations), "trace": list(outcome.trace)}
            for outcome in tally.violations
        ],
    }
