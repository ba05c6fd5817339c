"""What happened, in a file of the state folder that outlives the process: `perdure events` reads it.

It has the log's lines, from INFO on, as JSON. When it is full it becomes the older one of two, and the one before goes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from perdure.eventlog import JsonFormatter, LoggedEvent
from perdure.private_files import make_folder, open_lock, try_lock

if TYPE_CHECKING:
    from pathlib import Path

    from perdure.eventlog import Field

FILE, OLDER_FILE, LOCK = "events.jsonl", "events.1.jsonl", "events.lock"

MAX_FILE_BYTES = 1024 * 1024
"""Of each of the two: some 5,000 lines. A tunnel writes 2 a recovery."""

MAX_LINE_BYTES = 4096
"""A longer one is left out: an exception's, whose traceback belongs to the log."""


class EventsFile(logging.Handler):
    """Writes the log's lines there, for `role`. Several processes may share a folder.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, folder: Path, role: str) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(JsonFormatter())
        self._folder = folder
        self._about = f'"pid": {os.getpid()}, "role": {json.dumps(role)}, '
        make_folder(folder)
        self._descriptor = _open(folder)

    def note(self, name: str, **fields: Field) -> None:
        """A line that is not the log's."""
        self.handle(logging.LogRecord("perdure", logging.INFO, "", 0, LoggedEvent(name, fields), (), None))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{{{self._about}{self.format(record)[1:]}\n".encode("utf-8", "replace")
            if len(line) > MAX_LINE_BYTES:
                return
            os.write(self._descriptor, line)  # one write at the end of the file: no other process' line comes between
            if os.fstat(self._descriptor).st_size >= MAX_FILE_BYTES:
                self._turn()
        except OSError:  # a full disk: the log itself goes on
            pass

    def close(self) -> None:
        super().close()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = -1

    def _turn(self) -> None:
        """Begin another file, unless another process has."""
        lock = open_lock(self._folder / LOCK)
        try:
            if not try_lock(lock):
                return
            current = os.stat(self._folder / FILE)
            if os.path.samestat(current, os.fstat(self._descriptor)):
                os.replace(self._folder / FILE, self._folder / OLDER_FILE)
            descriptor = _open(self._folder)
            os.close(self._descriptor)
            self._descriptor = descriptor
        finally:
            os.close(lock)


def read_events(folder: Path, since: float = 0.0) -> Iterator[dict[str, Any]]:
    """The lines that were written at `since` (Unix seconds) or later, the oldest first. A line that cannot be read, as
    after a power failure, is passed over.

    Raises:
        OSError: a file is there, and cannot be read.
    """
    for name in (OLDER_FILE, FILE):
        with contextlib.suppress(FileNotFoundError), (folder / name).open("rb") as file:
            for line in file:
                with contextlib.suppress(ValueError, RecursionError):
                    event = json.loads(line)
                    if isinstance(event, dict) and isinstance(at := event.get("time"), int | float) and at >= since:
                        yield event


def _open(folder: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    return os.open(folder / FILE, flags, 0o600)
