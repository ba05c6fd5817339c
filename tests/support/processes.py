"""perdure's commands, and other Python programs, as real processes: their lines can be awaited, and they always end.

Every process must end cleanly: a traceback, an `exception` in its log, or a SIGTERM that is not obeyed fails the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    LogLine = dict[str, object]

START_TIMEOUT = 15.0
"""Seconds for a process to say what it says at its start; a loaded two-core machine needs 2 s for three of them."""

STOP_TIMEOUT = 15.0
"""Seconds for a process to end after SIGINT or SIGTERM; it promises 3, on a machine that has time for it."""

_ENVIRONMENT = os.environ | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "200", "PYTHONWARNINGS": "default"}


class Lines:
    """The lines of a stream so far, and a way to wait for one."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.ended = False
        self._changed = asyncio.Event()

    @property
    def text(self) -> str:
        return "\n".join(self.seen)

    async def read_from(self, stream: asyncio.StreamReader) -> None:
        """Record until the stream ends."""
        while line := await stream.readline():
            self.seen.append(line.decode("utf-8", "replace").rstrip("\n"))
            self._changed.set()
        self.ended = True
        self._changed.set()

    async def find(self, wanted: Callable[[str], bool], *, since: int, timeout: float) -> str:
        """The first line from number `since` on that is `wanted`, now or within `timeout` seconds."""
        position = since
        async with asyncio.timeout(timeout):
            while True:
                for line in self.seen[position:]:
                    if wanted(line):
                        return line
                position = max(position, len(self.seen))
                if self.ended:
                    raise AssertionError("the process ended without saying it")
                self._changed.clear()
                await self._changed.wait()


class Program:
    """One `perdure VERB …`, or another Python program; `running` and `running_python` make it."""

    def __init__(self, arguments: Sequence[str], process: asyncio.subprocess.Process) -> None:
        self.arguments = arguments
        self.process = process
        self.stdout = Lines()
        self.stderr = Lines()
        assert process.stdout is not None
        assert process.stderr is not None
        self._reading = asyncio.gather(self.stdout.read_from(process.stdout), self.stderr.read_from(process.stderr))

    @property
    def is_running(self) -> bool:
        return self.process.returncode is None

    @property
    def log(self) -> list[LogLine]:
        """The JSON lines of standard error."""
        return [parsed for line in self.stderr.seen if (parsed := _parse(line)) is not None]

    @property
    def mark(self) -> int:
        """To ask later for what was said from now on."""
        return len(self.stderr.seen)

    async def says(self, beginning: str = "", *, timeout: float = START_TIMEOUT) -> str:
        """The first line of standard output that begins so."""
        return await self._awaited(self.stdout, lambda line: line.startswith(beginning), repr(beginning), 0, timeout)

    async def warns(self, text: str, *, since: int = 0, timeout: float = START_TIMEOUT) -> str:
        """The first line of standard error that contains `text`."""
        return await self._awaited(self.stderr, lambda line: text in line, repr(text), since, timeout)

    async def logs(self, event: str, *, since: int = 0, timeout: float = START_TIMEOUT, **fields: object) -> LogLine:
        """The first log line of `event` with these fields."""

        def matches(line: str) -> bool:
            parsed = _parse(line)
            return (
                parsed is not None
                and parsed.get("event") == event
                and all(parsed.get(key) == value for key, value in fields.items())
            )

        line = await self._awaited(self.stderr, matches, f"the event {event} with {fields}", since, timeout)
        parsed = _parse(line)
        assert parsed is not None
        return parsed

    async def recovers(self, *, since: int = 0, timeout: float = START_TIMEOUT) -> None:
        """Wait until a tube that had lost its carrier is connected again, or has gone on on another without a loss."""

        def matches(line: str) -> bool:
            match _parse(line):
                case {"event": "tube-state", "before": "reconnecting", "after": "connected"}:
                    return True
                case {"event": "carrier-switched"}:
                    return True
                case _:
                    return False

        await self._awaited(self.stderr, matches, "a recovery, or the move to another carrier", since, timeout)

    async def inject(self, fault: str) -> None:
        """Break the carrier as `perdure.faults` can, and wait until that is done."""
        since = self.mark
        self.write(fault + "\n")
        await self.logs("fault", since=since, fault=fault)

    def write(self, text: str, *, end: bool = False) -> None:
        """Write to standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        if end:
            self.process.stdin.close()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait until the process has ended, and return its exit code."""
        if self.is_running:
            self.process.send_signal(number)
        return await self.ended(timeout=STOP_TIMEOUT)

    async def ended(self, *, timeout: float = START_TIMEOUT) -> int:
        """Wait until the process has ended by itself; its exit code."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._reading)
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"{self} did not end within {timeout:.0f} s\n{self.said}") from None

    async def kill(self) -> None:
        """SIGKILL, and wait: nobody is told anything."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._reading

    @property
    def said(self) -> str:
        return f"--- {self}: standard output\n{self.stdout.text}\n--- standard error\n{self.stderr.text}"

    def check_for_bugs(self) -> None:
        """Fail on what a person must never see."""
        for word in ("Traceback", '"exception"', "Warning:", "was never retrieved", "was never awaited"):
            assert word not in self.stderr.text, self.said

    def __str__(self) -> str:
        return f"{' '.join(self.arguments[:3])} ({self.process.pid})"

    async def _awaited(self, lines: Lines, wanted: Callable[[str], bool], what: str, since: int, timeout: float) -> str:
        try:
            return await lines.find(wanted, since=since, timeout=timeout)
        except (TimeoutError, AssertionError) as error:
            why = str(error) or f"waited {timeout:.0f} s"
            raise AssertionError(f"{self} did not say {what}: {why}\n{self.said}") from None


