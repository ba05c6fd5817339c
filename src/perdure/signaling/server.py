"""The rendezvous server: rooms in which two peers find each other, over WebSocket, with health and metrics beside it.

It sees room ids, peer ids, sizes and times; never a plaintext, a key or a ticket. It is not trusted by those it serves,
and it does not trust them: each thing that a peer can make grow is bounded by `RendezvousLimits`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from perdure.errors import ListenError, ProtocolError
from perdure.eventlog import Field, log_event
from perdure.signaling.bounded import BoundedServerConnection, gated_by
from perdure.signaling.frames import (
    PATH,
    Challenge,
    Join,
    RefusalCode,
    Role,
    Send,
    Vouch,
    decode_client_frame,
    max_frame_bytes,
)
from perdure.signaling.gate import ACCEPTED_AT_ONCE, Gate, counted_as, most_connections
from perdure.signaling.gateway_proof import is_proved
from perdure.signaling.noise import public_bytes
from perdure.signaling.rate import TokenBucket
from perdure.signaling.rooms import Member, OccupiedError, RefusedError, RendezvousLimits, Rooms
from perdure.signaling.socket_outlet import SocketOutlet
from perdure.signaling.turn_page import PATH as TURN_PATH

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from types import TracebackType

    from prometheus_client.metrics_core import Metric
    from websockets.http11 import Request, Response

    from perdure.signaling.standing import Standing
    from perdure.signaling.turn_page import TurnPage

__all__ = ["RendezvousLimits", "RendezvousServer"]

_logger = logging.getLogger("perdure.rendezvous")

_library_logger = logging.getLogger("perdure.rendezvous.websockets")
_library_logger.setLevel(logging.CRITICAL)
"""A traceback for each garbled request would fill the disk; what concerns us we log ourselves."""

_REPORT_INTERVAL = 5.0
"""Seconds between two looks for connections that were not taken."""

_PEERS_A_TOKEN = 16
"""Of a `Vouch`: one of 1,024 peers takes 0.9 ms, as some hundred short messages do."""

_CLOSE_TIMEOUT = 2.0
"""Seconds for a close handshake, or to write a last frame: a peer that does not answer is cut off."""

_BACKLOG = 1024
"""Connections that wait in the system: those of a rendezvous that has come back arrive together."""

_OPEN_TIMEOUT = 5.0
"""Seconds for TLS and HTTP: a connection that never sends its request holds a socket no longer."""


class RendezvousServer:
    """A rendezvous on `host` and `port` (0: any free one), as an async context manager or by `start` and `close`.

    On the one port: `/v2` WebSocket, `/livez` and `/metrics` HTTP, and `/v1/turn` where there is a `turn_page`.
    """

    def __init__(
        self,
        limits: RendezvousLimits | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        turn_page: TurnPage | None = None,
    ) -> None:
        self._limits = limits or RendezvousLimits()
        self._host = host
        self._wanted_port = port
        self._ssl_context = ssl_context
        self._turn_page = turn_page
        most = most_connections(self._limits.max_connections, _descriptors())
        self._gate = Gate[BoundedServerConnection](most, self._limits.max_connections_of_one_address)
        self._rooms = Rooms(self._limits)
        self._connections = 0
        self._closed_for: Counter[str] = Counter()
        self._server: Server | None = None
        self._key = X25519PrivateKey.generate()
        """Gateways prove theirs against it."""
        self._reporter: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The TCP port it listens on.

        Raises:
            RuntimeError: it is not started.
        """
        if self._server is None:
            raise RuntimeError("the rendezvous is not started")
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen.

        Raises:
            ListenError: the address is in use or not ours.
        """
        if self._server is not None:
            raise RuntimeError("the rendezvous is started already")
        limits = self._limits
        try:
            self._server = await serve(
                self._serve_peer,
                self._host,
                self._wanted_port,
                ssl=self._ssl_context,
                process_request=self._answer_http,
                create_connection=gated_by(self._gate),
                backlog=ACCEPTED_AT_ONCE,
                server_header=None,
                logger=_library_logger,
                compression=None,  # Sealed bodies do not shrink.
                max_size=2 * max_frame_bytes(limits.max_message_bytes),
                ping_interval=limits.ping_interval,
                ping_timeout=limits.ping_timeout,
                open_timeout=_OPEN_TIMEOUT,
                close_timeout=_CLOSE_TIMEOUT,
            )
        except (OSError, OverflowError) as error:
            address = f"{self._host}:{self._wanted_port}"
            cause = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise ListenError(f"the rendezvous cannot listen on {address}: {cause}", address=address) from error
        for listening in self._server.sockets:
            _set_backlog(listening.fileno())
        self._reporter = asyncio.create_task(self._report(), name="rendezvous reporter")
        log_event(_logger, logging.INFO, "listening", host=self._host, port=self.port)

    async def close(self) -> None:
        """Close every connection and stop listening. Twice is fine."""
        server, reporter = self._server, self._reporter
        self._server = self._reporter = None
        if server is None or reporter is None:
            return
        reporter.cancel()
        server.close()
        await server.wait_closed()
        with contextlib.suppress(asyncio.CancelledError):
            await reporter
        log_event(_logger, logging.INFO, "closed")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment, for a `prometheus_client` registry."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        prefix = "perdure_rendezvous"
        rooms = self._rooms
        yield GaugeMetricFamily(f"{prefix}_connections", "Open WebSocket connections.", self._connections)
        yield GaugeMetricFamily(f"{prefix}_rooms", "Rooms with a gateway.", len(rooms))
        peers = GaugeMetricFamily(f"{prefix}_peers", "Joined peers by role.", labels=["role"])
        for role in Role:
            peers.add_metric([role.value], rooms.present(role))
        yield peers
        yield CounterMetricFamily(f"{prefix}_messages", "Messages relayed.", rooms.relayed)
        yield CounterMetricFamily(f"{prefix}_bytes", "Bytes of messages relayed.", rooms.relayed_bytes)
        yield CounterMetricFamily(
            f"{prefix}_dropped_messages",
            "Messages for nobody who was there, or too many.",
            rooms.dropped,
        )
        closed = CounterMetricFamily(f"{prefix}_closed", "Connections that the rendezvous ended.", labels=["reason"])
        for reason in (*(code.value for code in RefusalCode), "slow"):
            closed.add_metric([reason], self._closed_for[reason])
        yield closed

    def _answer_http(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.method not in {"GET", "HEAD"}:
            return connection.respond(405, "Method not allowed.\n")
        match request.path.partition("?")[0]:
            case "/livez":
                response = connection.respond(200, "ok")
            case "/metrics":
                response = connection.respond(200, self._metrics())
                del response.headers["Content-Type"]
                response.headers["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8"
            case path if path == TURN_PATH and self._turn_page is not None:
                response = self._answer_turn(connection, request, self._turn_page)
            case path if path == PATH and request.method == "GET":
                return None
            case _:
                response = connection.respond(404, "Not found.\n")
        if request.method == "HEAD":
            response.body = b""
        return response

    def _answer_turn(self, connection: ServerConnection, request: Request, turn_page: TurnPage) -> Response:
        authorization = request.headers.get_all("Authorization")
        given = authorization[0] if len(authorization) == 1 else ""
        page = turn_page.answer(given, asyncio.get_running_loop().time())
        response = connection.respond(page.status, page.body)
        for name, value in page.headers.items():
            response.headers.pop(name, None)
            response.headers[name] = value
        return response

    def _metrics(self) -> str:
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry).decode()

    async def _serve_peer(self, websocket: ServerConnection) -> None:
        self._connections += 1
        on_standing = partial(self._stands, websocket)
        outlet = SocketOutlet(websocket, self._limits, self._closed_for, on_standing=on_standing)
        outlet.names["address"] = _host(websocket)
        writer = asyncio.create_task(outlet.write(), name="rendezvous writer")
        member: Member | None = None
        try:
            member = await self._admit(websocket, outlet)
            await self._relay(websocket, member)
        except (RefusedError, ProtocolError) as error:
            code = error.code if isinstance(error, RefusedError) else RefusalCode.BAD_FRAME
            outlet.refuse(code, str(error))
            await asyncio.wait({writer}, timeout=_CLOSE_TIMEOUT)
        except ConnectionClosed:
            pass
        except Exception as error:  # a mistake of ours or of websockets', which costs this connection only
            log_event(_logger, logging.ERROR, "connection-failed", error)
        finally:
            self._connections -= 1
            if member is not None and self._rooms.leave(member):
                log_event(_logger, logging.INFO, "left", **_names(member))
            writer.cancel()
            await asyncio.wait({writer})

    async def _admit(self, websocket: ServerConnection, outlet: SocketOutlet) -> Member:
        nonce = secrets.token_bytes(16)
        outlet.push(Challenge(public_bytes(self._key), nonce))
        try:
            async with asyncio.timeout(self._limits.join_timeout):
                frame = decode_client_frame(await websocket.recv(decode=False))
        except TimeoutError:
            reason = f"no join within {self._limits.join_timeout:g} s"
            raise RefusedError(RefusalCode.NOT_JOINED, reason) from None
        if not isinstance(frame, Join):
            raise RefusedError(RefusalCode.BAD_FRAME, "the first frame is a join")
        outlet.names["room"] = frame.room[:8]
        if frame.role is Role.GATEWAY and not is_proved(frame, self._key, nonce):
            raise RefusedError(RefusalCode.BAD_PROOF, "this gateway did not prove the key of its room")
        member = await self._join(frame, outlet, websocket)
        log_event(_logger, logging.INFO, "joined", **_names(member))
        return member

    async def _join(self, frame: Join, outlet: SocketOutlet, websocket: ServerConnection) -> Member:
        """Let it in; in the place of another gateway with its key only where that one is gone."""
        try:
            return self._enter(frame, outlet, websocket)
        except OccupiedError as error:
            occupant = error.occupant
            if isinstance(occupant.outlet, SocketOutlet) and await occupant.outlet.answers():
                raise
            if self._rooms.leave(occupant):
                occupant.outlet.supersede()
        return self._enter(frame, outlet, websocket)

    def _enter(self, frame: Join, outlet: SocketOutlet, websocket: ServerConnection) -> Member:
        rooms, gate = self._rooms, self._gate
        has_room = rooms.has_place(frame) or gate.has_room_for(_bounded(websocket), rooms.standing(frame))
        if not has_room:
            reason = f"all {gate.most} connections of the rendezvous are in use"
            raise RefusedError(RefusalCode.TOO_MANY_CONNECTIONS, reason)
        return rooms.join(frame, outlet, counted_as(_host(websocket)))

    def _stands(self, websocket: ServerConnection, standing: Standing) -> None:
        gone = self._gate.stands(_bounded(websocket), standing)
        if gone is not None:
            gone.transport.abort()

    async def _relay(self, websocket: ServerConnection, member: Member) -> None:
        now = asyncio.get_running_loop().time
        limits = self._limits
        frames = TokenBucket(limits.frames_per_second, limits.frame_burst, now=now())
        client_bytes = TokenBucket(limits.client_bytes_per_second, limits.client_byte_burst, now=now())
        while True:
            text = await websocket.recv(decode=False)
            if member.role is Role.GATEWAY:
                await self._hold_back(member, frames, 1)
            elif not frames.take(now()):
                reason = f"more than {limits.frames_per_second:g} frames a second"
                raise RefusedError(RefusalCode.RATE, reason)
            if member.role is Role.CLIENT and not client_bytes.take(now(), len(text)):
                self._rooms.dropped += 1
                continue
            match decode_client_frame(text):
                case Send() as send:
                    self._rooms.handle_send(member, send)
                case Vouch() as vouch:
                    await self._hold_back(member, frames, len(vouch.peers) // _PEERS_A_TOKEN)
                    self._rooms.handle_vouch(member, vouch)
                case Join():
                    raise RefusedError(RefusalCode.BAD_FRAME, "a second join")

    async def _hold_back(self, gateway: Member, frames: TokenBucket, cost: int) -> None:
        """Take so many tokens when there are as many: what the gateway sends meanwhile waits in TCP."""
        now = asyncio.get_running_loop().time
        frames.set_rate(self._limits.frames_per_second * (1 + self._rooms.guests(gateway)), now())
        cost = min(self._limits.frame_burst, cost)
        if not frames.take(now(), cost):
            await asyncio.sleep(frames.delay(now(), cost))
            frames.take(now(), cost)

    async def _report(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_REPORT_INTERVAL)
            if count := self._gate.take_report(loop.time()):
                log_event(_logger, logging.WARNING, "connections-not-taken", count=count, open=self._connections)


def _set_backlog(listening: int) -> None:
    """asyncio has one number for what waits in the system, and for what it takes in one turn."""
    if sys.platform == "win32":  # where a socket is no descriptor
        return
    with socket.socket(fileno=os.dup(listening)) as same:
        same.listen(_BACKLOG)


def _descriptors() -> int | None:
    """How many this process may have; `None`: the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _bounded(websocket: ServerConnection) -> BoundedServerConnection:
    assert isinstance(websocket, BoundedServerConnection), "the server makes no others"
    return websocket


def _host(websocket: ServerConnection) -> str | None:
    remote = websocket.remote_address
    return remote[0] if isinstance(remote, tuple) else None


def _names(member: Member) -> dict[str, Field]:
    return {"room": member.room.room_id[:8], "role": member.role.value, "peer": member.peer_id[:8]}
