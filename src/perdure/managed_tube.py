"""One tube with all its parts put together: what its registry and the roles hold of it.

`TunnelConnectionManager` is the same tube as applications have it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from perdure.core.actions import StateChanged
from perdure.core.events import CloseRequested, NetworkChanged, RelaysRenewed, UplinksCounted
from perdure.core.state import Reason, State
from perdure.errors import PeerError
from perdure.netmon.lost_addresses import Lost
from perdure.netmon.lost_addresses import after as lost_after
from perdure.streams.streams import Streams
from perdure.tube import Driver, EventPublisher, clock
from perdure.tube.arguments import check_close
from perdure.tube.changes import ChangeWaiters

if TYPE_CHECKING:
    from perdure.application_signaling import ApplicationSignaling
    from perdure.config import ResourceLimits
    from perdure.delivery import SignalHandler
    from perdure.netmon.lost_addresses import LostAddress
    from perdure.netmon.monitor import NetworkMoved
    from perdure.streams.streams import Incoming
    from perdure.streams.target import AnyTarget
    from perdure.streams.transport import StreamTransport
    from perdure.tube import Endpoint, Environment
    from perdure.tube.tube_listener import Told


class ManagedTube:
    """The parts of one tube. Its methods belong on the event loop's thread.

    Args:
        environment: what the registry's tubes share.
        signaling: where the application carries the signaling itself.
        on_change: told of each change of state, first.
    """

    __slots__ = (
        "_lost_addresses",
        "_on_change",
        "changes",
        "driver",
        "established_at",
        "publisher",
        "signaling",
        "streams",
    )

    def __init__(
        self,
        tube_id: str,
        conversation_id: str | None,
        endpoint: Endpoint,
        environment: Environment,
        *,
        signaling: ApplicationSignaling | None = None,
        signal_handler: SignalHandler | None = None,
        incoming: Incoming | None = None,
        on_change: Callable[[ManagedTube, StateChanged], None],
    ) -> None:
        self._on_change = on_change
        self._lost_addresses: tuple[LostAddress, ...] = ()
        """Of its path, a moment ago."""
        self.publisher = EventPublisher(tube_id, conversation_id, signal_handler)
        self.changes = ChangeWaiters()
        """Those who wait for the next change of state."""
        self.established_at: float | None = None
        """When it was first connected."""
        self.driver = Driver(tube_id, endpoint, environment, self)
        self.streams = Streams(tube_id, self.driver.carriers, incoming=incoming, holder=endpoint.holder)
        self.signaling = signaling
        if signaling is not None:
            signaling.bind(self.driver, self.publisher)

    @property
    def tube_id(self) -> str:
        return self.publisher.tube_id

    @property
    def state(self) -> State:
        return self.driver.core.state

    @property
    def is_open(self) -> bool:
        """Whether it has neither ended, nor begun to."""
        return self.driver.end is None and not self.driver.is_closing and not self.driver.carriers.session.is_over

    def check_loop(self) -> None:
        """Raises `RuntimeError` where another event loop runs than the tube's."""
        if asyncio.get_running_loop() is not self.driver.carriers.loop:
            raise RuntimeError(f"tube {self.tube_id!r} belongs to another event loop than the one that runs here")

    def open_stream(self, target: AnyTarget) -> StreamTransport:
        """A new stream, at once: what is written waits until the other end takes it.

        Raises:
            RuntimeError: this end has closed the tube, or is closing it.
            PeerError: the tube has ended otherwise.
            ConnectionRefusedError: it carries as many streams as it may.
        """
        if (end := self.driver.end) is not None and end.reason not in (Reason.CLOSED_LOCALLY, Reason.SHUT_DOWN):
            raise self.ended_error(end)
        self.driver.check_open()
        return self.streams.open(target)

    def network_moved(self, moved: NetworkMoved) -> None:
        """What a `NetworkMonitor` told."""
        held, network = self.driver.carriers.held, None if moved.change is None else moved.change.after
        address, beside = held.local_address, held.spare_address
        leads_on = network is not None and beside is not None and network.leads_by(beside)
        is_there = network is not None and address is not None and network.has(address)
        is_lost, lost = moved.invalidates(address), Lost(self._lost_addresses)
        if moved.change is not None:
            lost = lost_after(self._lost_addresses, moved.change, address, clock())
        self._lost_addresses = lost.addresses
        self.driver.network_changed(
            NetworkChanged(
                moved.trigger,
                moved.has_address,
                moved.is_new_address,
                is_lost,
                moved.slept_seconds,
                moved.detail,
                lost.is_return,
                leads_elsewhere=is_lost is True and is_there,
                standby_untouched=moved.invalidates(beside) is False,
                standby_leads_on=leads_on and moved.invalidates(beside) is False,
            )
        )
        if network is not None:  # afterwards: a warm spare on the last uplink that is left may be of use now
            self.driver.feed(UplinksCounted(held.count_uplinks(network)))

    def relay_credentials_renewed(self, is_of: Callable[[str], bool] = lambda url: True) -> None:
        """There are new TURN credentials, for the servers whose URLs `is_of` accepts. A path through one of them gets
        an allocation with the new ones, on a spare carrier. Else a warm spare through one makes room for another."""
        if not self.is_open or not self.state.is_up:
            return
        path, standby = self.driver.carriers.path, self.driver.carriers.held.standby_path
        if path is not None and path.relay_url is not None and is_of(path.relay_url):
            self.driver.feed(RelaysRenewed())
        elif standby is not None and standby.relay_url is not None and is_of(standby.relay_url):
            self.driver.feed(RelaysRenewed(of_standby=True))

    def turn_servers_revived(self) -> None:
        """What seeks a path found no TURN server that took its credentials, and there are others now."""
        if self.is_open and not self.state.is_up:
            self.driver.feed(RelaysRenewed())

    def set_limits(self, limits: ResourceLimits) -> None:
        self.driver.carriers.session.streams.limits = limits

    def kill_carrier(self) -> None:
        """Tear the current carrier down as a crash would. For tests and the demo."""
        self.driver.carriers.held.kill()

    def begin_to_end(self, reason: Reason, detail: str = "") -> None:
        """Begin to end the tube. Raises as `TunnelConnectionManager.shutdown`."""
        check_close(reason, detail)
        self.check_loop()
        if not self.state.is_final:
            self.driver.run(connect=False)  # the farewell has a timer, also where nothing else was to be watched
            self.driver.feed(CloseRequested(reason, detail))

    def ended_error(self, end: StateChanged) -> PeerError:
        """For who would use a tube that has come to its `end`."""
        return PeerError(f"tube {self.tube_id!r} ended: {end.reason.value}", reason=end.reason.name)

    async def wait_ended(self) -> StateChanged:
        """Wait until the tube has FAILED or is CLOSED, and its carriers are closed; the last change of its state."""
        self.check_loop()
        while (end := self.driver.end) is None:
            await self.changes.next()
        await self.driver.carriers.held.wait_closed()
        return end

    def told(self, action: Told) -> None:
        """For `Driver`."""
        if isinstance(action, StateChanged):
            self._changed(action)
        else:
            self.publisher.told(action, self.driver.core.liveness.rtt.srtt)

    def _changed(self, change: StateChanged) -> None:
        driver, is_end = self.driver, change.after.is_final
        if change.after is State.CONNECTED:
            driver.descriptions.forget()
            if self.signaling is not None:
                self.signaling.connected()
            if self.established_at is None:
                self.established_at = clock()
                driver.feed(UplinksCounted(driver.carriers.held.count_uplinks(None)))
        try:
            self._on_change(self, change)
            if is_end:
                driver.descriptions.end(PeerError(f"the tube ended: {change.reason.value}", reason=change.reason.name))
                if self.signaling is not None:
                    self.signaling.ended()
            self.publisher.state_changed(change, driver.core.generation)
        finally:  # whatever an application's code did: those who wait are told
            if is_end:
                self.publisher.close()
            self.changes.happened()
