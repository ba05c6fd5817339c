"""The rendezvous of a simulation, and the WebSockets to it: perdure's own rooms behind made-up TCP connections.

1. A connection leaves by the default route's address and lives on it. Where that goes, it hangs: the peer's pings
   notice after 10 s, the rendezvous' after 40 s.
2. A first packet that is lost is sent again after 1, 3 and 7 s (RFC 6298); without any address nothing is tried.
3. While it is `unruly`, it drops, doubles and holds back what it delivers.
4. When the rendezvous stops, its connections are reset, and new ones refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Literal

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.errors import ProtocolError
from perdure.signaling.frames import (
    Challenge,
    Deliver,
    Join,
    RefusalCode,
    Refused,
    Role,
    Send,
    Vouch,
    decode_client_frame,
    encode_frame,
)
from perdure.signaling.gateway_proof import is_proved
from perdure.signaling.noise import public_bytes
from perdure.signaling.rooms import OccupiedError, RefusedError, RendezvousLimits, Rooms
from perdure_lab.sim.flow import Flow
from perdure_lab.sim.pings import Pings

if TYPE_CHECKING:
    from perdure.signaling.frames import ServerFrame
    from perdure.signaling.rooms import Member
    from perdure.signaling.standing import Standing
    from perdure_lab.sim.internet import Internet, Way
    from perdure_lab.sim.machine import Loop, Machine
    from perdure_lab.sim.world import World

TCP_MIN_RTO = 0.2
"""Seconds: Linux (TCP_RTO_MIN)."""

CONNECTS_AGAIN_AFTER = (1.0, 2.0, 4.0)
"""Seconds between the packets that begin a connection: RFC 6298 §2.1 and §5.5."""

HANDSHAKE_ROUND_TRIPS = 2.0
"""TCP's, and the WebSocket's opening."""

PEER_NOTICES_AFTER = 10.0
RENDEZVOUS_NOTICES_AFTER = 40.0
"""Seconds of silence: each side's interval and timeout of pings."""

OCCUPANT_TIMEOUT = 2.0
"""Seconds that a room's gateway has to answer a ping when another one with its key comes."""

MOST_HELD_BACK = 3.0
"""Seconds for which an unruly rendezvous keeps a message, at most, while later ones go out."""


