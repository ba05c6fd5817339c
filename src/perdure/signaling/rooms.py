"""The rendezvous' rooms: who is where, and what waits for whom. Pure: no sockets, no clock, no logging.

1. A room has one gateway's slot and a slot for each client. A slot keeps a copy of what was sent to it until `Got`.
2. A client sends to the gateway only, the gateway to clients only; acknowledgements go the same ways.
3. A mailbox is bounded in messages and bytes, all mailboxes together in bytes; the oldest of the mailbox goes first.
4. The gateway's mailbox belongs to the slot, not to the process: what waits is given to the next gateway.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from perdure.signaling.frames import Acked, Deliver, Got, Join, Joined, Presence, RefusalCode, Role, Send, is_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure.signaling.frames import ServerFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class RendezvousLimits:
    """What bounds the rendezvous. Sizes in bytes, times in seconds."""

    max_connections: int = 8192
    """Of all rooms together, joined or not; 13 KiB each when idle: about 100 MiB. Where the process may have fewer
    descriptors, fewer. More are answered HTTP 503."""
    max_connections_of_one_address: int = 256
    """Of one IPv4 address, or one /64 of IPv6: so that one host cannot take all. Those of loopback are not counted."""
    max_rooms: int = 1000
    max_clients_per_room: int = 64
    max_message_bytes: int = 64 * 1024
    """Of a sealed body; an envelope has at most 48 KiB."""
    max_queued_messages: int = 64
    max_queued_bytes: int = 256 * 1024
    """Of one peer's mailbox."""
    max_total_queued_bytes: int = 64 * 1024 * 1024
    """Of all mailboxes: 1000 rooms of 65 full ones would need 16 GiB."""
    max_outgoing_frames: int = 512
    max_outgoing_bytes: int = 2 * 1024 * 1024
    """Not yet written to one connection; a slower reader is cut off. Holds a full mailbox and a room's presences."""
    frames_per_second: float = 100.0
    frame_burst: int = 400
    join_timeout: float = 10.0
    linger_timeout: float = 60.0
    """How long mail waits in a room that everyone has left, or for a client that is away."""
    ping_interval: float = 20.0
    ping_timeout: float = 20.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is above zero, not {getattr(self, name)}")
        if self.max_message_bytes > self.max_queued_bytes:
            raise ValueError("max_queued_bytes holds at least one message of max_message_bytes")


class Outlet(Protocol):
    """A peer's connection, as far as a room needs it. Neither call blocks or fails."""

    def push(self, frame: ServerFrame) -> None:
        """Queue `frame` for the peer."""

    def refuse(self, code: RefusalCode, reason: str) -> None:
        """Tell the peer why, then close."""

    def supersede(self) -> None:
        """Close without a word: the peer has a newer connection."""


class RefusedError(Exception):
    """A peer may not do what it asked for."""

    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(slots=True, eq=False)
class _Slot:
    peer_id: str
    outlet: Outlet | None = None
    away_since: float = 0.0
    mail: OrderedDict[tuple[str, int], Deliver] = field(default_factory=OrderedDict)
    mail_bytes: int = 0