def _parse(line: str) -> LogLine | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Program]:
    """`perdure` with `arguments`, until the block ends."""
    async with running_python("-m", "perdure", *arguments) as program:
        yield program


@asynccontextmanager
async def running_python(*arguments: str, **environment: str) -> AsyncIterator[Program]:
    """Python with `arguments`, until the block ends; it then ends at SIGTERM with exit code 0, unless it was killed.

    Its folders for state and for sockets are its own, unless `environment` or an argument says another.
    """
    with tempfile.TemporaryDirectory() as home:
        own = {"XDG_STATE_HOME": home, "XDG_RUNTIME_DIR": home}
        async with _running_python(*arguments, **{**own, **environment}) as program:
            yield program


@asynccontextmanager
async def _running_python(*arguments: str, **environment: str) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_ENVIRONMENT | environment,
        start_new_session=True,
    )
    program = Program(arguments, process)
    try:
        yield program
        if program.is_running:
            code = await program.stop()
            assert code == 0, f"{program} ended with {code}\n{program.said}"
        program.check_for_bugs()
    finally:
        if program.is_running:
            await program.kill()
        if process.stdin is not None:
            process.stdin.close()
            with contextlib.suppress(OSError):
                await process.stdin.wait_closed()


async def output_of(*arguments: str, stdin: str = "") -> Program:
    """Run `perdure` with `arguments` to its end."""
    async with running(*arguments) as program:
        program.write(stdin, end=True)
        await program.ended()
    return program


@asynccontextmanager
async def running_rendezvous(*options: str, port: int = 0) -> AsyncIterator[tuple[Program, str]]:
    """A rendezvous and its URL."""
    async with running("rendezvous", "--listen", f"127.0.0.1:{port}", "--json-logs", *options) as program:
        yield program, await program.says("ws://")


@asynccontextmanager
async def running_gateway(
    url: str, *options: str, allow: Sequence[str] = ("127.0.0.1:*",), state: Path | None = None
) -> AsyncIterator[tuple[Program, str]]:
    """A gateway and its ticket; its state folder is `state`, or one of its own."""
    kept = [] if state is None else ["--state-dir", str(state)]
    allowed = [word for target in allow for word in ("--allow", target)]
    async with running(
        *("serve", "--rendezvous", url, *allowed, *kept, "--print-ticket"),
        *("--loopback", "--json-logs", "--faults", *options),
    ) as program:
        yield program, await program.says("perdure2-")


class Client:
    """A `perdure connect`, and the local ports of its forwards."""

    def __init__(self, program: Program, targets: Sequence[str]) -> None:
        self.program = program
        self._targets = targets

    def port(self, number: int = 0) -> int:
        """The local port that leads to the target of that number."""
        lines = [line for line in self.program.stdout.seen if line.startswith("listening ")]
        listening, arrow, target = lines[number].removeprefix("listening ").partition(" -> ")
        assert arrow
        assert target == self._targets[number]
        return int(listening.rpartition(":")[2])


@asynccontextmanager
async def running_client(ticket: str, *targets: str, options: Sequence[str] = ()) -> AsyncIterator[Client]:
    """A client that is ready, with a forward from a free port to each target."""
    async with starting_client(ticket, *targets, options=options) as client:
        await client.program.says("ready")
        yield client


@asynccontextmanager
async def starting_client(ticket: str, *targets: str, options: Sequence[str] = ()) -> AsyncIterator[Client]:
    """The same, not necessarily ready yet; it listens."""
    forwards = [word for target in targets for word in ("-L", f"0:{target}")]
    async with running("connect", ticket, *forwards, "--loopback", "--json-logs", "--faults", *options) as program:
        client = Client(program, targets)
        for target in targets:
            await program._awaited(program.stdout, lambda line, t=target: line.endswith(f" -> {t}"), target, 0, 15)  # type: ignore[misc]
        yield client


class Tunnel:
    """A rendezvous, a gateway, and one client."""

    def __init__(self, rendezvous: Program, url: str, gateway: Program, ticket: str, client: Client) -> None:
        self.rendezvous = rendezvous
        self.url = url
        self.gateway = gateway
        self.ticket = ticket
        self.client = client

    def port(self, number: int = 0) -> int:
        return self.client.port(number)

    async def break_carrier(self, side: Program, fault: str = "kill", *, within: float = 10.0) -> None:
        """Break the carrier at `side`, and wait until the session has resumed at both ends."""
        marks = [(program, program.mark) for program in (self.client.program, self.gateway)]
        await side.inject(fault)
        await asyncio.gather(*(program.recovers(since=mark, timeout=within) for program, mark in marks))


@asynccontextmanager
async def running_tunnel(
    *targets: str, allow: Sequence[str] | None = None, state: Path | None = None
) -> AsyncIterator[Tunnel]:
    """All three, ready, with a forward to each target; nothing else is allowed."""
    async with AsyncExitStack() as stack:
        rendezvous, url = await stack.enter_async_context(running_rendezvous())
        gateway, ticket = await stack.enter_async_context(running_gateway(url, allow=allow or targets, state=state))
        client = await stack.enter_async_context(running_client(ticket, *targets))
        yield Tunnel(rendezvous, url, gateway, ticket, client)