class Rendezvous:
    """The one rendezvous of a simulation; it has no machine that sleeps."""

    def __init__(self, world: World, internet: Internet) -> None:
        self.world = world
        self.internet = internet
        self.runs = True
        self.unruly = 0.0
        """The share of deliveries that it spoils."""
        self._dice = world.dice("rendezvous")
        self._rooms = Rooms(RendezvousLimits())
        self._key = X25519PrivateKey.from_private_bytes(self._dice.randbytes(32))
        self._sockets: list[Socket] = []

    def stop(self) -> None:
        """Its process dies."""
        for socket in list(self._sockets):
            socket.reset()
            socket.member = None  # of rooms that are gone, also where its end has not been noticed yet
        self.runs = False
        self._rooms = Rooms(RendezvousLimits())

    def start(self) -> None:
        self.runs = True

    def crashed(self, machine: Machine) -> None:
        """The machine's process is about to be gone: its system closes what it had open."""
        for socket in [socket for socket in self._sockets if socket.loop is machine.loop]:
            socket.vanish()

    async def open(self, machine: Machine, interface: str | None = None) -> Socket:
        """A connection of `machine`, by `interface` where it is given. Raises `OSError` as the system would."""
        loop, site = machine.loop, machine.name
        waits = iter(CONNECTS_AGAIN_AFTER)
        while True:
            addresses = self.internet.addresses(site, interface)
            if not addresses:
                raise OSError("network unreachable")
            address = addresses[0]
            there, back = self.ways(site, address)
            now = self.world.now
            if there and back and not there.loses(self._dice, now) and not back.loses(self._dice, now):
                await asyncio.sleep(HANDSHAKE_ROUND_TRIPS * there.round_trip)
                if not self.runs:
                    raise ConnectionRefusedError("connection refused")
                if None not in self.ways(site, address):
                    break
            if (wait := next(waits, None)) is None:
                raise TimeoutError("no answer")
            await asyncio.sleep(wait)
        socket = Socket(self, machine, loop, address)
        self._sockets.append(socket)
        socket.nonce = self._dice.randbytes(16)
        socket.push(Challenge(public_bytes(self._key), socket.nonce))
        return socket

    def delays(self, frame: ServerFrame) -> tuple[float, ...]:
        """When it goes out: as a rule at once, and once."""
        if not isinstance(frame, Deliver) or not self.unruly or self._dice.random() >= self.unruly:
            return (0.0,)
        return self._dice.choice([(), (0.0, 0.0), (self._dice.uniform(0.0, MOST_HELD_BACK),)])

    def ways(self, site: str, address: str) -> tuple[Way | None, Way | None]:
        """What a packet would meet now from there to the rendezvous, and back."""
        internet = self.internet
        return internet.way_to_services(site, address), internet.way_from_services(site, address)

    # What its sockets tell it.

    def received(self, socket: Socket, text: str) -> None:
        """A frame has come."""
        if socket.early is not None:
            socket.early.append(text)
            return
        try:
            frame = decode_client_frame(text)
            match frame, socket.member:
                case Join(role=Role.GATEWAY), None if not is_proved(frame, self._key, socket.nonce):
                    socket.refuse(RefusalCode.BAD_PROOF, "not proved")
                case Join(), None:
                    self._join(socket, frame)
                case Send(), member if member is not None:
                    self._rooms.handle_send(member, frame)
                case Vouch(), member if member is not None:
                    self._rooms.handle_vouch(member, frame)
                case _:
                    socket.refuse(RefusalCode.BAD_FRAME, "not now")
        except RefusedError as error:
            socket.refuse(error.code, error.reason)
        except ProtocolError as error:
            socket.refuse(RefusalCode.BAD_FRAME, str(error))

    def _join(self, socket: Socket, join: Join) -> None:
        try:
            socket.member = self._rooms.join(join, socket, None)
        except OccupiedError as error:
            outlet = error.occupant.outlet
            if isinstance(outlet, Socket) and None not in outlet.ways:
                raise
            socket.early = []
            self.world.after(OCCUPANT_TIMEOUT, self._replace, self._rooms, error.occupant, socket, join)

    def _replace(self, rooms: Rooms, occupant: Member, socket: Socket, join: Join) -> None:
        """The occupant has not answered."""
        if rooms is self._rooms and rooms.leave(occupant):
            occupant.outlet.supersede()
        early, socket.early = socket.early or [], None
        if socket in self._sockets and self.runs:
            try:
                self._join(socket, join)
            except RefusedError as error:
                socket.refuse(error.code, error.reason)
                return
            for text in early:
                self.received(socket, text)

    def gone(self, socket: Socket) -> None:
        """The rendezvous has noticed its end."""
        if socket in self._sockets:
            self._sockets.remove(socket)
        if socket.member is not None and self.runs:
            self._rooms.leave(socket.member)
            socket.member = None


