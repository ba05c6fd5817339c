"""A peer's candidates on their way to the engine: judged, and a `.local` name among them replaced by its address.

1. A name is looked up once for a carrier, and only where the peer sent it in a candidate that `reach` takes.
2. The address that is found is judged like one that the peer names.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from perdure.eventlog import log_event
from perdure.transport.reach import local_name, with_address

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from perdure.addresses import Address
    from perdure.transport.reach import Reach

_log = logging.getLogger("perdure.transport")


class PeerCandidates:
    """Those of one carrier.

    Args:
        generation: the carrier's, for the log.
        resolve: `mdns.Resolver.resolve`.
    """

    def __init__(
        self, generation: int, reach: Reach, resolve: Callable[[str], Coroutine[object, object, Address | None]]
    ) -> None:
        self.reach = reach
        self._generation = generation
        self._resolve = resolve
        self._lookups: dict[str, asyncio.Task[Address | None]] = {}
        """Each name that was looked up; `reach.MAX_NAMES` at most."""
        self._refusals: set[str] = set()
        """Why candidates were refused; each reason is logged once."""

    def takes(self, candidate: str) -> bool:
        """Whether `candidate` is within reach; then it counts."""
        if (why := self.reach.refusal(candidate)) is not None:
            self._refused(why)
        return why is None

    async def with_address(self, candidate: str) -> str | None:
        """`candidate`, which has a `.local` name and was taken, with that name's address; `None` where nobody tells
        it."""
        name = local_name(candidate)
        assert name is not None
        lookup = self._lookups.get(name)
        if lookup is None:
            lookup = asyncio.get_running_loop().create_task(self._resolve(name))
            self._lookups[name] = lookup
        address = await asyncio.shield(lookup)
        if address is None:
            self._refused("nobody on this network answers for its name")
            return None
        return with_address(candidate, address)

    def close(self) -> None:
        """Nothing is looked up any more."""
        for lookup in self._lookups.values():
            lookup.cancel()

    def _refused(self, why: str) -> None:
        if why not in self._refusals:
            self._refusals.add(why)
            log_event(_log, logging.INFO, "candidate-refused", generation=self._generation, why=why)
