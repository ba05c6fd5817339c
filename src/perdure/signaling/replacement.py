"""A connection to the rendezvous that is doubted: it is asked, and where no answer comes another joins in its place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from perdure.errors import ProtocolError
from perdure.eventlog import log_event
from perdure.signaling.dialling import give_up
from perdure.signaling.frames import Challenge, Join, Joined, Refused
from perdure.signaling.link_connection import LOSSES, LinkConnection
from perdure.signaling.reasons import describe_failure

if TYPE_CHECKING:
    from perdure.signaling.dialling import Dialling

_logger = logging.getLogger("perdure.signaling")

SHORTEST_DOUBT_INTERVAL = 0.1
"""Seconds between two questions on one connection: a gateway with 1,024 tubes has as many that doubt, and the
rendezvous takes 32 pings a second (`bounded.EMPTY_FRAMES_PER_SECOND`)."""

OnJoined = Callable[[LinkConnection, Sequence[str]], None]
"""Given the connection that has joined, and the peers that are there."""


class Replacement:
    """Asks on `live`, at once unless it was asked just before, and dials where no answer comes in time. An answer that
    comes late ends that.

    Args:
        timeout: seconds to connect and to join.
        on_joined: called at most once; from then on `live` is ending.
    """

    def __init__(
        self,
        live: LinkConnection,
        *,
        dialling: Callable[[], Dialling],
        join: Callable[[Challenge], Join],
        timeout: float,
        on_joined: OnJoined,
    ) -> None:
        self._live = live
        self._dialling = dialling
        self._join = join
        self._timeout = timeout
        self._on_joined = on_joined
        self._is_joining = False
        self._task = asyncio.create_task(self._run(), name="rendezvous link check")

    @property
    def is_over(self) -> bool:
        return self._task.done()

    async def outcome(self) -> None:
        """`live` has ended. Where a join was sent, the rendezvous may have ended it because of that: wait until it is
        answered."""
        if self._is_joining:
            await asyncio.wait({self._task})

    async def stop(self) -> None:
        """Give it up. Twice is fine."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        if (delay := self._live.ask_delay(SHORTEST_DOUBT_INTERVAL)) > 0:
            await asyncio.sleep(delay)
        answered = asyncio.ensure_future(self._live.answers_ping())
        unused: LinkConnection | None = None
        try:
            if (await asyncio.wait({answered}, timeout=self._live.patience))[0]:
                return  # it works; or it has ended, which who reads notices
            log_event(_logger, logging.INFO, "rendezvous-silent", patience=self._live.patience)
            async with asyncio.timeout(self._timeout):
                if (unused := await self._connected(answered)) is not None and await self._joined(unused):
                    unused = self._live
        except (*LOSSES, ValueError, ProtocolError) as error:
            log_event(_logger, logging.INFO, "rendezvous-not-replaced", why=describe_failure(error))
        except Exception:
            _logger.exception("link-error")
        finally:
            self._is_joining = False
            answered.cancel()
            if unused is not None:
                unused.abort()
                await unused.wait_closed()

    async def _connected(self, answered: asyncio.Future[bool]) -> LinkConnection | None:
        """Another connection; `None`: the ping was answered first, or `live` has ended."""
        trying = asyncio.ensure_future(self._dialling().run())
        try:
            both: list[asyncio.Future[Any]] = [trying, answered]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            give_up(trying)
            raise
        if answered.done():
            give_up(trying)
            return None
        return LinkConnection(trying.result())

    async def _joined(self, made: LinkConnection) -> bool:
        self._is_joining = True
        await made.send_join(self._join)
        match await made.join_answer():
            case Refused() as refused:
                log_event(_logger, logging.INFO, "rendezvous-not-replaced", why=refused.code.value)
                return False
            case Joined(peers):
                log_event(_logger, logging.INFO, "rendezvous-replaced")
                self._live.abort()
                self._on_joined(made, peers)
                return True
