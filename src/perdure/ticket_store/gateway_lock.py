"""One gateway a state folder: it holds a flock while it runs, which ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from perdure.errors import TicketError
from perdure.private_files import make_folder, open_lock, try_lock
from perdure.state_folder import GATEWAY_LOCK_FILE

if TYPE_CHECKING:
    from pathlib import Path

TAKE_TIMEOUT = 0.5
"""Seconds to try: `perdure ticket list` holds the lock for a moment to see whether a gateway does."""

_POLL_INTERVAL = 0.02
"""Seconds between two tries."""


class GatewayLock:
    """A state folder's lock of this gateway; `take` it, `release` it."""

    def __init__(self, state_folder: Path) -> None:
        self._folder = state_folder
        self._path = state_folder / GATEWAY_LOCK_FILE
        self._descriptor: int | None = None

    def take(self) -> None:
        """Blocks for at most `TAKE_TIMEOUT`.

        Raises:
            TicketError: another gateway holds it, which is named, or the file cannot be made.
        """
        try:
            make_folder(self._folder)
            descriptor = open_lock(self._path)
        except OSError as error:
            raise TicketError(f"the lock file {self._path} cannot be made: {error.strerror}") from error
        try:
            deadline = time.monotonic() + TAKE_TIMEOUT
            while not try_lock(descriptor):
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
                    who = f"another gateway (process {holder})" if holder.isdigit() else "another gateway"
                    text = f"{who} uses the state folder {self._folder}; give each its own: --state-dir FOLDER"
                    raise TicketError(text)
                time.sleep(_POLL_INTERVAL)
            with contextlib.suppress(OSError):  # a full disk: the number is a help, not the lock
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(descriptor)
            raise TicketError(f"the lock file {self._path} cannot be locked: {error.strerror}") from error
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def is_held(self) -> bool:
        """Whether a gateway runs, in this process or another.

        Raises:
            OSError: it cannot be told.
        """
        if self._descriptor is not None:
            return True
        try:
            descriptor = open_lock(self._path, create=False)
        except FileNotFoundError:
            return False
        try:
            return not try_lock(descriptor, shared=True)
        finally:
            os.close(descriptor)
