"""`perdure simulate`."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import signal
import sys
import time
from contextlib import closing
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perdure.cli.exit_codes import ExitCode
from perdure.cli.running import STOPS, output_failed, say, try_to_write, warn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

    from rich.progress import Progress

    from perdure_lab.sim.course import Outcome, Tally
    from perdure_lab.sim.summary import Wanted

DEFAULT_SEEDS = 200
"""Some 70 hours of a bad network, in some 10 s."""

DEFAULT_FIRST = 1


@click.command(short_help="Play thousands of bad networks in virtual time.")
@click.option(
    "--scenario",
    metavar="NAME",
    default="chaos",
    help="One of the lab's built-in scenarios (no file), or chaos: everything is drawn from the seed.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    metavar="COUNT",
    show_default=str(DEFAULT_SEEDS),
    help="So many histories, of the seeds from --first on.",
)
@click.option(
    "--first", type=click.IntRange(min=0), metavar="SEED", show_default=str(DEFAULT_FIRST), help="The first seed."
)
@click.option(
    "--hours", type=float, metavar="HOURS", help="Instead of --seeds: go on until so many hours are simulated."
)
@click.option("--seed", type=click.IntRange(min=0), metavar="SEED", help="This one history, alone.")
@click.option("--trace", is_flag=True, help="With --seed: print all that happened.")
@click.option(
    "--jobs",
    type=click.IntRange(0, 256),
    metavar="PROCESSES",
    show_default="0",
    help="Processes; 0: one for each core that it may use.",
)
@click.option("--json", "json_file", metavar="FILE", help="Write the figures there as JSON.")
def simulate(
    scenario: str,
    seeds: int | None,
    first: int | None,
    hours: float | None,
    seed: int | None,
    trace: bool,
    jobs: int | None,
    json_file: str | None,
) -> None:
    """Two peers, their signaling and a bad network in virtual time: thousands of histories, each from its seed.

    Checked at every step: each stream's bytes arrive in order, once and unaltered; no stream opens to a target that is
    not allowed; buffers stay within their bounds, restarts within the restart limit; states change as they may, and
    signals are well formed. At the end: 30 s after the network is good again, all is connected and all is delivered.
    (The lab's scenarios end sooner: there, no connection and no byte may be lost.)

    An outage lasts from when the client's end noticed that the path was gone until it was back, the time without any
    network included. A silence lasts while bytes are on their way in a stream and none comes; of a scenario, the
    longest of each measured step counts, or what of it is left once the network is back.

    A fingerprint is the same where a history is the same. `perdure lab list` names the scenarios.

    Exits with 1 where anything was violated, and says how to replay it. Ctrl-C, SIGTERM and SIGHUP end it with the
    figures so far, in FILE too, and with 130; a second one ends it at once.
    """
    with _Interrupts() as interrupts:
        from perdure_lab.sim import course, summary

        _check(scenario, seeds, first, hours, seed, jobs, trace=trace)
        path = None if json_file is None else _checked(json_file)
        wanted = summary.Wanted(
            scenario,
            first if first is not None else DEFAULT_FIRST,
            1 if seed is not None else seeds or DEFAULT_SEEDS,
            hours,
        )
        tally, failure, fingerprint = course.Tally(), None, None
        try:
            if seed is None:
                _run(wanted, jobs or _cores(), tally, interrupts)
            else:
                fingerprint = _play_one(scenario, seed, tally, interrupts, trace=trace)
        except RuntimeError as error:
            failure = str(error)
        cut_short = "" if wanted.is_met(tally) else "ended early" if failure else "interrupted"
        if tally.seeds:
            for line in summary.lines(wanted, tally, cut_short, shows_trace=trace):
                say(line)
        elif cut_short:
            say(f"{cut_short} before a history had ended")
        if failure:
            warn(f"perdure: {failure}")
        is_written = path is None or _is_written(path, summary.figures(wanted, tally, cut_short, failure, fingerprint))
    if tally.violations or failure or output_failed() or not is_written:
        sys.exit(ExitCode.FAILED)
    if cut_short:
        sys.exit(ExitCode.INTERRUPTED)


def _check(
    scenario: str,
    seeds: int | None,
    first: int | None,
    hours: float | None,
    seed: int | None,
    jobs: int | None,
    *,
    trace: bool,
) -> None:
    from perdure.fields import nearest
    from perdure_lab.scenario.library import names
    from perdure_lab.sim.course import CHAOS

    known = [CHAOS, *names()]
    if scenario not in known:
        raise click.BadParameter(
            f"there is no scenario {scenario!r}; {nearest(scenario, known)}", param_hint="--scenario"
        )
    if trace and seed is None:
        raise click.BadParameter("it shows one history: give its --seed", param_hint="--trace")
    if seed is not None and not (seeds is first is hours is jobs is None):
        raise click.BadParameter(
            "that is one history; leave --seeds, --first, --hours and --jobs out", param_hint="--seed"
        )
    if hours is not None:
        if not (math.isfinite(hours) and hours > 0):
            raise click.BadParameter(f"{hours:g} is not a number of hours above 0", param_hint="--hours")
        if seeds is not None:
            raise click.BadParameter("it goes on until they are simulated; leave --seeds out", param_hint="--hours")


def _checked(json_file: str) -> Path:
    """Where the JSON goes, found to be writable: otherwise that would be seen after hours of histories."""
    if json_file in ("", "-"):
        text = "a file name is missing" + ("; - is not one" if json_file else "")
        raise click.BadParameter(text, param_hint="--json")
    path = Path(json_file)
    try:
        if path.is_dir():
            why = "it is a folder"
        elif path.parent.is_dir():
            try_to_write(path)
            return path
        elif path.parent.exists():
            why = f"{path.parent} is not a folder"
        else:
            why = "there is no such folder"
    except OSError as error:
        why = str(error.strerror)
    raise click.BadParameter(f"{path} cannot be written: {why}", param_hint="--json")


def _is_written(path: Path, figures: dict[str, Any]) -> bool:
    """Write them; whether that could be done."""
    try:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        warn(f"perdure: {path} cannot be written: {error.strerror}")
        return False
    return True


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Interrupts:
    """While it lasts, Ctrl-C and the like are only noted: no outcome is lost halfway into the tally.

    A second one ends the process at once; those that it has started end with it.
    """

    def __init__(self) -> None:
        self.came = False
        self.breaks_in = False
        """Whether the first is a KeyboardInterrupt as well."""

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._note) for number in STOPS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        if self.came:
            os._exit(ExitCode.INTERRUPTED)
        self.came = True
        if self.breaks_in:
            raise KeyboardInterrupt


def _play_one(scenario: str, seed: int, tally: Tally, interrupts: _Interrupts, *, trace: bool) -> str | None:
    """Fill `tally`; its fingerprint, or `None` where it was interrupted."""
    from perdure_lab.sim import course

    try:
        interrupts.breaks_in = not interrupts.came
        if interrupts.came:
            return None
        outcome = course.simulate(scenario, seed, whole_trace=trace)
        interrupts.breaks_in = False
    except KeyboardInterrupt:
        return None
    tally.add(outcome)
    if trace:
        say("\n".join(outcome.trace))
    say(f"fingerprint {outcome.fingerprint}")
    return outcome.fingerprint


TELL_INTERVAL = 60.0
"""Seconds between two lines about the progress where there is no terminal to draw a bar on."""


def _run(wanted: Wanted, processes: int, tally: Tally, interrupts: _Interrupts) -> None:
    """Fill `tally`, until there is what was wanted or an interrupt comes."""
    from perdure_lab.sim import course, summary

    seeds: Iterator[int] = count(wanted.first)
    if wanted.hours is None:
        seeds, processes = islice(seeds, wanted.seeds), min(processes, wanted.seeds)
    outcomes = course.run(wanted.scenario, seeds, processes, is_stopped=lambda: interrupts.came)
    with closing(outcomes), _Progress(wanted, tally) as progress:
        for outcome in outcomes if wanted.hours is None else _in_order(outcomes, wanted.first):
            tally.add(outcome)
            if outcome.violations:
                progress.tell(f"seed {outcome.seed}: {summary.headline(outcome)}")
            progress.update()
            if wanted.is_met(tally):
                return


class _Progress:
    """A bar where standard error is a terminal, and elsewhere a line each `TELL_INTERVAL`."""

    def __init__(self, wanted: Wanted, tally: Tally) -> None:
        self._wanted, self._tally = wanted, tally
        self._told_at = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr is not None and sys.stderr.isatty():
            self._bar = self._drawn()

    def _drawn(self) -> Progress | None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(file=_Passing.to(sys.stderr.fileno()))
        return Progress(console=console, transient=True) if console.is_interactive else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._bar.console.show_cursor(True)  # a second Ctrl-C would leave it hidden
            self._bar.add_task(self._wanted.scenario, total=self._wanted.total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tell(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, markup=False, soft_wrap=True)
        else:
            warn(line)

    def update(self) -> None:
        tally = self._tally
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._wanted.done(tally))
        elif time.monotonic() - self._told_at >= TELL_INTERVAL:
            self._told_at = time.monotonic()
            from perdure_lab.sim.summary import counted, duration

            so_far = counted(tally.seeds, "history", "histories")
            warn(f"{so_far} after {duration(tally.took)}; {len(tally.violations):,} violated something")


class _Passing(io.TextIOWrapper):
    """A terminal for what may be lost: one that is gone, which SIGHUP tells of, ends nothing."""

    @classmethod
    def to(cls, descriptor: int) -> Self:
        file = open(descriptor, "wb", buffering=0, closefd=False)  # noqa: SIM115 (this closes it)
        return cls(file, errors="replace", write_through=True)

    def write(self, text: str, /) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)


MOST_EARLY = 1000
"""Outcomes that wait for one of before: no history takes as long as so many others."""


def _in_order(outcomes: Iterable[Outcome], seed: int) -> Iterator[Outcome]:
    """From `seed` on, none left out: those that end first are the short and quiet ones.

    Raises:
        RuntimeError: one does not end.
    """
    early: dict[int, Outcome] = {}
    for outcome in outcomes:
        early[outcome.seed] = outcome
        if len(early) > MOST_EARLY:
            raise RuntimeError(f"the history of seed {seed} does not end: {len(early):,} of later ones have")
        while (found := early.pop(seed, None)) is not None:
            yield found
            seed += 1
