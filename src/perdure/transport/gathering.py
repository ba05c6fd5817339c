"""One carrier's gathering of candidates: which TURN servers give an allocation, refuse, or say nothing.

1. What a server itself says is judged at once. That it could not be reached is judged `REACH_DELAY` later: from another
   of this machine's addresses it may be.
2. A server that has said nothing after `pool.NO_ANSWER_TIMEOUT` does not answer. Nothing is known of it where the
   engine ended the gathering before, as ICE had found a path: what a server answers later the engine keeps to itself
   (measured: a server 0.1 s away never counts where the peer is on the same machine). What is heard of it later is
   judged then: the engine tells that a TCP port is closed only when all other servers have answered or failed.
3. Of a server that gave an allocation no failure counts: there is one local address more than it can be reached from.
4. Where the credentials are known to be spent, new ones are waited for before it begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from perdure.turn.pool import NO_ANSWER, NO_ANSWER_TIMEOUT, UNREACHABLE, ServerAddress, Trouble, address_of, explained

if TYPE_CHECKING:
    from perdure.ice_server import IceServer
    from perdure.transport.base import Path
    from perdure.transport.turn_servers import TurnServers

REACH_DELAY = 0.5
"""Seconds: an allocation takes two round trips."""


class Gathering:
    """A carrier's. Each ICE restart begins another one."""

    def __init__(self, servers: TurnServers) -> None:
        self._servers = servers
        self._asked: dict[ServerAddress, IceServer] = {}
        self._silent: set[ServerAddress] = set()
        self._judged_silent: set[ServerAddress] = set()
        self._allocated: set[ServerAddress] = set()
        self._has_ended = False
        self._timers: list[asyncio.TimerHandle] = []
        servers.opened(self)

    async def ready(self) -> None:
        """Wait for new credentials, where those in use are spent and others are on their way."""
        if (awaited := self._servers.awaited()) is not None:
            await awaited

    def begin(self, has_path: Callable[[], bool]) -> None:
        """The engine gathers from now on, with the servers that it was given last.

        Args:
            has_path: whether ICE has found a path.
        """
        self._stop()
        self._asked = self._servers.asked()
        self._silent = set(self._asked)
        self._judged_silent, self._allocated = set(), set()
        self._has_ended = False
        if self._silent:
            self._later(NO_ANSWER_TIMEOUT, partial(self._judge_silent, has_path))

    def found(self, url: str | None) -> None:
        """A candidate was found at the server at `url`, if it was found at one."""
        server = self._servers.address_of(url)
        if server is not None and server not in self._allocated:
            self._silent.discard(server)
            self._allocated.add(server)
            self._servers.worked(server)

    def errored(self, url: str, code: int, text: str) -> None:
        """The engine told of an error; it does so for each local address."""
        server = self._servers.address_of(url)
        if server is not None and (server in self._silent or server in self._judged_silent):
            self._silent.discard(server)
            self._judged_silent.discard(server)
            if code == UNREACHABLE and server != address_of(url):
                return  # a bridge, which knows more and has told it
            delay = REACH_DELAY if code == UNREACHABLE else 0.0
            self._later(delay, partial(self._judge, server, code, explained(code, text)))

    def ended(self) -> None:
        """The engine gathers no more: all servers have answered or failed, or ICE has found a path."""
        self._has_ended = True

    def shown(self, path: Path) -> Path:
        """`path` with its TURN server as it was configured."""
        return self._servers.shown(path)

    def close(self) -> None:
        """The carrier is closed. Twice is fine."""
        self._stop()
        self._servers.closed(self)

    def _stop(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _later(self, delay: float, judge: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(delay, judge))

    def _judge(self, server: ServerAddress, code: int, why: tuple[str, Trouble]) -> None:
        if server not in self._allocated:
            self._servers.failed(server, code, why, self._asked.get(server))

    def _judge_silent(self, has_path: Callable[[], bool]) -> None:
        if self._has_ended and has_path():
            return
        self._judged_silent, self._silent = set(self._silent), set()
        for server in tuple(self._judged_silent):
            self._servers.failed(server, 0, NO_ANSWER)
