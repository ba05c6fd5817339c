"""The programs of a run, each in its namespace: started, watched, driven, stopped, killed, and what they said last."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from pathlib import Path

import msgspec

from perdure_lab.lab.lines import next_line
from perdure_lab.lab.namespaces import command_in
from perdure_lab.lab.tools import LabError

LogLine = dict[str, object]

START_TIMEOUT = 30.0
"""Seconds for a program to say its first lines: Python starts in under 1 s; a loaded machine takes longer."""

_STOP_TIMEOUT = 5.0
"""Seconds for a farewell."""

_DRAIN_TIMEOUT = 0.5
"""Seconds for what an ended program wrote last: it is in the pipe already, and so is the pipe's end, unless a child of
the program's own lives on and has the pipe too. That one is read on, but not waited for."""

_LAST_LINES = 5
_LAST_CHARACTERS = 400
"""Of each of the last lines."""

_LONGEST_LINE = 1024 * 1024
"""Bytes: a line of a log has some hundred, with a traceback some thousand. A longer one is skipped."""


class Child:
    """One program in a namespace, or in this process' own.

    Args:
        driven: its standard input takes faults (`perdure.faults`), and its standard output is for `first_line`.
        log_file: gets its standard error, as it is but for lines that are too long.
        on_log: hears each line of standard error that is a JSON object.
        on_end: is told once when the program ended without being asked to.
        on_log_lost: is told once when `log_file` cannot be written; the program runs on, and is heard.
    """

    def __init__(
        self,
        name: str,
        namespace: str | None,
        command: Sequence[str],
        *,
        driven: bool = False,
        environment: Mapping[str, str] | None = None,
        log_file: Path | None = None,
        on_log: Callable[[LogLine], None] = lambda line: None,
        on_end: Callable[[str], None] = lambda text: None,
        on_log_lost: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.name = name
        self._command = list(command) if namespace is None else command_in(namespace, *command)
        self._standard = asyncio.subprocess.PIPE if driven else asyncio.subprocess.DEVNULL
        self._environment = {**os.environ, **(environment or {})}
        self._log_file = log_file
        self._on_log = on_log
        self._on_end = on_end
        self._on_log_lost = on_log_lost
        self._process: asyncio.subprocess.Process | None = None
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises `LabError` where the system cannot start it; a command that is not there ends at once."""
        # a pipe of our own: of asyncio's, `wait` waits until the program's own children have closed it too
        output, its_end = os.pipe()
        reading = asyncio.ensure_future(self._read(output))
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=self._standard,
                stdout=self._standard,
                stderr=its_end,
                env=self._environment,
                limit=_LONGEST_LINE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in a word
            raise LabError(f"the {self.name} cannot be started: {error}") from error
        finally:
            os.close(its_end)
        self._process = process
        self._watching = asyncio.ensure_future(self._watch(process, reading))

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def first_line(self, beginning: str = "") -> str:
        """The next line of standard output that begins so.

        Raises:
            LabError: the program ended, or said nothing in time.
        """
        if self._process is None or self._process.stdout is None:
            raise RuntimeError("it was not started, or is not driven")
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while line := (await next_line(self._process.stdout)).decode().strip():
                    if line.startswith(beginning):
                        return line
                if self._watching is not None:
                    await asyncio.shield(self._watching)  # to its last words
        except TimeoutError:
            raise LabError(f"the {self.name} did not start within {START_TIMEOUT:.0f} s") from None
        raise LabError(f"the {self.name} ended: {self.last_words}")

    def inject(self, fault: str) -> None:
        """Ask for a fault (`perdure.faults`), where the program still runs."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(fault.encode() + b"\n")

    def send(self, number: signal.Signals) -> None:
        """A signal, where the program still runs."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not help in time."""
        await self._end(signal.SIGTERM)

    @property
    def last_words(self) -> str:
        return " | ".join(self._said) or "it said nothing"

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if process.stdin is not None:
            process.stdin.close()
        if self._watching is not None:
            await self._watching

    async def _watch(self, process: asyncio.subprocess.Process, reading: asyncio.Task[None]) -> None:
        code = await process.wait()
        await asyncio.wait({reading}, timeout=_DRAIN_TIMEOUT)
        if process is self._process:
            self._on_end(f"the {self.name} ended with code {code}: {self.last_words}")

    async def _read(self, output: int) -> None:
        """To the pipe's end, whatever becomes of the log: a program whose pipe is full stands still."""
        reader = asyncio.StreamReader(limit=_LONGEST_LINE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), FileIO(output)
        )
        with contextlib.closing(transport), contextlib.closing(_LogFile(self._log_file, self._log_lost)) as log:
            while line := await next_line(reader):
                log.write(line)
                self._heard(line)

    def _log_lost(self, error: OSError) -> None:
        self._on_log_lost(f"the {self.name}'s log {self._log_file} cannot be written: {error.strerror}")

    def _heard(self, line: bytes) -> None:
        try:
            self._on_log(msgspec.json.decode(line, type=LogLine))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            if text := line.decode("utf-8", "replace").strip():
                self._said.append(text[-_LAST_CHARACTERS:])


class _LogFile:
    """Where a program's log is kept, if anywhere; `on_lost` is told once that it is not any more, and why.

    Without a buffer, which would take the last lines with it when the run's process is killed; a write takes 2 µs.
    """

    def __init__(self, path: Path | None, on_lost: Callable[[OSError], None]) -> None:
        self._on_lost = on_lost
        self._file: FileIO | None = None
        if path is not None:
            try:
                self._file = FileIO(path, "ab")
            except OSError as error:
                on_lost(error)

    def write(self, line: bytes) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line)
        except OSError as error:
            self.close()
            self._on_lost(error)

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


class Helper:
    """A program of the lab's own that takes lines on standard input and answers with one.

    Every call raises `LabError` where it ended, or does not answer in time.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name = name
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise LabError(f"the lab's {self._name} cannot be started: {error}") from error

    async def tell(self, *lines: str) -> None:
        """Tell it, and wait for the answer."""
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("it was not started")
        self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        await self.answer()

    async def check(self) -> None:
        """Whether it is still there."""
        if self._process is not None and self._process.returncode is not None:
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
                await process.wait()
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
