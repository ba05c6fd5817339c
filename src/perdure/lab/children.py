"""The programs of a run, each in its namespace: started, watched, stopped, killed, and what they said last."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from perdure.lab.namespaces import command_in
from perdure.lab.tools import LabError

LogLine = dict[str, object]

_LAST_LINES = 5
_LONGEST_LINE = 1024 * 1024


class Child:
    """One program in a namespace.

    Args:
        log_file: gets its standard error, as it is.
        on_log: hears each line of standard error that is a JSON object.
        on_end: is told once when the program ended without being asked to.
    """

    def __init__(
        self,
        name: str,
        namespace: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        log_file: Path | None = None,
        on_log: Callable[[LogLine], None] = lambda line: None,
        on_end: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.name = name
        self._command = command_in(namespace, *command)
        self._environment = {**os.environ, **(environment or {})}
        self._log_file = log_file
        self._on_log = on_log
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            limit=_LONGEST_LINE,
            start_new_session=True,
        )
        self._watching = asyncio.ensure_future(self._watch(self._process))

    def send(self, number: signal.Signals) -> None:
        """A signal, where the program still runs."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
        if self._watching is not None:
            await self._watching

    @property
    def last_words(self) -> str:
        return " | ".join(self._said) or "it said nothing"

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        with contextlib.nullcontext() if self._log_file is None else self._log_file.open("ab", buffering=0) as file:
            while line := await process.stderr.readline():
                if file is not None:
                    file.write(line)
                self._heard(line)
        code = await process.wait()
        if process is self._process:
            self._on_end(f"the {self.name} ended with code {code}: {self.last_words}")

    def _heard(self, line: bytes) -> None:
        try:
            self._on_log(msgspec.json.decode(line, type=LogLine))
        except msgspec.MsgspecError:
            if text := line.decode("utf-8", "replace").strip():
                self._said.append(text)


class Helper:
    """A program of the lab's own that takes lines on standard input and answers with one.

    Every call raises `LabError` where it ended, or does not answer in time.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name = name
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def tell(self, *lines: str) -> None:
        """Tell it, and wait for the answer."""
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("it was not started")
        self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        await self.answer()

    async def answer(self) -> None:
        process = self._process
        if process is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("it was not started")
        try:
            async with asyncio.timeout(_HELPER_TIMEOUT):
                if await process.stdout.readline():
                    return
                said = " ".join((await process.stderr.read()).decode("utf-8", "replace").split())
        except TimeoutError:
            raise LabError(f"the lab's {self._name} does not answer") from None
        raise LabError(f"the lab's {self._name} ended: {said or 'it said nothing'}")


class IpShell:
    """`ip` that waits in a namespace for its next commands: they happen within a millisecond of each other."""

    def __init__(self, namespace: str) -> None:
        self._helper = Helper(f"`ip` in {namespace}", ["ip", "-n", namespace, "-o", "-batch", "-"])

    async def start(self) -> None:
        await self._helper.start()
        await self.do([])

    async def do(self, lines: Sequence[str]) -> None:
        """All of them.

        Raises:
            LabError: one was refused.
        """
        await self._helper.tell(*lines, "link show dev lo")  # which answers with a line, when the others are done


_HELPER_TIMEOUT = 20.0
"""Seconds: Python starts in well under one; a loaded machine takes longer."""