class Socket:
    """A WebSocket: the peer's end (`perdure.signaling.websocket.Socket`), and the rendezvous' (`rooms.Outlet`)."""

    def __init__(self, rendezvous: Rendezvous, machine: Machine, loop: Loop, address: str) -> None:
        world = rendezvous.world
        self.local_address = (address, 1)
        self.member: Member | None = None
        self.nonce = b""
        """Of its challenge."""
        self.early: list[str] | None = None
        """Frames behind a join that waits for the room's occupant to answer."""
        self.loop = loop
        self._rendezvous = rendezvous
        self._machine = machine
        random = world.dice(f"socket {world.serial()}")
        self._up = Flow(world, _Up(self), random, min_rto=TCP_MIN_RTO)
        self._down = Flow(world, _Down(self), random, min_rto=TCP_MIN_RTO)
        self._pings = Pings(world, loop, lambda: self.ways, random, retransmitted_after=TCP_MIN_RTO)
        self._received: deque[bytes] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._is_lost = False
        """Whether the peer knows that it has ended."""
        self._is_over = False
        """Whether nothing more gets through, whoever knows."""
        self._dead_since: float | None = None
        self._ways: tuple[Way | None, Way | None] | None = None
        """From the peer to the rendezvous and back, as far as they were asked for since something changed."""
        self._unlisten = rendezvous.internet.listen(self._network_changed)

    # The peer's end.

    async def send(self, text: str) -> None:
        if self._is_lost:
            raise ConnectionResetError("the connection is gone")
        if not self._is_over:
            self._up.send(text.encode())

    async def recv(self, decode: Literal[False]) -> bytes:
        while not self._received:
            if self._is_lost:
                raise ConnectionResetError("the connection is gone")
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        return self._received.popleft()

    async def ping(self) -> asyncio.Future[float]:
        if self._is_lost:
            raise ConnectionResetError("the connection is gone")
        return self._pings.send()

    @property
    def latency(self) -> float:
        return self._pings.latency

    def abort(self) -> None:
        """As `transport.abort`: the rendezvous hears of it where a packet gets through."""
        self._end_here()
        self.vanish()

    @property
    def transport(self) -> Socket:
        return self

    def vanish(self) -> None:
        """As `abort`, where there is no process any more that would notice."""
        if not self._is_over:
            way, _ = self.ways
            self._finish(RENDEZVOUS_NOTICES_AFTER if way is None else way.delay)

    async def wait_closed(self) -> None:
        pass

    # The rendezvous' end.

    def push(self, frame: ServerFrame) -> None:
        for delay in self._rendezvous.delays(frame):
            if delay:
                self._rendezvous.world.after(delay, self._push_now, frame)
            else:
                self._push_now(frame)

    def _push_now(self, frame: ServerFrame) -> None:
        if not self._is_over:
            self._down.send(encode_frame(frame).encode())

    def refuse(self, code: RefusalCode, reason: str) -> None:
        self.push(Refused(code, reason))
        self._rendezvous.world.after(0.5, self.reset)

    def has_room_for(self, frame: Deliver) -> bool:
        return True

    def supersede(self) -> None:
        self.reset()

    def stands(self, standing: Standing) -> None:
        pass

    def reset(self) -> None:
        """The rendezvous ends it; the peer hears of it where a packet gets through."""
        if self._is_over:
            return
        _, way = self.ways
        self._finish(0.0)
        self.loop.deliver(PEER_NOTICES_AFTER if way is None else way.delay, self._end_here)

    # Between them. Its TCP is the kernel's, which acknowledges for a process that is stalled; its pings are not.

    @property
    def ways(self) -> tuple[Way | None, Way | None]:
        """What a packet would meet now: to the rendezvous, and from it."""
        if self._ways is None:
            self._ways = self._ways_now()
        return self._ways

    def _ways_now(self) -> tuple[Way | None, Way | None]:
        if self._is_over or not self._rendezvous.runs or self._machine.loop is not self.loop or self._machine.is_asleep:
            return None, None
        return self._rendezvous.ways(self._machine.name, self.local_address[0])

    def arrived_here(self, messages: list[bytes]) -> None:
        if not self._is_lost:
            self._received.extend(messages)
            self._wake()

    def arrived_there(self, messages: list[bytes]) -> None:
        for message in messages:
            if not self._is_over and self._rendezvous.runs:
                self._rendezvous.received(self, message.decode())

    def _network_changed(self) -> None:
        world = self._rendezvous.world
        self._ways = None
        self._pings.network_changed()
        if None not in self.ways and self._machine.runs:
            self._dead_since = None
        elif self._dead_since is None:
            self._dead_since = since = world.now
            self.loop.deliver(PEER_NOTICES_AFTER, self._notice_here, since)
            world.after(RENDEZVOUS_NOTICES_AFTER, self._notice_there, since)

    def _notice_here(self, since: float) -> None:
        if self._dead_since == since:
            self._end_here()

    def _notice_there(self, since: float) -> None:
        if self._dead_since == since and not self._is_over:
            self._finish(0.0)

    def _finish(self, rendezvous_notices_after: float) -> None:
        self._is_over, self._ways = True, None
        self._unlisten()
        self._up.close()
        self._down.close()
        self._rendezvous.world.after(rendezvous_notices_after, self._rendezvous.gone, self)

    def _end_here(self) -> None:
        self._is_lost = True
        self._pings.ended()
        self._wake()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


class _Up:
    """From the peer to the rendezvous."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    def way(self) -> Way | None:
        return self._socket.ways[0]

    @property
    def is_acknowledged(self) -> bool:
        return self._socket.ways[1] is not None

    def arrived(self, messages: list[bytes]) -> None:
        self._socket.arrived_there(messages)

    def drained(self) -> None:
        pass

    def given_up(self) -> None:
        self._socket.reset()


class _Down(_Up):
    """From the rendezvous to the peer."""

    def way(self) -> Way | None:
        return self._socket.ways[1]

    @property
    def is_acknowledged(self) -> bool:
        return self._socket.ways[0] is not None

    def arrived(self, messages: list[bytes]) -> None:
        self._socket.loop.hand_over(self._socket.arrived_here, messages)
