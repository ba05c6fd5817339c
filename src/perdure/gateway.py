"""The gateway role: serves its tickets' clients, one tube each, and dials only what its allow list names."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Protocol, Self

from perdure.config import TransportConfig
from perdure.core.state import Reason
from perdure.errors import PerdureError, RendezvousError
from perdure.eventlog import log_event
from perdure.gateway_sessions import GatewaySessions
from perdure.gateway_streams import GatewayStreams
from perdure.ice_server import IceServer, read_ice_servers
from perdure.ice_servers import for_clients
from perdure.netmon.monitor import NetworkMonitor
from perdure.netmon.uplinks import uplinks
from perdure.registry import TubeRegistry
from perdure.role_ice_servers import RoleIceServers
from perdure.roles import PATIENT_POLICY, UNLIMITED_SESSION, check_role, store_of, transport_config
from perdure.signaling.gateway_peer import GatewaySignaling
from perdure.signaling.status import SignalingState, SignalingStatus
from perdure.streams.allow import AllowList, parse_allow
from perdure.streams.handlers import HandlerTasks
from perdure.ticket import check_rendezvous_url
from perdure.ticket_store import DEFAULT_TICKET, TicketStore
from perdure.tube.arguments import check_incoming, check_type
from perdure.urls import without_login

if TYPE_CHECKING:
    from random import Random
    from types import TracebackType

    from perdure.admission import Holder
    from perdure.config import ResourceLimits, RestartPolicy, SessionLimits
    from perdure.delivery import SignalHandler, SignalIterator
    from perdure.eventlog import Field
    from perdure.netmon.monitor import NetworkMoved
    from perdure.signaling.base import SignalingChannel
    from perdure.signaling.messages import RTCIceServer
    from perdure.streams.handlers import StreamHandler
    from perdure.streams.streams import Incoming
    from perdure.ticket import Ticket
    from perdure.transport.base import Transport
    from perdure.turn.provider import IceServerProvider

log = logging.getLogger(__name__)

READY_TIMEOUT = 30.0
"""Seconds for the rendezvous to let the gateway in, where entering waits for that."""


class MakeSignaling(Protocol):
    """Makes the gateway's way to the rendezvous; as `GatewaySignaling` itself does."""

    def __call__(
        self,
        rendezvous_url: str,
        tickets: TicketStore,
        *,
        on_session: Callable[[bytes, SignalingChannel, Holder], None],
        on_status: Callable[[SignalingStatus], None],
        has_room: Callable[[], bool],
        ice_servers: Sequence[RTCIceServer],
        interfaces: Callable[[], Sequence[str]],
    ) -> GatewaySignaling: ...


def serve(
    rendezvous_url: str,
    *,
    tickets: TicketStore | Path | str | None = None,
    allow: AllowList | Iterable[str] = (),
    handler: StreamHandler | None = None,
    wait: bool = True,
    timeout: float | None = READY_TIMEOUT,
    retry: bool = True,
    ice_servers: Sequence[IceServer | str] = (),
    ice_server_provider: IceServerProvider | None = None,
    turn_ca: str | None = None,
    loopback: bool = False,
    relay_only: bool = False,
    signal_handler: SignalHandler | None = None,
    policy: RestartPolicy = PATIENT_POLICY,
    session_limits: SessionLimits = UNLIMITED_SESSION,
    limits: ResourceLimits | None = None,
) -> Gateway:
    """A gateway: `async with perdure.serve("ws://HOST:8765", allow=["127.0.0.1:22"]) as gateway:`.

    Args:
        rendezvous_url: ws://HOST:PORT or wss://HOST.
        tickets: a `TicketStore`, or the state folder of one, from which the same gateway comes back with its tickets.
            By default all is new, and in memory. A store without tickets gets one called `default`.
        allow: what clients may reach: `HOST:PORTS`. HOST is a name, an address or a network (`10.0.0.0/8`), PORTS is
            `22`, `80,443`, `8000-8100` or `*`. `perdure.parse_allow(allow, deny)` takes exceptions too.
        handler: an async function that takes each stream, as `handler(reader, writer)`, instead of a connection to its
            target; `writer.get_extra_info("target")` says what the client wants. Without `allow` it takes every target.
        wait: whether entering waits until the rendezvous has let the gateway in.
        timeout: seconds for that; `None`: for ever.
        retry: whether the gateway waits for a rendezvous that it has not reached yet, whatever `wait` says.

    The other arguments are those of `connect`.

    Raises:
        TicketError: the state folder, or the key in it, cannot be used.
        TypeError, ValueError: an argument is of another type, or out of its range; neither `allow` nor `handler`.
        RuntimeError: `loopback`, and the process has made a connection without it already.

    Entering raises:
        RendezvousError: the rendezvous cannot be reached, or refuses us.
        TicketError: another gateway uses the state folder.
    """
    return Gateway(
        rendezvous_url,
        allow if isinstance(allow, AllowList) else parse_allow(allow),
        tickets=store_of(tickets),
        handler=handler,
        wait=wait,
        timeout=timeout,
        retry=retry,
        transport=transport_config(ice_servers, loopback=loopback, relay_only=relay_only, turn_ca=turn_ca),
        ice_server_provider=ice_server_provider,
        signal_handler=signal_handler,
        policy=policy,
        session_limits=session_limits,
        limits=limits,
    )


