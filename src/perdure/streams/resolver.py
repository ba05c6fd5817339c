"""Looks up the names of targets: in threads of its own, so many for each tube, and each name once for a while."""

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

MAX_LOOKUPS = 16
"""Threads. A name whose servers do not answer holds one for 10 to 30 s (resolv.conf(5))."""

MAX_LOOKUPS_OF_ONE = 4
"""Of one tube, so that one client's silent names leave the others their threads."""

KEPT_SECONDS = 30.0
"""How long what a name came to is used again. The system does not tell a name's own time to live."""

MAX_KEPT = 1024
"""Names; beyond it the oldest goes."""


class TooManyLookupsError(Exception):
    """The tube waits for as many names already as it may."""


class Resolver:
    """The names of one gateway's targets. On the event loop's thread.

    Args:
        look_up: a name's addresses; blocks. Raises `OSError` where there is none.
    """

    def __init__(self, look_up: Callable[[str], Sequence[Address]] | None = None) -> None:
        self._look_up = look_up or addresses_of
        self._threads = HandlerThreads(limit=MAX_LOOKUPS)
        self._under_way: Counter[str] = Counter()
        self._kept: OrderedDict[str, tuple[float, Sequence[Address]]] = OrderedDict()

    async def resolve(self, host: str, tube_id: str) -> Sequence[Address]:
        """The addresses of `host`, in the order in which the system would try them. Cancelling this gives up waiting.

        Raises:
            OSError: there is no such name, or its servers do not answer.
            TooManyLookupsError: the tube waits for `MAX_LOOKUPS_OF_ONE` names.
        """
        if (address := literal(host)) is not None:
            return (address,)
        kept = self._kept.get(host)
        if kept is not None and clock() < kept[0] + KEPT_SECONDS:
            return kept[1]
        if self._under_way[tube_id] >= MAX_LOOKUPS_OF_ONE:
            raise TooManyLookupsError(f"{MAX_LOOKUPS_OF_ONE} names are looked up already")
        call = asyncio.ensure_future(self._threads.call(cast(Any, self._look_up), cast(Any, host)))
        self._under_way[tube_id] += 1
        call.add_done_callback(lambda call: self._ended(call, tube_id))
        found, error = await asyncio.shield(call)  # a thread is in use also where nobody waits any more
        if error is not None:
            raise error
        addresses = cast("Sequence[Address]", found)
        self._kept[host] = clock(), addresses
        self._kept.move_to_end(host)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return addresses

    def _ended(self, call: asyncio.Future[tuple[object, BaseException | None]], tube_id: str) -> None:
        if not call.cancelled():
            call.exception()  # nobody may be waiting any more
        self._under_way[tube_id] -= 1
        if not self._under_way[tube_id]:
            del self._under_way[tube_id]


def addresses_of(name: str) -> Sequence[Address]:
    """As the system knows them; those with a zone are left out."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    texts = dict.fromkeys(str(address[0]) for _, _, _, _, address in found)
    return tuple(ipaddress.ip_address(text) for text in texts if "%" not in text)
