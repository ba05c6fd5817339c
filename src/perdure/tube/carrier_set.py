"""A tube's carriers: begun, negotiated and closed as the core decides.

1. Nothing is decided here: the core hears of each carrier whether ICE can be restarted on it, and of each that could
   not be begun.
2. A carrier may take time to close. The next one begins meanwhile; who waits for the tube's end waits for that too.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from perdure.core.events import CarrierMade, StandbyUseless
from perdure.errors import CarrierError
from perdure.eventlog import log_event
from perdure.transport.base import StandbyTransport
from perdure.tube.log import log, log_standby_useless, log_switched
from perdure.tube.standby_places import MAX_STANDBYS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from perdure.netmon.state import Snapshot
    from perdure.transport.base import Carrier, CarrierListener, Path, Transport
    from perdure.tube.path_listener import PathListener
    from perdure.tube.standby_places import StandbyPlaces

CLOSE_TIMEOUT = 5.0
"""Seconds that a carrier may take to close. aiortc takes some milliseconds; one that hangs must not hold up who waits
for the tube's end."""


class CarrierSet:
    """The carriers of one tube: the current one, a spare beside it, and the one before.

    Args:
        path_listener: the tube's driver.
        listener: hears of each carrier.
        places: of the registry, for warm spares.
    """

    __slots__ = ("_closing", "_listener", "_path_listener", "_transport", "current", "old", "places", "spare")

    def __init__(
        self, path_listener: PathListener, transport: Transport, listener: CarrierListener, places: StandbyPlaces
    ) -> None:
        self.current: Carrier | None = None
        self.spare: Carrier | None = None
        self.places = places
        self.old: Carrier | None = None
        self._path_listener = path_listener
        self._transport = transport
        self._listener = listener
        self._closing: tuple[asyncio.Future[None], ...] = ()
        """Carriers that are being closed."""

    @property
    def generation(self) -> int:
        """The one that made the current carrier; 0 where there is none."""
        return self.current.generation if self.current is not None else 0

    @property
    def local_address(self) -> str | None:
        """This machine's address on the path in use; see `Carrier.local_address`."""
        return self._address(self.current)

    @property
    def spare_address(self) -> str | None:
        """The same of the spare."""
        return self._address(self.spare)

    @property
    def standby_path(self) -> Path | None:
        """Of the carrier that stands by."""
        return self.spare.path() if self.spare is not None and self.places.has(self.spare) else None

    def _address(self, carrier: Carrier | None) -> str | None:
        if carrier is None:
            return None
        try:
            return carrier.local_address
        except Exception as error:  # one tube's, which must not keep the news of a change from the others
            log_event(log, logging.ERROR, "no-local-address", error, tube=self._path_listener.tube_id)
            return None

    def is_spare(self, generation: int) -> bool:
        return self.spare is not None and self.spare.generation == generation

    def is_current(self, generation: int) -> bool:
        return self.current is not None and self.current.generation == generation

    def is_old(self, generation: int) -> bool:
        return self.old is not None and self.old.generation == generation

    def switch(self) -> None:
        """The session goes on on the spare. Of the carriers before, only the last is kept."""
        if self.spare is not None:
            log_switched(self._path_listener.tube_id, self.generation, self.spare.generation)
        self._retire(self.current)
        self.current, self.spare = self.spare, None
        if self.current is not None and self.places.has(self.current):
            self.places.give_back(self.current)
            try:
                if isinstance(self._transport, StandbyTransport):
                    self._transport.use_all_links(self.current)
            except Exception as error:
                self.failed(self.current.generation, error)

    # What the core decides.

    def renew_networks(self) -> None:
        self._transport.renew()

    def offer(self, generation: int, *, is_spare: bool, stands_by: bool = False) -> None:
        offer = self._offer_standby if stands_by else self._transport.offer
        self._begin(generation, is_spare, lambda: offer(generation, self._listener), stands_by, is_own=True)

    def answer(self, generation: int, sdp: str, *, is_spare: bool, stands_by: bool = False) -> None:
        answer = self._transport.answer
        self._begin(generation, is_spare, lambda: answer(generation, sdp, self._listener), stands_by, is_own=False)

    def count_uplinks(self, network: Snapshot | None) -> int:
        """See `StandbyTransport.count_uplinks`."""
        try:
            return self._transport.count_uplinks(network) if isinstance(self._transport, StandbyTransport) else 1
        except Exception as error:  # as for `_address`
            log_event(log, logging.ERROR, "no-uplinks", error, tube=self._path_listener.tube_id)
            return 1

    def check_standby(self) -> None:
        """Tell the core where the warm spare is on the link of the path in use, which the engine may have moved."""
        transport, here, there = self._transport, self.local_address, self.spare_address
        if self.spare is None or here is None or not isinstance(transport, StandbyTransport):
            return
        if there is not None and not transport.are_apart(here, there):
            log_standby_useless(self._path_listener.tube_id, self.spare.generation, here, there)
            self._path_listener.feed(StandbyUseless(self.spare.generation))

    def restart(self, generation: int) -> None:
        if self.current is not None:
            self.current.restart(generation)

    def answer_restart(self, generation: int, sdp: str) -> None:
        if self.current is not None:
            self.current.answer_restart(generation, sdp)

    def apply_answer(self, generation: int, sdp: str) -> None:
        if (carrier := self._negotiated(generation)) is not None:
            carrier.apply_answer(sdp)

    def add_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        if (carrier := self._negotiated(generation)) is not None:
            carrier.add_candidate(candidate, sdp_mid, sdp_mline)

    def measure(self) -> None:
        if self.current is not None:
            self.current.measure()

    def kill(self) -> None:
        if self.current is not None:
            self.current.kill()

    def close(self, generation: int) -> None:
        """The carrier of that generation, where there is one."""
        carrier: Carrier | None = None
        if self.is_current(generation):
            carrier, self.current = self.current, None
        elif self.is_spare(generation):
            carrier, self.spare = self.spare, None
        elif self.is_old(generation):
            carrier, self.old = self.old, None
        if carrier is None:
            return
        try:
            closing = carrier.close()
        finally:
            self.places.give_back(carrier)
        if closing is not None:
            task = asyncio.get_running_loop().create_task(self._wait_until_closed(carrier.generation, closing))
            self._closing = (*self._closing, task)
            task.add_done_callback(self._has_closed)

    async def wait_closed(self) -> None:
        """Wait until every carrier that was closed is gone; `CLOSE_TIMEOUT` at most. Cancelling this stops none."""
        if self._closing:
            await asyncio.wait(self._closing)

    def failed(self, generation: int, error: Exception) -> None:
        """A mistake of the transport's or of ours costs the carrier, and is not silent."""
        tube_id = self._path_listener.tube_id
        log_event(log, logging.ERROR, "carrier-failed", error, tube=tube_id, generation=generation)
        self._gone_soon(generation, f"an error here: {type(error).__qualname__}")

    def _offer_standby(self, generation: int, listener: CarrierListener) -> Carrier:
        if not isinstance(self._transport, StandbyTransport) or (address := self.local_address) is None:
            raise CarrierError("nobody can tell which link is in use", generation=generation)
        return self._transport.offer_apart(generation, listener, address)

    def _begin(
        self, generation: int, is_spare: bool, begin: Callable[[], Carrier], stands_by: bool, *, is_own: bool
    ) -> None:
        try:
            if stands_by and not self.places.has_room(is_own=is_own):
                raise CarrierError(f"{MAX_STANDBYS} warm spares are held", generation=generation)
            carrier = begin()
            can_restart = carrier.can_restart
        except CarrierError as error:
            self._gone_soon(generation, str(error))
        except Exception as error:
            self.failed(generation, error)
        else:
            if stands_by:
                self.places.take(carrier, is_own=is_own)
            if is_spare:
                if self.spare is not None:  # it gave way
                    self._retire(self.spare)
                self.spare = carrier
            else:
                self.current = carrier
            self._path_listener.feed(CarrierMade(generation, can_restart))

    def _retire(self, carrier: Carrier | None) -> None:
        if self.old is not None:
            self.close(self.old.generation)
        self.old = carrier

    def _negotiated(self, generation: int) -> Carrier | None:
        """The carrier that a negotiation is about. A restart has a generation of its own, and is of the current one."""
        return self.spare if self.is_spare(generation) else self.current

    def _gone_soon(self, generation: int, why: str) -> None:
        asyncio.get_running_loop().call_soon(self._path_listener.carrier_gone, generation, why)

    async def _wait_until_closed(self, generation: int, closing: Awaitable[None]) -> None:
        tube_id = self._path_listener.tube_id
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await closing
        except Exception as error:
            log_event(log, logging.ERROR, "carrier-not-closed", error, tube=tube_id, generation=generation)

    def _has_closed(self, task: asyncio.Future[None]) -> None:
        self._closing = tuple(other for other in self._closing if other is not task)
