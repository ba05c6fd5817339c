"""A client's sessions: one at a time, and where one ends for good the next begins."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from perdure.config import TransportConfig
from perdure.core.recovery_policy import renewal_delay
from perdure.core.state import Reason, State
from perdure.errors import CarrierError, PeerError, PerdureError, RendezvousError
from perdure.eventlog import log_event
from perdure.ice_servers import of_gateway, out_of_reach
from perdure.role_ice_servers import RoleIceServers
from perdure.signaling.status import SignalingState, SignalingStatus
from perdure.tube import Endpoint
from perdure.urls import without_logins
from perdure.wire import SESSION_ID_BYTES, SESSION_KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from perdure.core.actions import StateChanged
    from perdure.ice_server import IceServer
    from perdure.manager import TunnelConnectionManager
    from perdure.netmon.monitor import NetworkMoved
    from perdure.registry import TubeRegistry
    from perdure.signaling.client_peer import ClientSignaling
    from perdure.signaling.messages import RTCIceServer
    from perdure.ticket import Ticket
    from perdure.transport.base import Transport
    from perdure.turn.provider import IceServerProvider

log = logging.getLogger("perdure.client")


class MakeSignaling(Protocol):
    """Makes the way to the rendezvous for one session; as `ClientSignaling` itself does."""

    def __call__(
        self,
        ticket: Ticket,
        session_id: bytes,
        *,
        key: X25519PrivateKey,
        on_status: Callable[[SignalingStatus], None],
        on_ice_servers: Callable[[Sequence[RTCIceServer]], None],
        interfaces: Callable[[], Sequence[str]],
    ) -> ClientSignaling: ...


GATEWAY_TIMEOUT = 10.0
"""Seconds that an absent gateway is waited for without `retry`: a restarted one is back within three."""


class ClientSessions:
    """The sessions with the gateway of `ticket`, each a tube of `tubes`.

    Args:
        key: this installation's.
        transport, ice_server_provider: name this end's own ICE servers; the gateway's are used beside them.
        retry: whether they outlive a rendezvous or a gateway that is away, and a session that ended.
        interfaces: the names of those by which the rendezvous may be reached beside the routes' own way.
        token_bytes: the source of session ids and keys; must be cryptographically random.
    """

    def __init__(
        self,
        ticket: Ticket,
        tubes: TubeRegistry,
        *,
        retry: bool,
        key: X25519PrivateKey,
        transport: TransportConfig | Transport | None,
        ice_server_provider: IceServerProvider | None,
        make_signaling: MakeSignaling,
        interfaces: Callable[[], Sequence[str]],
        random: Random,
        token_bytes: Callable[[int], bytes],
    ) -> None:
        self.error: PerdureError | None = None
        """Why there will be no session any more."""
        self._ticket = ticket
        self._tubes = tubes
        self._retry = retry
        self._key = key
        self._ice_servers = RoleIceServers(
            transport, ice_server_provider, tubes, use=self._use_ice_servers, random=random
        )
        self._may_use_loopback = transport.loopback if isinstance(transport, TransportConfig) else transport is not None
        """On the gateway's word. A `Transport` of somebody's own judges where it sends packets itself."""
        self._told_servers: tuple[IceServer, ...] = ()
        """Those of the gateway's last ones that are used."""
        self._make_signaling = make_signaling
        self._interfaces = interfaces
        self._random = random
        self._token_bytes = token_bytes
        self._manager: TunnelConnectionManager | None = None
        self._signaling: ClientSignaling | None = None
        self._was_ready = False
        self._session_worked = False
        self._news = asyncio.Event()
        """Set where a state changed, a session began, or they ended."""
        self._running: asyncio.Task[None] | None = None
        self._gateway_timer: asyncio.TimerHandle | None = None
        self._is_stopping = False

    @property
    def manager(self) -> TunnelConnectionManager | None:
        """The current session's; `None` before the first."""
        return self._manager

    @property
    def signaling_status(self) -> SignalingStatus | None:
        """The current session's; `None` before the first."""
        return None if self._signaling is None else self._signaling.status

    async def start(self) -> None:
        """Begin the first session, with a provider's ICE servers where it has them within 2 s."""
        await self._ice_servers.start()
        self._begin()
        self._running = asyncio.get_running_loop().create_task(self._run())
        self._running.add_done_callback(self._stopped)

    async def stop(self) -> None:
        """End the current session behind what was written, and tell the gateway; no other begins."""
        self._is_stopping = True
        await self._ice_servers.close()
        if self._gateway_timer is not None:
            self._gateway_timer.cancel()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        if self._manager is not None:
            if self.error is None:
                await self._manager.shutdown(Reason.SHUT_DOWN, "the client was stopped")
            else:
                await self._manager.shutdown(Reason.CLOSED_LOCALLY, str(self.error))
        if self._signaling is not None:
            await self._signaling.wait_closed()

    def _stopped(self, running: asyncio.Task[None]) -> None:
        """An exception here is a mistake of ours or of `make_signaling`; all who wait are told of it."""
        if not running.cancelled() and (error := running.exception()) is not None:
            log_event(log, logging.ERROR, "sessions-failed", error)
            self.fail(PeerError(f"no session can begin: {type(error).__name__}: {error}", reason="error"))

    def fail(self, error: PerdureError) -> None:
        """There can be no session any more."""
        if self.error is None and not self._is_stopping:
            self.error = error
            self.tell()

    def tell(self) -> None:
        """Wake all callers of `wait_news`."""
        self._news.set()

    async def wait_news(self) -> None:
        """Wait until a state changed, a session began, or they ended."""
        self._news.clear()
        await self._news.wait()

    def network_moved(self, moved: NetworkMoved) -> None:
        # The tube first: its offer is gathered while the link to the rendezvous comes back.
        self._tubes.network_moved(moved)
        self._ice_servers.network_moved()
        if (signaling := self._signaling) is not None:
            local_address_lost = moved.invalidates(signaling.local_address)
            signaling.network_moved(local_address_lost=local_address_lost, slept_seconds=moved.slept_seconds)

    def why_not_yet(self, waited: str) -> PerdureError:
        """What stands in the way of the first connection."""
        assert self._signaling is not None
        status = self._signaling.status
        match status.state:
            case SignalingState.UNREACHABLE | SignalingState.FAILED:
                return RendezvousError(status.problem, url=status.url)
            case SignalingState.WAITING_FOR_GATEWAY:
                return _no_gateway(status.url, waited)
            case SignalingState.KNOCKING:
                why = status.reason or "it does not answer"
                return PeerError(f"the gateway takes no session: {why} ({waited})", reason="no answer")
            case _:
                found = f"no path to the gateway was found ({waited})"
                troubles = self._tubes.ice_servers.describe_troubles()
                to_check = () if troubles.allow_no_path else ("is UDP allowed, and are the ICE servers right?",)
                return PeerError("; ".join([found, *troubles.sentences, *to_check]), reason="no path")

    def _begin(self) -> None:
        session_id = self._token_bytes(SESSION_ID_BYTES)
        self._session_worked = False
        signaling = self._signaling = self._make_signaling(
            self._ticket,
            session_id,
            key=self._key,
            on_status=self._signaling_changed,
            on_ice_servers=self._ice_servers_told,
            interfaces=self._interfaces,
        )
        endpoint = Endpoint(session_id, self._token_bytes(SESSION_KEY_BYTES), signaling)
        manager = self._manager = self._tubes.create_tube(endpoint.tube_id, endpoint=endpoint)
        manager.add_state_change_callback(self._state_changed)
        signaling.start()
        manager.start()
        self.tell()

    async def _run(self) -> None:
        failures = 0
        while True:
            assert self._manager is not None
            assert self._signaling is not None
            end = await self._manager.wait_ended()
            await self._signaling.wait_closed()
            if not self._retry:
                self.fail(PeerError(f"the tunnel ended: {_sentence(end)}", reason=end.reason.name))
                return
            failures = 0 if self._session_worked else failures + 1
            delay = renewal_delay(self._tubes.policy, end.reason, failures, self._random)
            log_event(log, logging.WARNING, "new-session", retry_in=delay, why=_sentence(end))
            await asyncio.sleep(delay)
            if self.error is not None:
                return
            self._begin()

    def _signaling_changed(self, status: SignalingStatus) -> None:
        is_late = status.state is SignalingState.WAITING_FOR_GATEWAY and self._was_ready
        is_bad = status.state in {SignalingState.UNREACHABLE, SignalingState.FAILED} and status.reason
        level = logging.WARNING if is_late or is_bad else logging.INFO
        log_event(log, level, "signaling", status=str(status))
        if self._gateway_timer is not None:
            self._gateway_timer.cancel()
        match status.state:
            case SignalingState.UNREACHABLE if not self._retry and not self._was_ready and status.reason:
                self.fail(RendezvousError(status.problem, url=status.url))
            case SignalingState.WAITING_FOR_GATEWAY if not self._retry and not self._was_ready:
                error = _no_gateway(status.url, f"waited {GATEWAY_TIMEOUT:.0f} s")
                self._gateway_timer = asyncio.get_running_loop().call_later(GATEWAY_TIMEOUT, self.fail, error)
            case SignalingState.FAILED:
                signaling = self._signaling
                error_now = signaling.error if signaling is not None else None
                self.fail(error_now or RendezvousError(status.reason, url=status.url))

    def _ice_servers_told(self, named: Sequence[RTCIceServer]) -> None:
        try:
            servers = tuple(filter(self._takes, of_gateway(named)))
            if servers != self._told_servers:
                self._tubes.set_ice_servers((*self._ice_servers.all, *servers))
                self._told_servers = servers
        except (ValueError, CarrierError) as error:
            log_event(log, logging.WARNING, "ice-servers-refused", why=without_logins(str(error)))

    def _takes(self, server: IceServer) -> bool:
        why = out_of_reach(server, loopback=self._may_use_loopback)
        if why is not None:
            log_event(log, logging.WARNING, "ice-server-refused", server=server.url, why=why)
        return why is None

    def _use_ice_servers(self, own: tuple[IceServer, ...], expires_in: float | None) -> None:
        self._tubes.set_ice_servers((*own, *self._told_servers), expires_in=expires_in)

    def _state_changed(self, change: StateChanged) -> None:
        if change.after is State.CONNECTED:
            self._session_worked = self._was_ready = True
        self.tell()


def _no_gateway(url: str, waited: str) -> PeerError:
    return PeerError(f"no gateway serves this ticket at {url} ({waited}; is `perdure serve` running?)", reason="absent")


def _sentence(end: StateChanged) -> str:
    return f"{end.reason.value} ({end.detail})" if end.detail else end.reason.value
