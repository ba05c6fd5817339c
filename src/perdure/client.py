"""The client role: listens on local ports and carries each connection to the gateway of a ticket.

One session at a time; where one ends for good, its streams end and the next session begins, behind the same ports.
"""

from __future__ import annotations

import asyncio
import logging
import os
from random import SystemRandom
from typing import TYPE_CHECKING

from perdure.core.restart import renewal_delay
from perdure.core.state import Reason, State
from perdure.errors import NotAuthorisedError, PeerError, PerdureError, RendezvousError
from perdure.eventlog import log_event
from perdure.forward.target import Forward, Target
from perdure.forward.tcp import RefusedConnection, StreamPipe, listen
from perdure.manager import Endpoint
from perdure.netmon.monitor import NetworkMonitor
from perdure.registry import TubeRegistry
from perdure.signaling.client_peer import ClientSignaling
from perdure.signaling.status import SignalingState, SignalingStatus
from perdure.wire import SESSION_ID_BYTES, SESSION_KEY_BYTES, ResetCode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perdure.config import ResourceLimits, RestartPolicy, SessionLimits, TransportConfig
    from perdure.core.actions import StateChanged
    from perdure.manager import TunnelConnectionManager
    from perdure.netmon.monitor import NetworkMoved
    from perdure.ticket import Ticket

log = logging.getLogger(__name__)

GATEWAY_TIMEOUT = 10.0
"""Seconds that an absent gateway is waited for with `exit_on_fail`: a restarted one is back within three."""

_REFUSALS = {
    ResetCode.NOT_ALLOWED: "the gateway refuses it: it is not in its --allow list",
    ResetCode.REFUSED: "the target refused the connection",
    ResetCode.TIMED_OUT: "the target did not answer in time",
    ResetCode.UNREACHABLE: "the gateway cannot reach or resolve it",
    ResetCode.LIMIT: "the gateway carries as many streams as it may",
    ResetCode.SESSION_LOST: "the session that carried it was lost",
}


