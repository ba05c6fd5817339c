"""Resolves the names of targets: in threads of its own, and each name once in 30 s.

A lookup cannot be broken off, and silent servers hold its thread for 10 to 30 s (resolv.conf(5)). Hence

1. the only lookup of a tube waits for no other tube's: it has a thread of its own;
2. what a tube looks up beside that shares `MAX_SHARED_LOOKUPS` threads with all others, and a tube has at most
   `MAX_LOOKUPS_OF_ONE` at a time;
3. all together have `MAX_LOOKUPS`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from perdure.addresses import literal
from perdure.delivery.threads import HandlerThreads
from perdure.tube.clock import clock

if TYPE_CHECKING:
    from perdure.addresses import Address

MAX_SHARED_LOOKUPS = 64
"""Threads for what tubes look up beside their first."""

MAX_LOOKUPS_OF_ONE = 4
"""Of one tube at a time; more wait. A page of the web has a few names."""

MAX_LOOKUPS = 1024 + MAX_SHARED_LOOKUPS
"""Threads in all, each made when it is needed. A registry has 1,000 tubes unless it is told otherwise. A waiting thread
holds some 20 KiB, and a process may have a few thousand (systemd's TasksMax)."""

KEPT_SECONDS = 30.0
"""How long the addresses of a name are used again. The system does not tell a name's own time to live."""

KEPT_FAILURE_SECONDS = 2.0
"""How long a name that could not be resolved is not asked for again."""

MAX_KEPT = 1024
"""Names; beyond it the oldest goes."""

Outcome = tuple[Sequence["Address"], OSError | None]


class Resolver:
    """The names of one gateway's targets. On the event loop's thread.

    Args:
        look_up: a name's addresses; blocks. Raises `OSError` where there is none.
    """

    def __init__(self, look_up: Callable[[str], Sequence[Address]] | None = None) -> None:
        self._look_up = look_up or addresses_of
        self._threads = HandlerThreads(limit=MAX_LOOKUPS)
        self._calls: dict[str, asyncio.Future[Outcome]] = {}
        """The lookups under way."""
        self._under_way: Counter[str] = Counter()
        """By tube."""
        self._shared = 0
        self._one_has_ended = asyncio.Event()
        self._kept: OrderedDict[str, tuple[float, Outcome]] = OrderedDict()
        """Until when, and what."""

    async def resolve(self, host: str, tube_id: str) -> Sequence[Address]:
        """The addresses of `host`, in the order in which the system would try them. Waits where there is no
        thread for it. Cancelling this gives up waiting.

        Raises:
            OSError: there is no such name, or its servers do not answer.
        """
        if (address := literal(host)) is not None:
            return (address,)
        name = host.lower()
        while (outcome := self._known(name)) is None:
            if (call := self._calls.get(name)) is not None:
                outcome = await asyncio.shield(call)  # a thread is in use also where nobody waits any more
                break
            if self._has_room(tube_id):
                self._begin(name, tube_id)
            else:
                self._one_has_ended.clear()
                await self._one_has_ended.wait()
        addresses, error = outcome
        if error is not None:
            raise error
        return addresses

    def _known(self, name: str) -> Outcome | None:
        until, outcome = self._kept.get(name, (0.0, None))
        return outcome if clock() < until else None

    def _has_room(self, tube_id: str) -> bool:
        if len(self._calls) >= MAX_LOOKUPS:
            return False
        own = self._under_way.get(tube_id, 0)
        return own == 0 or (own < MAX_LOOKUPS_OF_ONE and self._shared < MAX_SHARED_LOOKUPS)

    def _begin(self, name: str, tube_id: str) -> None:
        is_shared = tube_id in self._under_way
        self._under_way[tube_id] += 1
        self._shared += is_shared
        call = self._calls[name] = asyncio.ensure_future(self._called(name))
        call.add_done_callback(lambda call: self._ended(call, name, tube_id, is_shared=is_shared))

    async def _called(self, name: str) -> Outcome:
        found, error = await self._threads.call(cast(Any, self._look_up), cast(Any, name))
        if error is None:
            return cast("Sequence[Address]", found), None
        return (), error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}")

    def _ended(self, call: asyncio.Future[Outcome], name: str, tube_id: str, *, is_shared: bool) -> None:
        del self._calls[name]
        self._shared -= is_shared
        self._under_way[tube_id] -= 1
        if not self._under_way[tube_id]:
            del self._under_way[tube_id]
        self._one_has_ended.set()
        if call.cancelled() or call.exception() is not None:
            return
        seconds = KEPT_SECONDS if call.result()[1] is None else KEPT_FAILURE_SECONDS
        self._kept[name] = clock() + seconds, call.result()
        self._kept.move_to_end(name)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)


def addresses_of(name: str) -> Sequence[Address]:
    """As the system knows them; those with a zone are left out."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    texts = dict.fromkeys(str(address[0]) for _, _, _, _, address in found)
    return tuple(ipaddress.ip_address(text) for text in texts if "%" not in text)
