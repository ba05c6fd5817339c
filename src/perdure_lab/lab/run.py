"""One run: the scenario's network is built, the subject started in it, traffic flows, and the steps happen.

Runs inside the private namespaces of its own process, see `perdure_lab.lab.inside`; everything ends with that process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, assert_never

import msgspec

from perdure_lab.lab.children import Child, LogLine
from perdure_lab.lab.listening import listens
from perdure_lab.lab.logbook import Logbook, Role
from perdure_lab.lab.network import Network
from perdure_lab.lab.relay import relay, relay_answers
from perdure_lab.lab.subject import CLIENT_PORT, RENDEZVOUS_PORT, Subject, filled
from perdure_lab.lab.tools import LabError
from perdure_lab.lab.topology import SERVICES
from perdure_lab.lab.traffic import Traffic
from perdure_lab.scenario.model import (
    Action,
    ClockJump,
    LinkChange,
    MappingLost,
    ProcessAction,
    ProcessChange,
    Scenario,
    Step,
)
from perdure_lab.scenario.results import NetworkEvent, RunResult, attribute

READY_TIMEOUT = 30.0
"""Seconds for the gateway to write the file that the client waits for."""

LISTEN_TIMEOUT = 5.0
"""Seconds for a rendezvous that is started again to listen. A peer's may never do so by TCP."""

WARM_UP_SECONDS = 1.0
"""Undisturbed traffic before the scenario's own time begins: starting is not what is measured."""

_HOOKS_FOLDER = Path(__file__).parent / "hooks"

_HOOK_FAILED = "lab-hook-failed"
"""The event of a line that `hooks/sitecustomize.py` writes: a step did not happen, so something else was measured."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run is doing."""

    phase: str
    elapsed: float = 0.0
    state: str = ""
    silent_for: float = 0.0


