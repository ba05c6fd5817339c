"""Work in a process of its own that ends with whoever asked for it: both ends of the pipes between the two.

The asker says lines on the worker's standard input, whose end is the worker's own end at once, and with it that of
everything in its namespaces: the asker may be killed without leaving anything behind. The worker tells JSON lines on
its standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from io import FileIO
from types import TracebackType
from typing import TypeVar

import msgspec

from perdure_lab.lab.lines import next_line

T = TypeVar("T")

_LONGEST_LINE = 64 * 1024 * 1024
"""A result of an hour's run has some MB. A longer one is skipped."""

_END_TIMEOUT = 2.0
"""Seconds after which a worker that hangs is killed: one that listens ends in milliseconds."""

_KEPT_COMPLAINT_BYTES = 400
_READ_BYTES = 64 * 1024


class Worker:
    """The asker's end; a context manager, at whose end there is nothing left of the work.

    A worker that the system cannot start is one that ended at once, with the reason as its complaint.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.complaint = ""
        """At the end: what it said on standard error last."""
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._complaints: asyncio.Task[bytes] | None = None

    async def __aenter__(self) -> Worker:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE,
                start_new_session=True,  # Ctrl-C is for this process, which then ends it
            )
        except OSError as error:
            self.complaint = f"it cannot be started: {error}"
            return self
        assert self._process.stderr is not None
        self._complaints = asyncio.ensure_future(_end_of(self._process.stderr))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, complaints = self._process, self._complaints
        if process is None:
            return
        assert complaints is not None
        assert process.stdin is not None
        assert process.stdout is not None
        # It ends of the pipe's end, or has ended already. SIGKILL at once could meet a process that is just ending:
        # then asyncio, whose thread waits for it too, warns of a child that it does not know.
        process.stdin.close()
        try:
            async with asyncio.timeout(_END_TIMEOUT):
                await _end_of(process.stdout)  # so nothing of the work is alive any more
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # and the kernel everything that runs in its namespaces
            await _end_of(process.stdout)
        self.complaint = (await complaints).decode("utf-8", "replace").strip()
        await process.wait()

    def say(self, line: bytes) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")

    async def told(self, kind: type[T]) -> T | None:
        """The next thing that it tells; `None`: it ended. Cancelling it loses nothing."""
        if self._process is None:
            return None
        assert self._process.stdout is not None
        line = await next_line(self._process.stdout)
        return msgspec.json.decode(line, type=kind) if line.endswith(b"\n") else None


async def _end_of(reader: asyncio.StreamReader) -> bytes:
    kept = b""
    while piece := await reader.read(_READ_BYTES):
        kept = (kept + piece)[-_KEPT_COMPLAINT_BYTES:]
    return kept


def asked(kind: type[T]) -> T:
    """The worker's end: the first line that it hears."""
    return msgspec.json.decode(_standard_input().readline(), type=kind)


def end_with_the_asker(on_line: Callable[[], object] = lambda: None) -> None:
    """From now on; `on_line` hears, in a thread of its own, of any further line."""

    def listen() -> None:
        while _standard_input().readline():
            on_line()
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()


def tell(thing: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(thing) + b"\n")
    sys.stdout.buffer.flush()


def done() -> None:
    """The work's end, and that of everything in its namespaces."""
    sys.stdout.flush()
    os._exit(0)


def _standard_input() -> FileIO:
    """Without a buffer, which would keep a line that came together with another."""
    return FileIO(0, closefd=False)
