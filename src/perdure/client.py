"""The client role: a tunnel to the gateway of a ticket."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from random import SystemRandom
from types import NoneType
from typing import TYPE_CHECKING, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.client_sessions import ClientSessions
from perdure.config import TransportConfig
from perdure.core.state import State
from perdure.errors import NotAuthorisedError
from perdure.netmon.monitor import NetworkMonitor
from perdure.netmon.uplinks import uplinks
from perdure.registry import TubeRegistry
from perdure.roles import PATIENT_POLICY, UNLIMITED_SESSION, check_role, transport_config
from perdure.signaling.client_peer import ClientSignaling
from perdure.signaling.noise import KEY_BYTES
from perdure.state_folder import client_key_of
from perdure.streams.local_ports import LocalPorts
from perdure.streams.opener import StreamOpener
from perdure.streams.outcomes import REASONS
from perdure.ticket import Ticket, load_ticket
from perdure.tube.arguments import check_type
from perdure.urls import without_login
from perdure.wire import ResetCode

if TYPE_CHECKING:
    import pathlib
    from random import Random
    from types import TracebackType

    from perdure.client_sessions import MakeSignaling
    from perdure.config import ResourceLimits, RestartPolicy, SessionLimits
    from perdure.core.decision import Decision
    from perdure.delivery import SignalHandler, SignalIterator
    from perdure.ice_server import IceServer
    from perdure.manager import TunnelConnectionManager
    from perdure.streams.opener import ServerT
    from perdure.streams.target import AnyTarget
    from perdure.streams.transport import StreamTransport
    from perdure.transport.base import Path, Transport
    from perdure.tube import ConnectionMetrics
    from perdure.turn.provider import IceServerProvider

CONNECT_TIMEOUT = 30.0
"""Seconds: two attempts of 10 s with the wait between them, and the rendezvous before."""


def connect(
    ticket: Ticket | pathlib.Path | str,
    *,
    wait: bool = True,
    timeout: float | None = CONNECT_TIMEOUT,
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
    client_key: X25519PrivateKey | pathlib.Path | str | None = None,
) -> Tunnel:
    """A tunnel to the gateway of `ticket`: `async with perdure.connect("@home.ticket") as tunnel:`.

    Args:
        ticket: a `Ticket`, its text, or the file that holds it: a path, or `@FILE`.
        wait: whether entering waits until the tunnel works.
        timeout: seconds for that; `None`: for ever.
        retry: whether the tunnel outlives a rendezvous or a gateway that is away, and a session that ended; without it
            such a thing ends the tunnel with an error.
        ice_servers: STUN and TURN servers: `stun:HOST:PORT`, `turn:USER:PASSWORD@HOST:PORT`.
        ice_server_provider: issues more of them, again before they expire: `perdure.SharedSecret`, and others.
        turn_ca: a file of certificates that are trusted for `turns:` servers, beside the system's.
        loopback: also use 127.0.0.1, ::1 and link-local addresses, for both ends on one machine.
        relay_only: use nothing but TURN servers; no candidate then shows the other end this machine's addresses.
        signal_handler: called with each `Signal`; plain (in a worker thread) or async (on the loop).
        policy, session_limits, limits: see docs/timers.md. By default a tunnel is patient and has no session timeout;
            to keep that, change `perdure.PATIENT_POLICY` and `perdure.UNLIMITED_SESSION`, with `dataclasses.replace`.
        client_key: who this client is to the gateway: a key, or the path of its file, which is made on first use. By
            default it is this installation's (docs/tickets.md).

    Raises:
        TicketError: the ticket cannot be used, or the client's key.
        TypeError, ValueError: an argument is of another type, or out of its range.
        RuntimeError: `loopback`, and the process has made a connection without it already.

    Entering raises:
        RendezvousError: the rendezvous cannot be reached, or refuses us.
        PeerError: the gateway is absent, or no path to it was found in time.
        NotAuthorisedError: the gateway admits the ticket no more (it expired meanwhile, was revoked, is used up, or is
            unknown), or not this client's key.
    """
    return Tunnel(
        load_ticket(ticket),
        wait=wait,
        timeout=timeout,
        retry=retry,
        transport=transport_config(ice_servers, loopback=loopback, relay_only=relay_only, turn_ca=turn_ca),
        ice_server_provider=ice_server_provider,
        signal_handler=signal_handler,
        policy=policy,
        session_limits=session_limits,
        limits=limits,
        client_key=client_key_of(client_key),
    )


class Tunnel(StreamOpener):
    """A client's tunnel; `connect` makes it, and `async with` opens and closes it. It belongs to one event loop.

    Args:
        transport: how carriers are built, or a `Transport` of one's own.
        network: tells of changes of the machine's network; the caller starts and closes it. By default it has its own.
        make_signaling: the way to the rendezvous for one session.
        client_key: by default one that is made for this tunnel.
        random, token_bytes: for jitter; for session ids and keys, and must be cryptographically random.

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
        ice_server_provider: IceServerProvider | None = None,
        signal_handler: SignalHandler | None = None,
        policy: RestartPolicy = PATIENT_POLICY,
        session_limits: SessionLimits = UNLIMITED_SESSION,
        limits: ResourceLimits | None = None,
        network: NetworkMonitor | None = None,
        client_key: X25519PrivateKey | None = None,
        make_signaling: MakeSignaling = ClientSignaling,
        random: Random | None = None,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        check_role(wait, timeout, retry, policy, session_limits)
        check_type("client_key", client_key, (X25519PrivateKey, NoneType), "a key, or None")
        self._ticket = ticket
        self._waits = wait
        self._timeout = timeout
        self._retry = retry
        random = random or SystemRandom()
        self._network = network or NetworkMonitor()
        self._owns_network = network is None
        self._unsubscribe: Callable[[], None] = lambda: None
        self.tubes = TubeRegistry(
            policy, session_limits, limits, transport=transport, signal_handler=signal_handler, random=random
        )
        """The tube of the current session, and nothing else."""
        self._sessions = ClientSessions(
            ticket,
            self.tubes,
            key=client_key or X25519PrivateKey.from_private_bytes(token_bytes(KEY_BYTES)),
            transport=transport,
            ice_server_provider=ice_server_provider,
            retry=retry,
            make_signaling=make_signaling,
            interfaces=lambda: uplinks(self._network.snapshot),
            random=random,
            token_bytes=token_bytes,
        )
        self._servers: list[asyncio.AbstractServer] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        """The one that it was entered on."""
        self._is_closing = False
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} through {without_login(self._ticket.rendezvous_url)} {self.state.value}>"

    async def __aenter__(self) -> Self:
        if self._loop is not None or self._is_closing:
            raise RuntimeError("a tunnel is entered once; connect() makes another")
        self._loop = asyncio.get_running_loop()
        try:
            if self._owns_network:
                await self._network.start()
            self._unsubscribe = self._network.subscribe(self._sessions.network_moved)
            await self._sessions.start()
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
        if self._is_closing:
            return State.CLOSED
        manager = self._sessions.manager
        return State.INITIALIZING if manager is None else manager.state

    @property
    def metrics(self) -> ConnectionMetrics:
        """The current session's figures. Raises `RuntimeError` before the tunnel was entered."""
        return self.manager.metrics

    @property
    def path(self) -> Path | None:
        """The path in use: direct or relayed, its protocol, both addresses, and the round trip; `None` without one."""
        manager = self._sessions.manager
        return None if manager is None else manager.path

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What the policy decided last in the current session, the oldest first, at most 64; "nothing" included."""
        manager = self._sessions.manager
        return () if manager is None else manager.decisions

    @property
    def signaling_status(self) -> str:
        """A sentence: whether the rendezvous and the gateway are reached, or what is in the way."""
        status = self._sessions.signaling_status
        return "not begun" if status is None else str(status)

    @property
    def manager(self) -> TunnelConnectionManager:
        """The manager of the current session's tube. Raises `RuntimeError` before the tunnel was entered."""
        manager = self._sessions.manager
        if manager is None:
            raise RuntimeError("the tunnel was not entered yet: async with perdure.connect(…) as tunnel")
        return manager

    # For StreamOpener.

    async def _listening(self, listen: Callable[[LocalPorts], Awaitable[ServerT]]) -> ServerT:
        self._check_open()
        server = await listen(LocalPorts(self._open_stream_now, self.tubes.tcp_connections, on_lost=self._stream_lost))
        if self._is_closing:  # meanwhile: nobody else would close it
            server.close()
        self._check_open()
        self._servers = [*(each for each in self._servers if each.is_serving()), server]
        return server

    def _open_stream_now(self, target: AnyTarget) -> StreamTransport:
        self._check_open()
        return self.manager.tube.open_stream(target)

    async def _open_stream(self, target: AnyTarget) -> StreamTransport:
        while True:
            self._check_open()
            manager = self.manager
            if manager.is_open:
                return manager.tube.open_stream(target)
            await self._sessions.wait_news()

    def _check_open(self) -> None:
        self._check_loop()
        if self._sessions.error is not None:
            raise self._sessions.error
        if self._is_closing:
            raise RuntimeError("the tunnel is closed")

    def _check_loop(self) -> None:
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise RuntimeError("the tunnel belongs to another event loop than the one that runs here")

    def _stream_lost(self, target: AnyTarget, code: ResetCode) -> None:
        if code is ResetCode.NOT_ALLOWED and not self._retry:
            self._sessions.fail(NotAuthorisedError(f"{target}: {REASONS[code]}", target=str(target)))

    # Its life.

    async def wait_connected(self) -> None:
        """Wait until streams flow, in this session or a later one. Cancelling this changes nothing.

        Raises:
            PerdureError: what ended the tunnel.
            RuntimeError: the tunnel is closed.
        """
        self._check_open()
        while not self.manager.state.is_up:
            await self._sessions.wait_news()
            self._check_open()

    async def wait_closed(self) -> None:
        """Wait until the tunnel is closed, or has ended by itself: `PerdureError` says why. Cancelling this changes
        nothing."""
        self._check_loop()
        while self._sessions.error is None and not self._is_closing:
            await self._sessions.wait_news()
        if self._sessions.error is not None:
            raise self._sessions.error

    def events(self) -> SignalIterator:
        """The tunnel's signals from now on, as an async iterator that ends with the tunnel. A reader that falls behind
        by more than 256 gets a `SignalsDropped` in their place."""
        return self.tubes.events()

    async def close(self) -> None:
        """End the tunnel behind what was written: the gateway is told, streams are reset, ports are closed. Twice is
        fine. Cancelling this leaves it ending by itself."""
        self._check_loop()
        self._is_closing = True
        self._sessions.tell()
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._unsubscribe()
        try:
            await self._sessions.stop()
            await self.tubes.close()
        finally:
            if self._owns_network:
                self._network.close()

    async def _wait_first(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self.wait_connected()
        except TimeoutError:
            raise self._sessions.why_not_yet(f"waited {self._timeout:g} s") from None