class Gateway:
    """Serves the holders of its `tickets`; `serve` makes it, and `async with` opens and closes it. `tubes`, a
    `TubeRegistry`, has one for each client.

    Args:
        incoming: a plain function that takes each allowed stream as a transport, instead of `handler`.
        transport: how carriers are built, or a `Transport` of one's own.
        network: tells of changes of the machine's network; the caller starts and closes it. By default it has its own.
        make_signaling: the way to the rendezvous.
        random: for jitter.

    The other arguments are those of `serve`.
    """

    def __init__(
        self,
        rendezvous_url: str,
        allow: AllowList,
        *,
        tickets: TicketStore,
        handler: StreamHandler | None = None,
        incoming: Incoming | None = None,
        wait: bool = True,
        timeout: float | None = READY_TIMEOUT,
        retry: bool = True,
        transport: TransportConfig | Transport | None = None,
        ice_server_provider: IceServerProvider | None = None,
        signal_handler: SignalHandler | None = None,
        policy: RestartPolicy = PATIENT_POLICY,
        session_limits: SessionLimits = UNLIMITED_SESSION,
        limits: ResourceLimits | None = None,
        network: NetworkMonitor | None = None,
        make_signaling: MakeSignaling = GatewaySignaling,
        random: Random | None = None,
    ) -> None:
        check_type("allow", allow, AllowList, "an AllowList, as perdure.parse_allow makes it")
        if not allow.entries and handler is None and incoming is None:
            raise ValueError('a gateway needs allow=["HOST:PORT", …], what clients may reach, or a handler')
        check_role(wait, timeout, retry, policy, session_limits)
        check_rendezvous_url(rendezvous_url)
        self.rendezvous_url = rendezvous_url
        self.tickets = tickets
        """The gateway's key and all its tickets: `create`, `revoke`, and who used them."""
        _ = tickets.key  # one that cannot be used is told here
        if not tickets.names:
            tickets.create(DEFAULT_TICKET, now=time.time())
        self.tubes = TubeRegistry(
            policy,
            session_limits,
            limits,
            transport=transport,
            signal_handler=signal_handler,
            incoming=lambda stream: self._streams.opened(stream),
            random=random,
        )
        """The tubes that are served now, one a client."""
        if handler is not None and incoming is not None:
            raise ValueError("handler and incoming both take the clients' streams; give one of them")
        if incoming is not None:
            check_incoming(incoming)
        self._waits = wait
        self._timeout = timeout
        self._retry = retry
        self._network = network or NetworkMonitor()
        self._owns_network = network is None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._sessions = GatewaySessions(tickets, self.tubes)
        self._handlers = None if handler is None else HandlerTasks(handler, takes_paths=True)
        self._streams = GatewayStreams(
            allow, self._sessions.allow_of, self._handlers or incoming, tcp_connections=self.tubes.tcp_connections
        )
        self._ice_servers = RoleIceServers(
            transport, ice_server_provider, self.tubes, use=self._use_ice_servers, random=random or SystemRandom()
        )
        self._told_servers = for_clients(self._ice_servers.all)
        """Those that clients are told: they need them too."""
        self._make_signaling = make_signaling
        self._signaling: GatewaySignaling | None = None
        self._is_ready = False
        self._was_ready = False
        self._is_closing = False
        self._error: PerdureError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """The one that it was entered on."""
        self._news = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def ticket(self) -> Ticket:
        """The one called `default`, for clients; `encode()` makes its text. Raises `TicketError` if there is none."""
        return self.tickets.ticket(DEFAULT_TICKET, self.rendezvous_url)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {without_login(self.rendezvous_url)} with {len(self.tubes)} tubes>"

    async def __aenter__(self) -> Self:
        if self._loop is not None or self._is_closing:
            raise RuntimeError("a gateway is entered once; serve() makes another")
        self._loop = asyncio.get_running_loop()
        try:
            self.tickets.begin_serving(self.rendezvous_url)
            self._watching = self._loop.create_task(self.tickets.watch())
            if self._owns_network:
                await self._network.start()
            self._unsubscribe = self._network.subscribe(self._network_moved)
            await self._ice_servers.start()
            self._sessions.start()
            self._signaling = self._make_signaling(
                self.rendezvous_url,
                self.tickets,
                on_session=self._sessions.begin,
                on_status=self._signaling_changed,
                has_room=lambda: self._sessions.has_room,
                ice_servers=self._told_servers,
                interfaces=lambda: uplinks(self._network.snapshot),
            )
            self._signaling.start()
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

    def set_ice_servers(self, servers: Sequence[IceServer | str]) -> None:
        """Use `servers`, with their new credentials, from now on, and have the clients use them too: for carriers and
        for ICE restarts. A path through a TURN server with other credentials moves to a spare; other paths go on as
        they are. Clients that are away are told when they are back. What a provider has issued is used beside them.

        Raises:
            TypeError, ValueError: one is no ICE server, or clients would not read it; nothing was changed.
            CarrierError: the engine refuses one; clients were not told.
        """
        self._check_loop()
        self._ice_servers.give(read_ice_servers(servers))

    def _use_ice_servers(self, servers: tuple[IceServer, ...], expires_in: float | None) -> None:
        told = for_clients(servers)
        self.tubes.set_ice_servers(servers, expires_in=expires_in)
        self._told_servers = told
        if self._signaling is not None:
            self._signaling.set_ice_servers(told)
        lasts: dict[str, Field] = {} if expires_in is None else {"expires_in": round(expires_in)}
        log_event(log, logging.INFO, "ice-servers", count=len(servers), clients=len(self.tubes), **lasts)

    # Its life.

    @property
    def signaling_status(self) -> str:
        """A sentence: whether the rendezvous is reached, or what is in the way."""
        return "not begun" if self._signaling is None else str(self._signaling.status)

    async def wait_ready(self) -> None:
        """Wait until the rendezvous has let the gateway in. Cancelling this changes nothing.

        Raises:
            RendezvousError: it refuses us for good.
            RuntimeError: the gateway is closed.
        """
        self._check_loop()
        while not self._is_ready:
            if self._error is not None:
                raise self._error
            if self._is_closing:
                raise RuntimeError("the gateway is closed")
            self._news.clear()
            await self._news.wait()

    async def wait_closed(self) -> None:
        """Wait until the gateway is closed, or has ended by itself. Cancelling this changes nothing.

        Raises:
            RendezvousError: the rendezvous refuses us for good, or, without `retry`, cannot be reached.
        """
        self._check_loop()
        while self._error is None and not self._is_closing:
            self._news.clear()
            await self._news.wait()
        if self._error is not None:
            raise self._error

    def events(self) -> SignalIterator:
        """The signals of all tubes from now on, as an async iterator; see `Tunnel.events`."""
        return self.tubes.events()

    async def close(self) -> None:
        """End every tube behind what was written, and tell the clients. Twice is fine. Cancelling this leaves it ending
        by itself."""
        self._check_loop()
        self._is_closing = True
        self._sessions.stop()
        self._news.set()
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._unsubscribe()
        await self._ice_servers.close()
        try:
            await self.tubes.close(Reason.SHUT_DOWN, "the gateway was stopped")
        finally:
            await self._streams.close()
            if self._handlers is not None:
                await self._handlers.close()
            if self._signaling is not None:
                await self._signaling.close()
            if self._owns_network:
                self._network.close()
            if self._watching is not None:
                self._watching.cancel()
                await asyncio.wait({self._watching})
                await self.tickets.end_serving()

    def _check_loop(self) -> None:
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise RuntimeError("the gateway belongs to another event loop than the one that runs here")

    async def _wait_first(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self.wait_ready()
        except TimeoutError:
            assert self._signaling is not None
            status = self._signaling.status
            raise RendezvousError(status.problem, url=status.url) from None

    def _network_moved(self, moved: NetworkMoved) -> None:
        # The tubes first: their offers are gathered while the link to the rendezvous comes back.
        self.tubes.network_moved(moved)
        self._ice_servers.network_moved()
        if (signaling := self._signaling) is not None:
            local_address_lost = moved.invalidates(signaling.local_address)
            signaling.network_moved(local_address_lost=local_address_lost, slept_seconds=moved.slept_seconds)

    def _signaling_changed(self, status: SignalingStatus) -> None:
        level = logging.INFO if status.state is SignalingState.READY or not status.reason else logging.WARNING
        log_event(log, level, "signaling", status=str(status))
        self._is_ready = status.state is SignalingState.READY
        self._was_ready = self._was_ready or self._is_ready
        match status.state:
            case SignalingState.UNREACHABLE if not self._retry and not self._was_ready and status.reason:
                self._fail(RendezvousError(status.problem, url=status.url))
            case SignalingState.FAILED:
                assert self._signaling is not None
                self._fail(self._signaling.error or RendezvousError(status.reason, url=status.url))
        self._news.set()

    def _fail(self, error: PerdureError) -> None:
        """It cannot go on."""
        if self._error is None and not self._is_closing:
            self._error = error
            self._news.set()
