"""A problem that lasts is logged when it begins; what has become of it, at most once a minute."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from perdure.eventlog import log_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)

LOG_INTERVAL = 60.0
"""Seconds from one line about the folder to the next. The store looks at it each second: what comes and goes, such as
another process' lock, would fill the log."""


class ProblemLog:
    """What is wrong now with a store's folder and its files.

    Args:
        now: seconds, by a clock that never goes back.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._told = ""
        self._told_at: float | None = None
        self._file_problems: dict[str, float] = {}
        """Those that were told, and when each was there last."""

    def tell(self, problem: str) -> None:
        """Take what is wrong with the folder now; an empty text: nothing."""
        now = self._now()
        if problem == self._told or (self._told_at is not None and now < self._told_at + LOG_INTERVAL):
            return
        if problem:
            log_event(log, logging.WARNING, "ticket-store", problem=problem)
        else:
            log_event(log, logging.INFO, "ticket-store", problem="over", was=self._told)
        self._told, self._told_at = problem, now

    def tell_files(self, problems: Iterable[str]) -> None:
        """Take what is wrong with single files and folders. One that was there within the last minute was told."""
        now = self._now()
        lasting = {text: at for text, at in self._file_problems.items() if now < at + LOG_INTERVAL}
        for problem in problems:
            if problem not in lasting:
                log_event(log, logging.WARNING, "ticket-file", problem=problem)
            lasting[problem] = now
        self._file_problems = lasting
