"""perdure's own commands as child processes: their first lines, their log, and faults on request."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from perdure.errors import PerdureError

START_TIMEOUT = 30.0
"""Seconds for a child to say its first line: Python starts in under 1 s; a loaded machine takes longer."""

LogLine = dict[str, object]


class Child:
    """One `perdure VERB …` with JSON logs.

    Args:
        on_log: hears each log line.
    """

    def __init__(self, *arguments: str, on_log: Callable[[LogLine], None] = lambda line: None) -> None:
        self._arguments = arguments
        self._on_log = on_log
        self._process: asyncio.subprocess.Process | None = None
        self._log: asyncio.Task[None] | None = None
        self._last_error = ""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start it. Logs flow from now on."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "perdure",
            *self._arguments,
            "--json-logs",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._log = asyncio.ensure_future(self._read_log(self._process))

    async def first_line(self, beginning: str = "") -> str:
        """The next line of standard output that begins so.

        Raises:
            PerdureError: the child ended, or said nothing in time.
        """
        if self._process is None or self._process.stdout is None:
            raise RuntimeError("the child was not started")
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while line := (await self._process.stdout.readline()).decode().strip():
                    if line.startswith(beginning):
                        return line
        except TimeoutError:
            raise PerdureError(f"`perdure {self._arguments[0]}` did not start within {START_TIMEOUT:.0f} s") from None
        raise PerdureError(f"`perdure {self._arguments[0]}` ended: {self._last_error or 'no message'}")

    def inject(self, fault: str) -> None:
        """Ask for a fault (`perdure.faults`)."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(fault.encode() + b"\n")

    def resident_bytes(self) -> int | None:
        """Memory in use, where /proc tells."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):
            return None
        return int(pages) * 4096

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        await self._end(lambda process: process.kill())

    async def stop(self) -> None:
        """SIGTERM, wait, and SIGKILL where that does not help."""
        await self._end(lambda process: process.terminate())

    async def _end(self, how: Callable[[asyncio.subprocess.Process], None]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            how(process)
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if process.stdin is not None:
            process.stdin.close()
        if self._log is not None:
            await self._log

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        if process.stderr is None:
            return
        while line := await process.stderr.readline():
            try:
                parsed = msgspec.json.decode(line, type=LogLine)
            except msgspec.MsgspecError:
                self._last_error = line.decode("utf-8", "replace").strip() or self._last_error
                continue
            self._on_log(parsed)
