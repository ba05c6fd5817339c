"""The rendezvous' rooms: who is where. Pure: no sockets, no clock, no logging.

1. A room belongs to one gateway, which proved its key. Clients come and go, and may be there before it.
2. A client sends to the gateway only, the gateway to clients only. What is for somebody who is not there is dropped.
   So is what a client says that says much, where the gateway is slow to take it: no client can have it cut off.
3. The clients for whom the gateway vouches are its guests. All others are strangers; where there are too many, one
   goes: of the address that has most of them, the one that has been there longest. The gateway says for whom it
   vouches, whether they are there or not.
4. A room counts, for the limits, while its gateway is there.
5. Each connection is told when what it has proved changes (`Standing`): with its gateway's coming and going, and by
   whom that vouches for. Who was vouched for stays so while the gateway is away.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from perdure.signaling.frames import Deliver, Join, Joined, Presence, RefusalCode, Role, Send, Vouch, is_id
from perdure.signaling.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from perdure.signaling.frames import ServerFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class RendezvousLimits:
    """What bounds the rendezvous. Sizes in bytes, times in seconds."""

    max_connections: int = 8192
    """Of all rooms together; 13 KiB each when idle: about 100 MiB. Where the process may have fewer descriptors, fewer.
    One more is refused, or another goes for it that has proved less (`gate`)."""
    max_connections_of_one_address: int = 256
    """Of one IPv4 address, or one /64 of IPv6: so that one host cannot take all. Those of loopback are not counted."""
    max_rooms: int = 1000
    """With a gateway."""
    max_rooms_of_one_address: int = 64
    """Of gateways of one address, counted likewise."""
    max_strangers_per_room: int = 1024
    """Clients for whom the gateway does not vouch (yet): all of its own, where it was started again. With fewer, many
    that come at once would push each other out before their knocks have their turn."""
    max_message_bytes: int = 64 * 1024
    """Of a sealed body; an envelope has at most 48 KiB."""
    max_outgoing_frames: int = 4096
    max_outgoing_bytes: int = 2 * 1024 * 1024
    """Not yet written to one connection; a slower reader is cut off. Holds some forty of the longest messages, and the
    coming and going of all clients of a room."""
    frames_per_second: float = 100.0
    frame_burst: int = 400
    """Of one connection. A gateway may say as many more for each of its guests, who hold connections of their own; it
    is not refused, but read no faster."""
    client_bytes_per_second: float = 64.0 * 1024
    client_byte_burst: int = 1024 * 1024
    """Of frames from a client; what is beyond is dropped. An honest one says some 10 KiB where it begins a carrier, and
    its window, 32 messages, after it was away."""
    join_timeout: float = 10.0
    ping_interval: float = 20.0
    ping_timeout: float = 20.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is above zero, not {getattr(self, name)}")
        if self.max_message_bytes * 4 // 3 + 512 > self.max_outgoing_bytes:
            raise ValueError("max_outgoing_bytes holds at least one message of max_message_bytes")
        if self.max_message_bytes * 4 // 3 + 512 > self.client_byte_burst:
            raise ValueError("client_byte_burst holds at least one message of max_message_bytes")


class Outlet(Protocol):
    """A peer's connection, as far as a room needs it. Neither call blocks or fails."""

    def push(self, frame: ServerFrame) -> None:
        """Queue `frame` for the peer."""

    def has_room_for(self, frame: Deliver) -> bool:
        """Whether the peer takes what it is sent fast enough for `frame`, or its sender has said little lately."""

    def refuse(self, code: RefusalCode, reason: str) -> None:
        """Tell the peer why, then close."""

    def supersede(self) -> None:
        """Close without a word: the peer has a newer connection."""

    def stands(self, standing: Standing) -> None:
        """The peer has joined and has proved so much, or that has changed."""


class RefusedError(Exception):
    """A peer may not do what it asked for."""

    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class OccupiedError(RefusedError):
    """Another gateway has the room. Whoever asks may find out whether `occupant` still answers."""

    def __init__(self, occupant: Member) -> None:
        name = occupant.name or "without a name"
        super().__init__(RefusalCode.OCCUPIED, f"another gateway ({name}) serves with the same key")
        self.occupant = occupant


