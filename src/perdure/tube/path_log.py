"""The log's line of a tube's path: when it is first known, and whenever it is another one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from perdure.eventlog import log_event
from perdure.tube.log import log, log_path

if TYPE_CHECKING:
    from perdure.transport.base import Path

SETTLING_DELAY = 1.0
"""Seconds until a path that changed is looked at. The engine tells it some milliseconds after the channel opened, and
may move once more: to a better pair as checks come in, or from the old pair to the new one after an ICE restart."""


class PathLog:
    """That of one tube.

    Args:
        path: the one on which streams flow, as it is now.
    """

    __slots__ = ("_logged", "_looking", "_path", "_tube_id")

    def __init__(self, tube_id: str, path: Callable[[], Path | None]) -> None:
        self._tube_id = tube_id
        self._path = path
        self._logged: Path | None = None
        self._looking: asyncio.TimerHandle | None = None

    def look_soon(self) -> None:
        """The path may be another one now."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(SETTLING_DELAY, self._look)

    def seen(self, path: Path | None) -> None:
        """That is the path."""
        if path is not None and (path := replace(path, rtt=None)) != self._logged:
            self._logged = path
            log_path(self._tube_id, path)

    def _look(self) -> None:
        self._looking = None
        try:
            self.seen(self._path())
        except Exception as error:  # of an application's transport
            log_event(log, logging.ERROR, "no-path", error, tube=self._tube_id)
