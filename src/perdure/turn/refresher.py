"""Keeps ICE servers fresh: asks a provider when the schedule says so, and hands on what it issues."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from perdure.errors import PerdureError
from perdure.eventlog import Field, log_event
from perdure.turn.schedule import RefreshSchedule
from perdure.urls import without_logins

if TYPE_CHECKING:
    from random import Random

    from perdure.ice_server import IceServer
    from perdure.turn.provider import IceServerProvider, IssuedIceServers

log = logging.getLogger("perdure.turn")

FIRST_TIMEOUT = 2.0
"""Seconds that the first credentials are waited for before anything begins without them: a direct path needs none."""

FETCH_TIMEOUT = 15.0
"""Seconds that any provider has: one of ours gives up after 10 s and says why."""

LOOK_INTERVAL = 60.0
"""Seconds between two looks at the clock, at most: the event loop's timers stand still while the machine sleeps."""


class FetchFailure(NamedTuple):
    """A provider had no credentials."""

    reason: str
    retry_in: float
    """Seconds."""
    expires_in: float | None
    """Seconds until those in use expire, below 0 where they have; `None`: there are none, or nobody knows."""


class Refresher:
    """Asks `provider`, until it is closed.

    Args:
        interval: seconds between two fetches, at most.
        on_issued: is given the servers where they are others than before, and in how many seconds they expire. What it
            raises counts as a failure.
        on_failed: is told of each failure.
        clock: seconds.
    """

    def __init__(
        self,
        provider: IceServerProvider,
        *,
        interval: float,
        on_issued: Callable[[tuple[IceServer, ...], float | None], None],
        on_failed: Callable[[FetchFailure], None],
        random: Random,
        clock: Callable[[], float],
    ) -> None:
        self._provider = provider
        self._schedule = RefreshSchedule(interval, random, now=clock())
        self._on_issued = on_issued
        self._on_failed = on_failed
        self._clock = clock
        self._servers: tuple[IceServer, ...] | None = None
        self._wake = asyncio.Event()
        self._fetched = asyncio.Event()
        """Set where the fetch that is next, or under way, has ended; each has its own."""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask for the first time, which is waited for `FIRST_TIMEOUT` at most, and go on."""
        first = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(first), name="TURN credentials")
        await asyncio.wait({first}, timeout=FIRST_TIMEOUT)

    async def close(self) -> None:
        """Ask no more. Twice is fine."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def look(self) -> None:
        """The machine may have slept, or its network has changed: ask now if that is due, or has failed."""
        self._schedule.network_moved(self._clock())
        self._wake.set()

    def awaited(self) -> Awaitable[None] | None:
        """New credentials, for who is about to seek a path; it ends at the latest after `schedule.LONGEST_WAIT`, or
        where there are none now. `None`: there is nothing to wait for."""
        now = self._clock()
        until = self._schedule.path_sought(now)
        if until is None:
            return None
        self._wake.set()
        return _wait(self._fetched, until - now)

    def refused(self) -> None:
        """A TURN server does not take the credentials: ask for others, soon."""
        self._schedule.refused(self._clock())
        self._wake.set()

    async def _run(self, first: asyncio.Future[None]) -> None:
        while True:
            self._wake.clear()
            if (delay := self._schedule.next_at - self._clock()) <= 0:
                await self._fetch()
                if not first.done():
                    first.set_result(None)
                continue
            try:
                async with asyncio.timeout(min(delay, LOOK_INTERVAL)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _fetch(self) -> None:
        self._schedule.asked(self._clock())
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                issued = await self._provider.ice_servers()
            if issued.servers != self._servers:
                self._use(issued)
            self._schedule.succeeded(issued.lifetime, self._clock())
        except asyncio.CancelledError as error:  # of this task; or of the provider's own work
            if self._task is None or self._task.cancelling():
                raise
            self._failed(error)
        except Exception as error:  # a provider of the application may raise anything
            self._failed(error)
        finally:
            fetched, self._fetched = self._fetched, asyncio.Event()
            fetched.set()

    def _use(self, issued: IssuedIceServers) -> None:
        try:
            self._on_issued(issued.servers, issued.lifetime)
        except ValueError as error:  # such as more servers than clients may be told; it shows no password
            raise PerdureError(str(error)) from error
        self._servers = issued.servers

    def _failed(self, error: BaseException) -> None:
        now = self._clock()
        self._schedule.failed(now)
        self._tell(FetchFailure(_why(error), self._schedule.next_at - now, self._schedule.expires_in(now)))

    def _tell(self, failure: FetchFailure) -> None:
        fields: dict[str, Field] = {"why": failure.reason, "retry_in": round(failure.retry_in, 1)}
        if failure.expires_in is not None:
            fields["expires_in"] = round(failure.expires_in, 1)
        log_event(log, logging.WARNING, "turn-credentials-failed", **fields)
        self._on_failed(failure)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _why(error: BaseException) -> str:
    """For a person. The text of an exception that is neither ours nor the system's may hold a secret."""
    if isinstance(error, TimeoutError) and not str(error):
        return f"the provider did not answer within {FETCH_TIMEOUT:.0f} s"
    if isinstance(error, PerdureError | OSError):
        return without_logins(str(error))
    return f"the provider raised {type(error).__name__}"