class TunnelClient:
    """Forwards local ports through the gateway of `ticket`.

    Args:
        on_listening: told each forward with the port that it really has, once all listen.
        on_ready: told the first time that the tunnel works.
        exit_on_fail: end with an error instead of waiting for a rendezvous, a gateway or a new session, and when the
            gateway refuses a target.
    """

    def __init__(
        self,
        ticket: Ticket,
        forwards: Sequence[Forward],
        *,
        policy: RestartPolicy,
        session_limits: SessionLimits,
        limits: ResourceLimits,
        transport: TransportConfig,
        on_listening: Callable[[Sequence[Forward]], None] = lambda forwards: None,
        on_ready: Callable[[], None] = lambda: None,
        exit_on_fail: bool = False,
    ) -> None:
        self._ticket = ticket
        self._forwards = forwards
        self._random = SystemRandom()
        self._registry = TubeRegistry(policy, session_limits, limits, transport=transport, random=self._random)
        self._on_listening = on_listening
        self._on_ready = on_ready
        self._exit_on_fail = exit_on_fail
        self._manager: TunnelConnectionManager | None = None
        self._signaling: ClientSignaling | None = None
        self._was_ready = False
        self._session_worked = False
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gateway_timer: asyncio.TimerHandle | None = None

    @property
    def tubes(self) -> TubeRegistry:
        """The tube of the current session, and nothing else."""
        return self._registry

    async def run(self) -> None:
        """Listen and forward. Cancelling it ends the tube, tells the gateway, and closes the ports.

        Raises:
            ListenError: a port is in use, or an address is not this machine's.
            NotAuthorisedError: the gateway says that the ticket has expired; with `exit_on_fail`, it refuses a target.
            RendezvousError, PeerError: with `exit_on_fail`; without, only where the rendezvous refuses us for good.
        """
        servers: list[asyncio.Server] = []
        try:
            bound = []
            for forward in self._forwards:
                servers.append(await listen(forward, lambda forward=forward: self._accept(forward.target)))  # type: ignore[misc]
                bound.append(Forward(forward.bind, servers[-1].sockets[0].getsockname()[1], forward.target))
            self._on_listening(bound)
            async with NetworkMonitor() as network:
                network.subscribe(self._network_moved)
                sessions = asyncio.ensure_future(self._run_sessions())
                try:
                    await asyncio.wait({sessions, self._failed}, return_when=asyncio.FIRST_COMPLETED)
                    (self._failed if self._failed.done() else sessions).result()
                finally:
                    sessions.cancel()
                    await asyncio.gather(sessions, return_exceptions=True)
        finally:
            for server in servers:
                server.close()
            if self._gateway_timer is not None:
                self._gateway_timer.cancel()

    async def _run_sessions(self) -> None:
        failures = 0
        while True:
            end = await self._run_session()
            if self._exit_on_fail:
                raise PeerError(f"the tunnel ended: {_sentence(end)}", reason=end.reason.name)
            failures = 0 if self._session_worked else failures + 1
            delay = renewal_delay(self._registry.policy, end.reason, failures, self._random)
            log_event(log, logging.WARNING, "new-session", retry_in=delay, why=_sentence(end))
            await asyncio.sleep(delay)

    async def _run_session(self) -> StateChanged:
        session_id = os.urandom(SESSION_ID_BYTES)
        self._session_worked = False
        self._signaling = ClientSignaling(self._ticket, session_id, on_status=self._signaling_changed)
        async with self._signaling as signaling:
            endpoint = Endpoint(session_id, os.urandom(SESSION_KEY_BYTES), signaling)
            manager = self._registry.create_tube(endpoint.tube_id, endpoint=endpoint)
            manager.add_state_change_callback(self._state_changed)
            self._manager = manager
            manager.start()
            try:
                return await manager.wait_ended()
            finally:
                await manager.shutdown(Reason.SHUT_DOWN, "the client was stopped")

    def _network_moved(self, moved: NetworkMoved) -> None:
        # The tube first: its offer is gathered while the link to the rendezvous comes back.
        self._registry.network_moved(moved)
        if (signaling := self._signaling) is not None:
            local_address_lost = moved.invalidates(signaling.local_address)
            signaling.network_moved(local_address_lost=local_address_lost, slept_seconds=moved.slept_seconds)

    def _accept(self, target: Target) -> asyncio.Protocol:
        """The protocol of a new local connection."""
        manager = self._manager
        if manager is None or manager.state.is_final:
            log_event(log, logging.WARNING, "connection-refused", target=str(target), why="there is no session now")
            return RefusedConnection()
        pipe = StreamPipe(manager.streams, on_reset=lambda code: self._stream_reset(target, code))
        try:
            pipe.join(manager.streams.open_stream(target.encode(), pipe))
        except RuntimeError as error:
            log_event(log, logging.WARNING, "connection-refused", target=str(target), why=str(error))
            return RefusedConnection()
        return pipe

    def _stream_reset(self, target: Target, code: ResetCode) -> None:
        if code is ResetCode.ABORTED:
            return
        log_event(log, logging.WARNING, "stream-ended", target=str(target), why=_REFUSALS[code])
        if code is ResetCode.NOT_ALLOWED and self._exit_on_fail:
            self._fail(NotAuthorisedError(f"{target}: {_REFUSALS[code]}", target=str(target)))

    def _signaling_changed(self, status: SignalingStatus) -> None:
        is_late = status.state is SignalingState.WAITING_FOR_GATEWAY and self._was_ready
        is_bad = status.state in {SignalingState.UNREACHABLE, SignalingState.FAILED} and status.reason
        level = logging.WARNING if is_late or is_bad else logging.INFO
        log_event(log, level, "signaling", status=str(status))
        if self._gateway_timer is not None:
            self._gateway_timer.cancel()
        match status.state:
            case SignalingState.UNREACHABLE if self._exit_on_fail and not self._was_ready and status.reason:
                text = f"the rendezvous at {status.url} is unreachable: {status.reason}"
                self._fail(RendezvousError(text, url=status.url))
            case SignalingState.WAITING_FOR_GATEWAY if self._exit_on_fail and not self._was_ready:
                waited = f"waited {GATEWAY_TIMEOUT:.0f} s; is `perdure serve` running?"
                error = PeerError(f"no gateway serves this ticket at {status.url} ({waited})", reason="absent")
                self._gateway_timer = asyncio.get_running_loop().call_later(GATEWAY_TIMEOUT, self._fail, error)
            case SignalingState.FAILED:
                signaling = self._signaling
                error_now = signaling.error if signaling is not None else None
                self._fail(error_now or RendezvousError(status.reason, url=status.url))

    def _fail(self, error: PerdureError) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    def _state_changed(self, change: StateChanged) -> None:
        if change.after is State.CONNECTED:
            self._session_worked = True
            if not self._was_ready:
                self._was_ready = True
                self._on_ready()


def _sentence(end: StateChanged) -> str:
    return f"{end.reason.value} ({end.detail})" if end.detail else end.reason.value
