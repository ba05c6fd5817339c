"""The client role: a tunnel to the gateway of a ticket.

One session at a time; where one ends for good, its streams end and the next session begins, behind the same ports.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import TYPE_CHECKING, Self

from perdure.core.restart import renewal_delay
from perdure.core.state import Reason, State
from perdure.errors import NotAuthorisedError, PeerError, PerdureError, RendezvousError
from perdure.eventlog import log_event
from perdure.netmon.monitor import NetworkMonitor
from perdure.registry import TubeRegistry
from perdure.roles import PATIENT_POLICY, UNLIMITED_SESSION, transport_config
from perdure.signaling.client_peer import ClientSignaling
from perdure.signaling.status import SignalingState, SignalingStatus
from perdure.streams import connections
from perdure.streams.outcomes import REASONS
from perdure.ticket import Ticket, load_ticket
from perdure.tube import Endpoint
from perdure.wire import SESSION_ID_BYTES, SESSION_KEY_BYTES, ResetCode

if TYPE_CHECKING:
    import ssl as ssl_module
    from random import Random
    from types import TracebackType

    from perdure.config import IceServer, ResourceLimits, RestartPolicy, SessionLimits, TransportConfig
    from perdure.core.actions import StateChanged
    from perdure.core.decision import Decision
    from perdure.delivery import SignalHandler, SignalIterator
    from perdure.manager import TunnelConnectionManager
    from perdure.netmon.monitor import NetworkMoved
    from perdure.streams.connections import ProtocolT
    from perdure.streams.target import Target
    from perdure.streams.transport import StreamTransport
    from perdure.transport.base import Path, Transport
    from perdure.tube import ConnectionMetrics

    MakeSignaling = Callable[[Ticket, bytes, Callable[[SignalingStatus], None]], ClientSignaling]

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 30.0
"""Seconds: two attempts of 10 s with the wait between them, and the rendezvous before."""

GATEWAY_TIMEOUT = 10.0
"""Seconds that an absent gateway is waited for without `retry`: a restarted one is back within three."""


def connect(
    ticket: Ticket | str,
    *,
    wait: bool = True,
    timeout: float | None = CONNECT_TIMEOUT,
    retry: bool = True,
    ice_servers: Sequence[IceServer | str] = (),
    loopback: bool = False,
    signal_handler: SignalHandler | None = None,
    policy: RestartPolicy = PATIENT_POLICY,
    session_limits: SessionLimits = UNLIMITED_SESSION,
    limits: ResourceLimits | None = None,
) -> Tunnel:
    """A tunnel to the gateway of `ticket`: `async with perdure.connect("@home.ticket") as tunnel:`.

    Args:
        ticket: a `Ticket`, its text, or `@FILE`.
        wait: whether entering waits until the tunnel works.
        timeout: seconds for that; `None`: for ever.
        retry: whether the tunnel outlives a rendezvous or a gateway that is away, and a session that ended; without it
            such a thing ends the tunnel with an error.
        ice_servers: STUN and TURN servers: `stun:HOST:PORT`, `turn:USER:PASSWORD@HOST:PORT`.
        loopback: also use 127.0.0.1 and ::1, for both ends on one machine.
        signal_handler: called with each `Signal`; plain (in a worker thread) or async (on the loop).
        policy, session_limits, limits: see docs/timers.md. By default a tunnel is patient and has no session timeout.

    Raises:
        TicketError: the ticket cannot be used.
        TypeError, ValueError: an argument is of another type, or out of its range.

    Entering raises:
        RendezvousError: the rendezvous cannot be reached, or refuses us.
        PeerError: the gateway is absent, or no path to it was found in time.
        NotAuthorisedError: the gateway says that the ticket has expired.
    """
    return Tunnel(
        load_ticket(ticket),
        wait=wait,
        timeout=timeout,
        retry=retry,
        transport=transport_config(ice_servers, loopback=loopback),
        signal_handler=signal_handler,
        policy=policy,
        session_limits=session_limits,
        limits=limits,
    )


class Tunnel:
    """A client's tunnel; `connect` makes it, and `async with` opens and closes it. It belongs to one event loop.

    Args:
        transport: how carriers are built, or a `Transport` of one's own.
        network: tells of changes of the machine's network; who gives it starts and closes it. Otherwise it has its own.
        make_signaling: the way to the rendezvous for one session: of a ticket, a session id, and who hears the status.
        random: for jitter.
        token_bytes: the source of session ids and keys; must be cryptographically random.

    The other arguments are those of `connect`.
    """

    def __init__(
        self,
        ticket: Ticket,
        *,
        wait: bool = True,
        timeout: float | None = CONNECT_TIMEOUT,
        retry: bool = True,
        transport: TransportConfig | Transport | None = None,
        signal_handler: SignalHandler | None = None,
        policy: RestartPolicy = PATIENT_POLICY,
        session_limits: SessionLimits = UNLIMITED_SESSION,
        limits: ResourceLimits | None = None,
        network: NetworkMonitor | None = None,
        make_signaling: MakeSignaling | None = None,
        random: Random | None = None,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._ticket = ticket
        self._waits = wait
        self._timeout = timeout
        self._retry = retry
        self._random: Random = random or SystemRandom()
        self._token_bytes = token_bytes
        self._make_signaling = make_signaling or _signaling_over_websocket
        self._own_network = NetworkMonitor() if network is None else None
        self._network = network or self._own_network
        self.tubes = TubeRegistry(
            policy, session_limits, limits, transport=transport, signal_handler=signal_handler, random=self._random
        )
        """The tube of the current session, and nothing else."""
        self._manager: TunnelConnectionManager | None = None
        self._signaling: ClientSignaling | None = None
        self._servers: list[asyncio.Server] = []
        self._was_ready = False
        self._session_worked = False
        self._is_closing = False
        self._error: PerdureError | None = None
        self._news = asyncio.Event()
        """Set where a session began, or the tunnel ended."""
        self._sessions: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._gateway_timer: asyncio.TimerHandle | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} through {self._ticket.rendezvous_url} {self.state.value}>"

    async def __aenter__(self) -> Self:
        if self._sessions is not None or self._is_closing:
            raise RuntimeError("a tunnel is entered once; connect() makes another")
        if self._own_network is not None:
            await self._own_network.start()
        assert self._network is not None
        self._unsubscribe = self._network.subscribe(self._network_moved)
        self._begin_session()
        self._sessions = asyncio.get_running_loop().create_task(self._run_sessions())
        try:
            if self._waits:
                await self._wait_first()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # What it is.

    @property
    def state(self) -> State:
        """The state of the current session's tube; INITIALIZING before the first, CLOSED once the tunnel is."""
        if self._manager is None:
            return State.INITIALIZING
        return State.CLOSED if self._is_closing else self._manager.state

    @property
    def metrics(self) -> ConnectionMetrics:
        """The current session's figures. Raises `RuntimeError` before the tunnel was entered."""
        return self._current.metrics

    @property
    def path(self) -> Path | None:
        """The path in use: direct or relayed, its protocol, both addresses, and the round trip; `None` without one."""
        return None if self._manager is None else self._manager.path

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What the policy decided last in the current session, the oldest first, at most 64; "nothing" included."""
        return () if self._manager is None else self._manager.decisions

    @property
    def manager(self) -> TunnelConnectionManager:
        """The manager of the current session's tube. Raises `RuntimeError` before the tunnel was entered."""
        return self._current

    @property
    def _current(self) -> TunnelConnectionManager:
        if self._manager is None:
            raise RuntimeError("the tunnel was not entered yet: async with perdure.connect(…) as tunnel")
        return self._manager

    # Streams.

    async def open_connection(
        self, host: str, port: int, *, limit: int = 2**16
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A stream to `host:port` beside the gateway, as `asyncio.open_connection` gives it.

        Waits while the tunnel connects, recovers or begins another session, as long as the caller does. Cancelling this
        gives the stream up.

        Args:
            limit: of the reader's buffer, in bytes.

        Raises:
            TypeError, ValueError: `host` or `port` cannot be one.
            NotAuthorisedError: the gateway does not allow this target.
            ConnectionRefusedError, TimeoutError, OSError: the target refused, did not answer, or cannot be reached.
            PeerError: the session ended meanwhile.
            RuntimeError: the tunnel is closed, or carries as many streams as it may; or another event loop runs.
        """
        return await connections.open_connection(self._open_stream, host, port, limit=limit)

    async def create_connection(
        self,
        protocol_factory: Callable[[], ProtocolT],
        host: str,
        port: int,
        *,
        ssl: bool | ssl_module.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """A stream as transport and protocol, with the signature of `loop.create_connection`; see `open_connection`.

        Args:
            ssl: True, or a context, for TLS with the target; nobody in between sees its contents.
            server_hostname: the name in the target's certificate, where that is not `host`.

        Raises:
            ssl.SSLError: the handshake failed.
        """
        return await connections.create_connection(
            self._open_stream, protocol_factory, host, port, ssl=ssl, server_hostname=server_hostname
        )

    async def listen(self, host: str, port: int, *, to: tuple[str, int]) -> asyncio.Server:
        """Listen on a local port until the tunnel is closed; each connection comes out at `to` beside the gateway.

        Args:
            host: 127.0.0.1 for this machine alone; empty for all its addresses.
            port: 0 picks a free one: `server.sockets[0].getsockname()`.

        Raises:
            ListenError: the address is in use, is not this machine's, or needs privileges.
            RuntimeError: the tunnel is closed.
        """
        self._check_open()
        server = await connections.listen(
            self.open_stream, host, port, to=to, tcp_connections=self.tubes.tcp_connections, on_lost=self._stream_lost
        )
        self._servers.append(server)
        return server

    def open_stream(self, target: Target) -> StreamTransport:
        """A new stream, at once: what is written waits until the gateway takes it. For transports of one's own.

        Raises:
            RuntimeError: there is no session now, or it carries as many streams as it may.
        """
        self._check_open()
        return self._current.open_stream(target)

    async def _open_stream(self, target: Target) -> StreamTransport:
        while True:
            self._check_open()
            manager = self._current
            manager.check_loop()
            if manager.is_open:
                return manager.open_stream(target)
            self._news.clear()
            await self._news.wait()

    def _check_open(self) -> None:
        if self._error is not None:
            raise self._error
        if self._is_closing:
            raise RuntimeError("the tunnel is closed")

    def _stream_lost(self, target: Target, code: ResetCode) -> None:
        if code is ResetCode.NOT_ALLOWED and not self._retry:
            self._fail(NotAuthorisedError(f"{target}: {REASONS[code]}", target=str(target)))

    # Its life.

    async def wait_connected(self) -> None:
        """Wait until streams flow, in this session or a later one. Cancelling this changes nothing.

        Raises:
            PerdureError: what ended the tunnel.
            RuntimeError: the tunnel is closed.
        """
        while not self._current.state.is_up:
            self._check_open()
            self._news.clear()
            await self._news.wait()
        self._check_open()

    async def wait_closed(self) -> None:
        """Wait until the tunnel is closed, or has ended by itself. Cancelling this changes nothing.

        Raises:
            PerdureError: what ended it.
        """
        while self._error is None and not self._is_closing:
            self._news.clear()
            await self._news.wait()
        if self._error is not None:
            raise self._error

    def events(self) -> SignalIterator:
        """The tunnel's signals from now on, as an async iterator that ends with the tunnel. A reader that falls behind
        by more than 256 gets a `SignalsDropped` in their place."""
        return self.tubes.events()

    async def close(self) -> None:
        """End the tunnel behind what was written: the gateway is told, streams are reset, ports are closed. Twice is
        fine. Cancelling this leaves it ending by itself."""
        self._is_closing = True
        self._news.set()
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        if self._gateway_timer is not None:
            self._gateway_timer.cancel()
        self._unsubscribe()
        if self._sessions is not None:
            self._sessions.cancel()
            await asyncio.wait({self._sessions})
        if self._manager is not None:
            await self._manager.shutdown(Reason.SHUT_DOWN, "the client was stopped")
        if self._signaling is not None:
            await self._signaling.wait_closed()
        await self.tubes.close()
        if self._own_network is not None:
            self._own_network.close()

    def _fail(self, error: PerdureError) -> None:
        """It cannot go on."""
        if self._error is None and not self._is_closing:
            self._error = error
            self._news.set()

    async def _wait_first(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self.wait_connected()
        except TimeoutError:
            raise self._why_not_yet() from None

    def _why_not_yet(self) -> PerdureError:
        """What stands in the way of the first connection."""
        assert self._signaling is not None
        status, waited = self._signaling.status, f"waited {self._timeout:g} s"
        match status.state:
            case SignalingState.UNREACHABLE | SignalingState.FAILED:
                why = status.reason or "no answer"
                return RendezvousError(f"the rendezvous at {status.url} is unreachable: {why}", url=status.url)
            case SignalingState.WAITING_FOR_GATEWAY:
                return _no_gateway(status.url, waited)
            case SignalingState.KNOCKING:
                why = status.reason or "it does not answer"
                return PeerError(f"the gateway takes no session: {why} ({waited})", reason="no answer")
            case _:
                text = f"no path to the gateway was found ({waited}); is UDP allowed, and are the ICE servers right?"
                return PeerError(text, reason="no path")

    # Sessions.

    def _begin_session(self) -> None:
        session_id = self._token_bytes(SESSION_ID_BYTES)
        self._session_worked = False
        signaling = self._signaling = self._make_signaling(self._ticket, session_id, self._signaling_changed)
        endpoint = Endpoint(session_id, self._token_bytes(SESSION_KEY_BYTES), signaling)
        manager = self._manager = self.tubes.create_tube(endpoint.tube_id, endpoint=endpoint)
        manager.add_state_change_callback(self._state_changed)
        signaling.start()
        manager.start()
        self._news.set()

    async def _run_sessions(self) -> None:
        failures = 0
        while True:
            assert self._manager is not None
            assert self._signaling is not None
            end = await self._manager.wait_ended()
            await self._signaling.wait_closed()
            if not self._retry:
                self._fail(PeerError(f"the tunnel ended: {_sentence(end)}", reason=end.reason.name))
                return
            failures = 0 if self._session_worked else failures + 1
            delay = renewal_delay(self.tubes.policy, end.reason, failures, self._random)
            log_event(log, logging.WARNING, "new-session", retry_in=delay, why=_sentence(end))
            await asyncio.sleep(delay)
            if self._error is not None:
                return
            self._begin_session()

    def _network_moved(self, moved: NetworkMoved) -> None:
        # The tube first: its offer is gathered while the link to the rendezvous comes back.
        self.tubes.network_moved(moved)
        if (signaling := self._signaling) is not None:
            local_address_lost = moved.invalidates(signaling.local_address)
            signaling.network_moved(local_address_lost=local_address_lost, slept_seconds=moved.slept_seconds)

    def _signaling_changed(self, status: SignalingStatus) -> None:
        is_late = status.state is SignalingState.WAITING_FOR_GATEWAY and self._was_ready
        is_bad = status.state in {SignalingState.UNREACHABLE, SignalingState.FAILED} and status.reason
        level = logging.WARNING if is_late or is_bad else logging.INFO
        log_event(log, level, "signaling", status=str(status))
        if self._gateway_timer is not None:
            self._gateway_timer.cancel()
        match status.state:
            case SignalingState.UNREACHABLE if not self._retry and not self._was_ready and status.reason:
                text = f"the rendezvous at {status.url} is unreachable: {status.reason}"
                self._fail(RendezvousError(text, url=status.url))
            case SignalingState.WAITING_FOR_GATEWAY if not self._retry and not self._was_ready:
                error = _no_gateway(status.url, f"waited {GATEWAY_TIMEOUT:.0f} s")
                self._gateway_timer = asyncio.get_running_loop().call_later(GATEWAY_TIMEOUT, self._fail, error)
            case SignalingState.FAILED:
                signaling = self._signaling
                error_now = signaling.error if signaling is not None else None
                self._fail(error_now or RendezvousError(status.reason, url=status.url))

    def _state_changed(self, change: StateChanged) -> None:
        if change.after is State.CONNECTED:
            self._session_worked = self._was_ready = True
        self._news.set()


def _signaling_over_websocket(
    ticket: Ticket, session_id: bytes, on_status: Callable[[SignalingStatus], None]
) -> ClientSignaling:
    return ClientSignaling(ticket, session_id, on_status=on_status)


def _no_gateway(url: str, waited: str) -> PeerError:
    return PeerError(f"no gateway serves this ticket at {url} ({waited}; is `perdure serve` running?)", reason="absent")


def _sentence(end: StateChanged) -> str:
    return f"{end.reason.value} ({end.detail})" if end.detail else end.reason.value