@dataclass(slots=True, eq=False)
class Room:
    """One gateway and its clients."""

    room_id: str
    gateway: _Slot = field(default_factory=lambda: _Slot(""))
    clients: dict[str, _Slot] = field(default_factory=dict)
    empty_since: float = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nobody is connected."""
        return self.gateway.outlet is None and not any(slot.outlet for slot in self.clients.values())

    @property
    def has_mail(self) -> bool:
        """Whether something waits for somebody."""
        return bool(self.gateway.mail) or any(slot.mail for slot in self.clients.values())


@dataclass(frozen=True, slots=True, eq=False)
class Membership:
    """What a joined connection holds: its place, for `Rooms.handle_send`, `handle_got` and `leave`."""

    room: Room
    role: Role
    peer_id: str
    outlet: Outlet


class Rooms:
    """All rooms of one rendezvous. `dropped` counts the messages that a bound threw away undelivered."""

    def __init__(self, limits: RendezvousLimits) -> None:
        self._limits = limits
        self._rooms: dict[str, Room] = {}
        self.queued_bytes = 0
        self.dropped = 0
        self.relayed = 0
        self.relayed_bytes = 0

    def __len__(self) -> int:
        return len(self._rooms)

    def present(self, role: Role) -> int:
        """How many peers of `role` are connected."""
        slots: Iterator[_Slot]
        if role is Role.GATEWAY:
            slots = (room.gateway for room in self._rooms.values())
        else:
            slots = (slot for room in self._rooms.values() for slot in room.clients.values())
        return sum(slot.outlet is not None for slot in slots)

    def join(self, join: Join, outlet: Outlet) -> Membership:
        """Let a peer in, tell those who hear of it, and deliver what waits for it.

        Raises:
            RefusedError: a limit is reached, or the room's name is none.
        """
        if not is_id(join.room):
            raise RefusedError(RefusalCode.BAD_ROOM, "a room is named by 32 hexadecimal digits")
        room = self._rooms.get(join.room)
        if room is None:
            if len(self._rooms) >= self._limits.max_rooms:
                raise RefusedError(RefusalCode.TOO_MANY_ROOMS, f"all {self._limits.max_rooms} rooms are in use")
            room = Room(join.room)
        if join.role is Role.GATEWAY:
            slot = self._enter_gateway(room, join.peer_id)
        else:
            slot = self._enter_client(room, join.peer_id)
        self._rooms[join.room] = room
        slot.outlet = outlet
        outlet.push(Joined())
        self._announce(room, join.role, join.peer_id, present=True)
        self._introduce(room, join.role, outlet)
        for mail in slot.mail.values():
            outlet.push(mail)
        return Membership(room, join.role, join.peer_id, outlet)

    def leave(self, member: Membership, now: float) -> bool:
        """A connection ended. Returns whether its peer has left with it, or had a newer connection already."""
        room = member.room
        slot = self._slot_of(member)
        if slot is None:
            return False
        slot.outlet = None
        slot.away_since = now
        if member.role is Role.CLIENT and not slot.mail:
            del room.clients[member.peer_id]
        self._announce(room, member.role, member.peer_id, present=False)
        if room.is_empty:
            room.empty_since = now
            if not room.has_mail:
                self._drop_room(room)
        return True

    def handle_send(self, member: Membership, send: Send, now: float) -> None:
        """Relay a message, or keep it for a peer that is away.

        Raises:
            RefusedError: it is too large, or the receiver is not one that this sender may write to.
        """
        if len(send.body) > self._limits.max_message_bytes:
            reason = f"a message of {len(send.body)} bytes is over {self._limits.max_message_bytes}"
            raise RefusedError(RefusalCode.MESSAGE_TOO_LARGE, reason)
        if self._slot_of(member) is None:
            return
        room = member.room
        slot: _Slot
        if member.role is Role.CLIENT:
            if send.to not in {"", room.gateway.peer_id}:
                raise RefusedError(RefusalCode.BAD_FRAME, "a client sends to its room's gateway only")
            slot = room.gateway
        else:
            if not send.to:
                raise RefusedError(RefusalCode.BAD_FRAME, "the gateway sends to a client, not to itself")
            slot = room.clients.get(send.to) or self._add_away_client(room, send.to, now)
        key = (member.peer_id, send.seq)
        if key in slot.mail:
            return
        mail = Deliver(member.peer_id, send.seq, send.body)
        self._keep(slot, key, mail)
        self.relayed += 1
        self.relayed_bytes += len(send.body)
        if slot.outlet is not None:
            slot.outlet.push(mail)

    def handle_got(self, member: Membership, got: Got) -> None:
        """Forget the copy, and carry the acknowledgement to the sender if it is connected."""
        slot = self._slot_of(member)
        if slot is None:
            return
        sender = member.room.clients.get(got.sender) if member.role is Role.GATEWAY else member.room.gateway
        mail = slot.mail.pop((got.sender, got.seq), None)
        if mail is not None:
            slot.mail_bytes -= len(mail.body)
            self.queued_bytes -= len(mail.body)
        if sender is not None and sender.peer_id == got.sender and sender.outlet is not None:
            sender.outlet.push(Acked(member.peer_id, got.seq))

    def sweep(self, now: float) -> None:
        """Forget clients that are away, and rooms that are empty, for longer than `linger_timeout`."""
        oldest = now - self._limits.linger_timeout
        for room in list(self._rooms.values()):
            for slot in list(room.clients.values()):
                if slot.outlet is None and slot.away_since <= oldest:
                    self._drop_client(room, slot)
            if room.is_empty and (room.empty_since <= oldest or not room.has_mail):
                self._drop_room(room)

    def _slot_of(self, member: Membership) -> _Slot | None:
        """The member's slot, unless a newer connection or another gateway has it now."""
        room = member.room
        slot = room.gateway if member.role is Role.GATEWAY else room.clients.get(member.peer_id)
        return slot if slot is not None and slot.outlet is member.outlet else None

    def _enter_gateway(self, room: Room, peer_id: str) -> _Slot:
        slot = room.gateway
        if slot.outlet is not None:
            if slot.peer_id == peer_id:
                slot.outlet.supersede()
            else:
                slot.outlet.refuse(RefusalCode.REPLACED, "another gateway with the same ticket has joined")
                self._announce(room, Role.GATEWAY, slot.peer_id, present=False)
        slot.peer_id = peer_id
        return slot

    def _enter_client(self, room: Room, peer_id: str) -> _Slot:
        slot = room.clients.get(peer_id)
        if slot is not None and slot.outlet is not None:
            slot.outlet.supersede()
            return slot
        if sum(other.outlet is not None for other in room.clients.values()) >= self._limits.max_clients_per_room:
            reason = f"the room has its {self._limits.max_clients_per_room} clients"
            raise RefusedError(RefusalCode.TOO_MANY_CLIENTS, reason)
        return room.clients.setdefault(peer_id, _Slot(peer_id))

    def _add_away_client(self, room: Room, peer_id: str, now: float) -> _Slot:
        away = [slot for slot in room.clients.values() if slot.outlet is None]
        if len(away) >= self._limits.max_clients_per_room:
            self._drop_client(room, away[0])
        slot = room.clients[peer_id] = _Slot(peer_id, away_since=now)
        return slot

    def _announce(self, room: Room, role: Role, peer_id: str, *, present: bool) -> None:
        listeners = room.clients.values() if role is Role.GATEWAY else (room.gateway,)
        for slot in listeners:
            if slot.outlet is not None:
                slot.outlet.push(Presence(peer_id, role, present))

    def _introduce(self, room: Room, role: Role, outlet: Outlet) -> None:
        if role is Role.GATEWAY:
            for slot in room.clients.values():
                if slot.outlet is not None:
                    outlet.push(Presence(slot.peer_id, Role.CLIENT, True))
        elif room.gateway.outlet is not None:
            outlet.push(Presence(room.gateway.peer_id, Role.GATEWAY, True))

    def _keep(self, slot: _Slot, key: tuple[str, int], mail: Deliver) -> None:
        slot.mail[key] = mail
        slot.mail_bytes += len(mail.body)
        self.queued_bytes += len(mail.body)
        limits = self._limits
        while slot.mail and (
            len(slot.mail) > limits.max_queued_messages
            or slot.mail_bytes > limits.max_queued_bytes
            or self.queued_bytes > limits.max_total_queued_bytes
        ):
            _, oldest = slot.mail.popitem(last=False)
            slot.mail_bytes -= len(oldest.body)
            self.queued_bytes -= len(oldest.body)
            # To a connected peer it was delivered already: only the copy against a broken connection goes.
            self.dropped += slot.outlet is None

    def _drop_client(self, room: Room, slot: _Slot) -> None:
        self._empty(slot)
        del room.clients[slot.peer_id]

    def _drop_room(self, room: Room) -> None:
        self._empty(room.gateway)
        for slot in room.clients.values():
            self._empty(slot)
        del self._rooms[room.room_id]

    def _empty(self, slot: _Slot) -> None:
        self.queued_bytes -= slot.mail_bytes
        self.dropped += len(slot.mail)
        slot.mail.clear()
        slot.mail_bytes = 0