class Run:
    """One scenario with one subject, once.

    Args:
        on_progress: hears of it a few times a second.
        logs: a folder where what every program of the run logs is kept.
    """

    def __init__(
        self,
        scenario: Scenario,
        subject: Subject,
        seed: int,
        on_progress: Callable[[Progress], None],
        *,
        logs: Path | None = None,
    ) -> None:
        self._scenario = scenario
        self._subject = subject
        self._seed = seed
        self._on_progress = on_progress
        self._logs = logs
        self._network = Network(scenario, seed)
        self._traffic = Traffic(scenario.traffic.connections, scenario.traffic.rate, scenario.seconds)
        self._logbook = Logbook()
        self._children: dict[str, Child] = {}
        self._events: list[NetworkEvent] = []
        self._problems: list[str] = []
        self._directory = ""

    async def run(self) -> RunResult:
        """From the first namespace to the last byte.

        Raises:
            LabError: the network or the subject could not be set up.
        """
        self._say("building the network")
        await self._network.build()
        self._directory = tempfile.mkdtemp(prefix="perdure-lab-", dir="/run")
        self._say("starting the programs")
        await self._traffic.listen("gateway")
        await self._start_programs()
        await self._begin_traffic()
        if self._scenario.busy:
            await self._keep_busy()
        telling = asyncio.ensure_future(self._tell())
        await self._play()
        telling.cancel()
        self._say("letting the last bytes arrive")
        elapsed = self._traffic.elapsed
        await self._network.check()
        await self._traffic.finish()
        return self._result(elapsed)

    async def _start_programs(self) -> None:
        subject = self._subject
        if self._scenario.relay:
            told = self._problems.append
            await self._start_child(relay(log_file=self._log_file("relay"), on_end=told, on_log_lost=told))
            await self._while_all_is_well(relay_answers())
        if subject.rendezvous:
            await self._start("rendezvous", SERVICES, subject.rendezvous)
        await self._start("gateway", "gateway", subject.gateway, self._options())
        if subject.ready_file:
            await self._wait_for(Path(self._fill((subject.ready_file,))[0]))
        await self._start("client", "client", subject.client, self._options())

    def _options(self) -> list[str]:
        return options(self._scenario, self._subject, directory=self._directory, target_port=self._traffic.target_port)

    async def _start(self, name: str, namespace: str, words: tuple[str, ...], further: Sequence[str] = ()) -> None:
        def heard(line: LogLine) -> None:
            if line.get("event") == _HOOK_FAILED:
                self._problems.append(
                    f"the {name} could not do what a step says ({line.get('what')}): {line.get('error')}"
                )
            if self._subject.logs_events and name in ("client", "gateway"):
                role: Role = "client" if name == "client" else "gateway"
                self._logbook.heard(role, line)

        await self._start_child(
            Child(
                name,
                namespace,
                [*self._fill(words), *further],
                environment=self._environment(name),
                log_file=self._log_file(name),
                on_log=heard,
                on_end=self._problems.append,
                on_log_lost=self._problems.append,
            )
        )

    async def _start_child(self, child: Child) -> None:
        self._children[child.name] = child
        await child.start()

    def _fill(self, words: tuple[str, ...]) -> list[str]:
        return filled(words, directory=self._directory, target_port=self._traffic.target_port)

    def _environment(self, name: str) -> dict[str, str]:
        hooks: dict[str, str] = {}
        for action in (action for step in self._scenario.steps for action in step.actions):
            if isinstance(action, ClockJump) and action.process == name:
                hooks["PERDURE_LAB_CLOCK"] = str(self._clock_file(name))
            elif action == ProcessChange(name, ProcessAction.ROTATE) and self._subject.logs_events:
                hooks["PERDURE_LAB_ROTATE"] = "1"
        if not hooks:
            return {}
        return {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(_HOOKS_FOLDER), os.environ.get("PYTHONPATH")))),
            **hooks,
        }

    def _log_file(self, name: str) -> Path | None:
        if self._logs is None:
            return None
        return self._logs / f"{self._scenario.name}-{self._subject.name}-{self._seed}-{name}.log"

    def _clock_file(self, name: str) -> Path:
        return Path(self._directory, f"{name}.clock")

    async def _wait_for(self, path: Path) -> None:
        deadline = monotonic() + READY_TIMEOUT
        while not await asyncio.to_thread(path.exists):
            self._check_children()
            if monotonic() > deadline:
                raise LabError(f"the gateway did not write {path.name} within {READY_TIMEOUT:.0f} s")
            await asyncio.sleep(0.01)

    def _check_children(self) -> None:
        if self._problems:
            raise LabError(self._problems[0])

    async def _while_all_is_well(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it, and give up where a program has a problem meanwhile."""
        working = asyncio.ensure_future(work)
        while not working.done():
            await asyncio.wait({working}, timeout=0.1)
            if self._problems:
                working.cancel()
        self._check_children()
        working.result()

    async def _begin_traffic(self) -> None:
        await self._while_all_is_well(self._traffic.begin("client", CLIENT_PORT))
        await asyncio.sleep(WARM_UP_SECONDS)
        self._traffic.start_counting()
        self._logbook.begin()

    async def _keep_busy(self) -> None:
        """Every core, to the end of the run, with which these programs end."""
        for _ in range(len(os.sched_getaffinity(0))):
            await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")

    async def _tell(self) -> None:
        while True:
            silent_for = self._traffic.silent_for
            self._on_progress(Progress("running", self._traffic.elapsed, self._logbook.state, silent_for))
            await asyncio.sleep(0.2)

    async def _play(self) -> None:
        for step in self._scenario.steps:
            await asyncio.sleep(max(0.0, step.at - self._traffic.elapsed))
            await self._apply(step)
        await asyncio.sleep(max(0.0, self._scenario.seconds - self._traffic.elapsed))

    async def _apply(self, step: Step) -> None:
        began_at = self._traffic.elapsed
        for action in step.actions:
            await self._act(action)
        now = self._traffic.elapsed
        self._events.append(NetworkEvent(now, step.text, step.measured, now - began_at))

    async def _act(self, action: Action) -> None:
        match action:
            case LinkChange():
                await self._network.change(action)
            case MappingLost(name):
                await self._network.forget_mappings(name)
            case ProcessChange(process, process_action):
                await self._do(process, process_action)
            case ClockJump(process, seconds):
                self._clock_file(process).write_text(str(seconds), encoding="ascii")
                self._children[process].send(signal.SIGUSR1)
            case _:
                assert_never(action)

    async def _do(self, process: str, action: ProcessAction) -> None:
        child = self._children.get(process)
        if child is None:  # not every subject has a rendezvous
            return
        match action:
            case ProcessAction.STOP:
                child.send(signal.SIGSTOP)
            case ProcessAction.CONTINUE:
                child.send(signal.SIGCONT)
            case ProcessAction.KILL:
                await child.kill()
            case ProcessAction.START:
                await child.kill()
                await child.start()
                if process == "rendezvous" and child.pid is not None:
                    await self._while_it_begins(child.pid)
            case ProcessAction.ROTATE:
                if self._subject.logs_events:  # it is perdure, which knows the signal
                    child.send(signal.SIGUSR2)
            case _:
                assert_never(action)

    async def _while_it_begins(self, pid: int) -> None:
        """A rendezvous is back when it can be reached, not when its program begins."""
        deadline = monotonic() + LISTEN_TIMEOUT
        while not listens(pid, RENDEZVOUS_PORT):
            if monotonic() > deadline:
                return
            await asyncio.sleep(0.005)

    def _say(self, phase: str) -> None:
        self._on_progress(Progress(phase, self._traffic.elapsed, self._logbook.state))

    def _result(self, elapsed: float) -> RunResult:
        traffic, logbook, events = self._traffic, self._logbook, tuple(self._events)
        return RunResult(
            scenario=self._scenario.name,
            subject=self._subject.name,
            seed=self._seed,
            seconds=elapsed,
            impairment=self._network.impairment,
            events=events,
            states=logbook.states,
            actions_taken=logbook.actions_taken,
            silences=attribute(traffic.silences(), events),
            throughput=traffic.throughput,
            connections=traffic.connections,
            connections_kept=traffic.kept,
            bytes_sent=traffic.sent_bytes,
            bytes_lost=traffic.lost_bytes,
            bytes_wrong=traffic.wrong_bytes,
            problem=self._problems[0] if self._problems else None,
        )


def options(scenario: Scenario, subject: Subject, *, directory: str, target_port: int) -> list[str]:
    """Words after the gateway's and the client's own, filled in."""
    found = filled(subject.relay_options if scenario.relay else (), directory=directory, target_port=target_port)
    for name, value in scenario.settings.items():
        shown = msgspec.json.encode(value).decode()
        found += filled(subject.setting_options, directory=directory, target_port=target_port, name=name, value=shown)
    return found


def needs(scenario: Scenario) -> list[str]:
    """Programs that the scenario needs beside those of every run."""
    loses_mappings = any(isinstance(action, MappingLost) for step in scenario.steps for action in step.actions)
    return [*(["turnserver"] if scenario.relay else []), *(["conntrack"] if loses_mappings else [])]
