"""A problem that lasts is logged when it begins, when it becomes another one, and when it is over."""

from __future__ import annotations

import logging

from perdure.eventlog import log_event

log = logging.getLogger(__name__)


class ProblemLog:
    """What is wrong now with a store's folder."""

    def __init__(self) -> None:
        self._problem = ""

    def tell(self, problem: str) -> None:
        """Take what is wrong now; an empty text: nothing."""
        if problem and problem != self._problem:
            log_event(log, logging.WARNING, "ticket-store", problem=problem)
        elif self._problem and not problem:
            log_event(log, logging.INFO, "ticket-store", problem="over", was=self._problem)
        self._problem = problem
