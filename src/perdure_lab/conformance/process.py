"""COMMAND, the implementation under test, as a process: its lines, and its end. It never outlives `close`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence

STOP_TIMEOUT = 2.0
"""Seconds from SIGTERM to SIGKILL."""

END_TIMEOUT = 1.0
"""Seconds in which a process whose standard output has ended is expected to end, so that its exit code can be told."""

MAX_LINE_BYTES = 1024 * 1024
"""Of standard output: a text has 64 KiB at most."""

KEPT_BYTES = 4096
"""Of standard error: the last of it, for a failure."""


OnEnd = Callable[[str, bool], None]
"""How standard output has ended, and whether that was a crash."""


class CommandNotStartedError(Exception):
    """The system cannot start COMMAND."""


class SubjectProcess:
    """
    Args:
        on_line: hears each line of standard output.
        on_end: is told once how standard output has ended, and whether that was a crash.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        pipes: asyncio.SubprocessTransport,
        on_line: Callable[[str], None],
        on_end: OnEnd,
    ) -> None:
        self._process = process
        self._pipes = pipes
        self._on_line = on_line
        self._on_end = on_end
        self._written = bytearray()
        self._reading = asyncio.gather(self._read(), self._keep())

    @classmethod
    async def start(cls, command: Sequence[str], on_line: Callable[[str], None], on_end: OnEnd) -> SubjectProcess:
        """
        Raises:
            CommandNotStartedError: the system says no.
        """
        starting = asyncio.ensure_future(_start(command))
        try:
            pipes, protocol = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # Cancelled itself, asyncio would kill COMMAND without its group, and may wait for its end for ever.
            with contextlib.suppress(CommandNotStartedError):
                await cls._of(*await starting, on_line, on_end).close()
            raise
        return cls._of(pipes, protocol, on_line, on_end)

    @classmethod
    def _of(
        cls,
        pipes: asyncio.SubprocessTransport,
        protocol: asyncio.subprocess.SubprocessStreamProtocol,
        on_line: Callable[[str], None],
        on_end: OnEnd,
    ) -> SubjectProcess:
        process = asyncio.subprocess.Process(pipes, protocol, asyncio.get_running_loop())
        return cls(process, pipes, on_line, on_end)

    @property
    def written(self) -> str:
        """The last of its standard error."""
        return self._written[-KEPT_BYTES:].decode("utf-8", "replace").strip()

    def write(self, line: str) -> None:
        """To its standard input; of no use where that is closed."""
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(line.encode() + b"\n")

    async def close(self) -> None:
        """End it, and all that it has started in its group. Who has left the group may keep the other ends of the pipes
        for as long as it likes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT):
                    await self._process.wait()
        finally:
            self._signal(signal.SIGKILL)
            # Before the pipes: to close those looks after the process, too, and the loop may never hear of its end.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_TIMEOUT):
                    await self._process.wait()
            self._pipes.close()
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                self._on_line(line.decode("utf-8", "replace").rstrip("\r\n"))
        except ValueError:
            self._on_end(f"a line of standard output of more than {MAX_LINE_BYTES} bytes", True)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_TIMEOUT):
                await self._process.wait()
        self._on_end(self._how_ended(), self._process.returncode not in (None, 0))

    def _how_ended(self) -> str:
        match self._process.returncode:
            case None:
                return "the end of its standard output"
            case code if code < 0:
                return f"the end of its process by signal {-code}"
            case code:
                return f"the end of its process, with exit code {code}"

    async def _keep(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(KEPT_BYTES):
            self._written += data
            del self._written[:-KEPT_BYTES]


async def _start(
    command: Sequence[str],
) -> tuple[asyncio.SubprocessTransport, asyncio.subprocess.SubprocessStreamProtocol]:
    """
    Raises:
        CommandNotStartedError: the system says no.
    """
    loop = asyncio.get_running_loop()
    # Not `create_subprocess_exec`, which does the same, and keeps to itself what closes the pipes.
    # In a session of its own: Ctrl-C is for the conformance peer alone, which then ends the whole group.
    try:
        return await loop.subprocess_exec(
            lambda: asyncio.subprocess.SubprocessStreamProtocol(MAX_LINE_BYTES, loop),
            *command,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # ValueError: a null byte in it
        why = error.strerror if isinstance(error, OSError) else error
        raise CommandNotStartedError(f"{command[0]} cannot be started: {why}") from error