@dataclass(slots=True, eq=False)
class Member:
    """A joined connection: what the other calls ask for."""

    room: Room
    role: Role
    peer_id: str
    outlet: Outlet
    address: str | None
    """Whose host it counts for; `None`: for nobody's."""
    name: str = ""


@dataclass(slots=True, eq=False)
class Room:
    """One gateway and its clients, who came in this order."""

    room_id: str
    gateway: Member | None = None
    clients: dict[str, Member] = field(default_factory=dict)
    vouched: frozenset[str] = frozenset()
    """The peer ids that the gateway has named last; at most `frames.MAX_VOUCHED`."""
    guests: int = 0
    """Clients that are there and vouched for."""

    def standing(self, peer_id: str) -> Standing:
        """What a client with this id has proved."""
        if peer_id in self.vouched:
            return Standing.PROVED
        return Standing.WAITING if self.gateway is None else Standing.STRANGER


class Rooms:
    """All rooms of a rendezvous. `dropped` counts the messages for somebody who was not there,
    and those that were too many."""

    def __init__(self, limits: RendezvousLimits) -> None:
        self._limits = limits
        self._rooms: dict[str, Room] = {}
        self._served: Counter[str | None] = Counter()
        """Rooms with a gateway, by the gateway's address."""
        self.dropped = 0
        self.relayed = 0
        self.relayed_bytes = 0

    def __len__(self) -> int:
        return self._served.total()

    def present(self, role: Role) -> int:
        """How many peers of `role` are connected."""
        if role is Role.GATEWAY:
            return len(self)
        return sum(len(room.clients) for room in self._rooms.values())

    def standing(self, join: Join) -> Standing:
        """What a peer that joins so has proved. A gateway's proof was checked before."""
        if join.role is Role.GATEWAY:
            return Standing.PROVED
        return (self._rooms.get(join.room) or Room(join.room)).standing(join.peer_id)

    def has_place(self, join: Join) -> bool:
        """Whether the peer is there already, so that its older connection goes when it joins."""
        room = self._rooms.get(join.room) or Room(join.room)
        if join.role is Role.CLIENT:
            return join.peer_id in room.clients
        return room.gateway is not None and room.gateway.peer_id == join.peer_id

    def join(self, join: Join, outlet: Outlet, address: str | None) -> Member:
        """Let a peer in, and tell those who hear of it. A gateway's proof was checked before.

        Args:
            address: whose host it counts for; `None`: for nobody's.

        Raises:
            OccupiedError: another gateway has the room.
            RefusedError: a limit is reached, or the room's name is none.
        """
        if not is_id(join.room):
            raise RefusedError(RefusalCode.BAD_ROOM, "a room is named by 32 hexadecimal digits")
        room = self._rooms.get(join.room) or Room(join.room)
        name = join.gateway.name if join.gateway is not None else ""
        member = Member(room, join.role, join.peer_id, outlet, address, name)
        if join.role is Role.GATEWAY:
            self._enter_gateway(room, member)
        else:
            self._enter_client(room, member)
        self._rooms[join.room] = room
        outlet.stands(self.standing(join))
        if join.role is Role.GATEWAY:
            self._tell_standing(room, room.clients.keys())
        outlet.push(Joined(tuple(other.peer_id for other in self._others(member))))
        self._announce(member, present=True)
        return member

    def leave(self, member: Member) -> bool:
        """A connection ended. Returns whether its peer has left with it, or had a newer connection already."""
        if not self._is_there(member):
            return False
        room = member.room
        if member.role is Role.GATEWAY:
            room.gateway = None
            self._count(member, -1)
            self._tell_standing(room, room.clients.keys())
        else:
            del room.clients[member.peer_id]
            room.guests -= member.peer_id in room.vouched
        self._announce(member, present=False)
        if room.gateway is None and not room.clients:
            self._rooms.pop(room.room_id, None)
        return True

    def handle_send(self, member: Member, send: Send) -> None:
        """Relay a message.

        Raises:
            RefusedError: it is too large, or the receiver is not one that this sender may write to.
        """
        if len(send.body) > self._limits.max_message_bytes:
            reason = f"a message of {len(send.body)} bytes is over {self._limits.max_message_bytes}"
            raise RefusedError(RefusalCode.MESSAGE_TOO_LARGE, reason)
        if not self._is_there(member):
            return
        room = member.room
        if member.role is Role.CLIENT:
            gateway = room.gateway
            receiver = gateway if gateway is not None and send.to in {"", gateway.peer_id} else None
        else:
            if not send.to:
                raise RefusedError(RefusalCode.BAD_FRAME, "the gateway sends to a client, not to itself")
            receiver = room.clients.get(send.to)
        frame = Deliver(member.peer_id, send.body)
        if receiver is None or (receiver.role is Role.GATEWAY and not receiver.outlet.has_room_for(frame)):
            self.dropped += 1
            return
        self.relayed += 1
        self.relayed_bytes += len(send.body)
        receiver.outlet.push(frame)

    def handle_vouch(self, member: Member, vouch: Vouch) -> None:
        """Take for whom a gateway vouches.

        Raises:
            RefusedError: it is a client that says so.
        """
        if member.role is Role.CLIENT:
            raise RefusedError(RefusalCode.BAD_FRAME, "a client vouches for nobody")
        if self._is_there(member):
            room = member.room
            before, room.vouched = room.vouched, frozenset(vouch.peers)
            room.guests = len(room.vouched & room.clients.keys())
            self._tell_standing(room, (before ^ room.vouched) & room.clients.keys())

    def guests(self, member: Member) -> int:
        """How many clients that are there `member`, a gateway, vouches for; of a client 0."""
        return member.room.guests if member.role is Role.GATEWAY else 0

    def _is_there(self, member: Member) -> bool:
        """Whether this is still the peer's connection."""
        if member.role is Role.GATEWAY:
            return member.room.gateway is member
        return member.room.clients.get(member.peer_id) is member

    def _enter_gateway(self, room: Room, member: Member) -> None:
        older = room.gateway
        if older is not None and older.peer_id != member.peer_id:
            raise OccupiedError(older)
        limits = self._limits
        if older is not None:
            older.outlet.supersede()
            self._count(older, -1)
        elif len(self) >= limits.max_rooms:
            raise RefusedError(RefusalCode.TOO_MANY_ROOMS, f"all {limits.max_rooms} rooms are in use")
        elif member.address is not None and self._served[member.address] >= limits.max_rooms_of_one_address:
            reason = f"this address has its {limits.max_rooms_of_one_address} rooms"
            raise RefusedError(RefusalCode.TOO_MANY_ROOMS, reason)
        room.gateway = member
        self._count(member, 1)

    def _count(self, gateway: Member, change: int) -> None:
        self._served[gateway.address] += change
        if not self._served[gateway.address]:
            del self._served[gateway.address]

    def _enter_client(self, room: Room, member: Member) -> None:
        older = room.clients.pop(member.peer_id, None)
        is_guest = member.peer_id in room.vouched
        if older is not None:
            older.outlet.supersede()
        elif is_guest:
            room.guests += 1
        elif len(room.clients) - room.guests >= self._limits.max_strangers_per_room:
            self._make_room(room)
        room.clients[member.peer_id] = member

    def _make_room(self, room: Room) -> None:
        strangers = [client for client in room.clients.values() if client.peer_id not in room.vouched]
        reason = f"the room has its {self._limits.max_strangers_per_room} clients that the gateway does not know"
        of_address = Counter(client.address for client in strangers)
        longest = max(strangers, key=lambda client: of_address[client.address])  # the first of several
        longest.outlet.refuse(RefusalCode.TOO_MANY_CLIENTS, reason)
        self.leave(longest)

    def _tell_standing(self, room: Room, peer_ids: Iterable[str]) -> None:
        for peer_id in peer_ids:
            room.clients[peer_id].outlet.stands(room.standing(peer_id))

    def _others(self, member: Member) -> Iterator[Member]:
        """Those whom `member` hears of, and who hear of it."""
        room = member.room
        if member.role is Role.GATEWAY:
            yield from room.clients.values()
        elif room.gateway is not None:
            yield room.gateway

    def _announce(self, member: Member, *, present: bool) -> None:
        for other in self._others(member):
            other.outlet.push(Presence(member.peer_id, present))
