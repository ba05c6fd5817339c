"""The gateway role: serves a ticket's clients, one tube each, and dials only what its allow list names."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from perdure.core.state import Reason
from perdure.errors import PerdureError, RendezvousError
from perdure.eventlog import log_event
from perdure.forward.target import parse_target
from perdure.forward.tcp import StreamPipe, dial
from perdure.manager import Endpoint
from perdure.netmon.monitor import NetworkMonitor
from perdure.registry import TubeRegistry
from perdure.signaling.gateway_peer import GatewaySignaling
from perdure.signaling.status import SignalingState, SignalingStatus

if TYPE_CHECKING:
    from perdure.config import ResourceLimits, RestartPolicy, SessionLimits, TransportConfig
    from perdure.forward.target import AllowList, Target
    from perdure.manager import TunnelConnectionManager
    from perdure.netmon.monitor import NetworkMoved
    from perdure.signaling.base import SignalingChannel
    from perdure.ticket import Ticket
    from perdure.tube import StreamSink

log = logging.getLogger(__name__)


class Gateway:
    """Serves `ticket` until cancelled.

    Args:
        exit_on_fail: end with an error when the rendezvous cannot be reached at the start, instead of waiting for it.
    """

    def __init__(
        self,
        ticket: Ticket,
        allow: AllowList,
        *,
        policy: RestartPolicy,
        session_limits: SessionLimits,
        limits: ResourceLimits,
        transport: TransportConfig,
        exit_on_fail: bool = False,
    ) -> None:
        self.tubes = TubeRegistry(policy, session_limits, limits, transport=transport, on_stream=self._stream_opened)
        """The tubes that are served now."""
        self._allow = allow
        self._exit_on_fail = exit_on_fail
        self._is_stopping = False
        self._dials: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._was_ready = False
        self._signaling = GatewaySignaling(
            ticket,
            on_session=self._begin_tube,
            on_status=self._signaling_changed,
            has_room=lambda: self.tubes.check_capacity().has_room,
        )

    async def run(self) -> None:
        """Serve. Cancelling it ends every tube, and tells the clients.

        Raises:
            RendezvousError: the rendezvous refuses us for good, or, with `exit_on_fail`, cannot be reached.
        """
        async with NetworkMonitor() as network:
            network.subscribe(self._network_moved)
            self._signaling.start()
            try:
                await self._failed
            finally:
                self._is_stopping = True
                try:
                    await self.tubes.close_all(Reason.SHUT_DOWN, "the gateway was stopped")
                finally:
                    for task in self._dials:
                        task.cancel()
                    await self._signaling.close()

    def _network_moved(self, moved: NetworkMoved) -> None:
        # The tubes first: their offers are gathered while the link to the rendezvous comes back.
        self.tubes.network_moved(moved)
        local_address_lost = moved.invalidates(self._signaling.local_address)
        self._signaling.network_moved(local_address_lost=local_address_lost, slept_seconds=moved.slept_seconds)

    def _stream_opened(self, manager: TunnelConnectionManager, stream_id: int, target: bytes) -> StreamSink | None:
        try:
            wanted = parse_target(target.decode())
        except ValueError:
            log_event(log, logging.WARNING, "stream-refused", tube=manager.tube_id, why="the target cannot be read")
            return None
        if not self._allow.permits(wanted):
            why = "it is not in --allow"
            log_event(log, logging.WARNING, "stream-refused", tube=manager.tube_id, target=str(wanted), why=why)
            return None
        # A stream that ends while its target is being dialled must not leave the dialling behind.
        pipe = StreamPipe(manager.streams, on_reset=lambda code: _cancel(task))
        pipe.join(stream_id)
        task = asyncio.get_running_loop().create_task(self._dial(manager, stream_id, wanted, pipe))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)
        return pipe

    async def _dial(self, manager: TunnelConnectionManager, stream_id: int, target: Target, pipe: StreamPipe) -> None:
        code = await dial(target, pipe)
        if code is None:
            manager.streams.accept(stream_id)
            log_event(log, logging.DEBUG, "stream-opened", tube=manager.tube_id, stream=stream_id, target=str(target))
        else:
            why = code.name.lower().replace("_", " ")
            log_event(log, logging.WARNING, "target-failed", tube=manager.tube_id, target=str(target), why=why)
            manager.streams.reset(stream_id, code)

    def _begin_tube(self, session_id: bytes, channel: SignalingChannel) -> None:
        if self._is_stopping:
            channel.close()
            return
        endpoint = Endpoint(session_id, None, channel)
        try:
            manager = self.tubes.create_tube(endpoint.tube_id, endpoint=endpoint)
        except (RuntimeError, ValueError) as error:
            log_event(log, logging.WARNING, "tube-refused", tube=endpoint.tube_id, why=str(error))
            channel.close()
            return
        manager.start()

    def _signaling_changed(self, status: SignalingStatus) -> None:
        level = logging.INFO if status.state is SignalingState.READY or not status.reason else logging.WARNING
        log_event(log, level, "signaling", status=str(status))
        match status.state:
            case SignalingState.READY:
                self._was_ready = True
            case SignalingState.UNREACHABLE if self._exit_on_fail and not self._was_ready and status.reason:
                self._fail(
                    RendezvousError(f"the rendezvous at {status.url} is unreachable: {status.reason}", url=status.url)
                )
            case SignalingState.FAILED:
                self._fail(self._signaling.error or RendezvousError(status.reason, url=status.url))

    def _fail(self, error: PerdureError) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
