"""The rendezvous' rooms by themselves: who is let in, who is told, who has to go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.signaling.frames import (
    Challenge,
    Deliver,
    Join,
    Joined,
    Presence,
    Proof,
    RefusalCode,
    Role,
    Send,
    Vouch,
)
from perdure.signaling.gateway_proof import gateway_join, is_proved, room_id
from perdure.signaling.noise import public_bytes
from perdure.signaling.rooms import OccupiedError, RefusedError, RendezvousLimits, Rooms
from perdure.signaling.standing import Standing

if TYPE_CHECKING:
    from perdure.signaling.frames import ServerFrame
    from perdure.signaling.rooms import Member

ROOM = "a" * 32


@dataclass
class Outlet:
    pushed: list[ServerFrame] = field(default_factory=list)
    refused: list[RefusalCode] = field(default_factory=list)
    is_superseded: bool = False
    standings: list[Standing] = field(default_factory=list)

    def push(self, frame: ServerFrame) -> None:
        self.pushed.append(frame)

    def has_room_for(self, frame: Deliver) -> bool:
        return True

    def refuse(self, code: RefusalCode, reason: str) -> None:
        self.refused.append(code)

    def supersede(self) -> None:
        self.is_superseded = True

    def stands(self, standing: Standing) -> None:
        self.standings.append(standing)


def peer(number: int) -> str:
    return f"{number:032x}"


def enter(rooms: Rooms, role: Role, number: int, room: str = ROOM, address: str | None = None) -> tuple[Member, Outlet]:
    outlet = Outlet()
    proof = Proof(bytes(32), bytes(32), "home") if role is Role.GATEWAY else None
    return rooms.join(Join(room, role, peer(number), proof), outlet, address), outlet


def refusal(rooms: Rooms, role: Role, number: int, room: str = ROOM, address: str | None = None) -> RefusalCode:
    with pytest.raises(RefusedError) as caught:
        enter(rooms, role, number, room, address)
    return caught.value.code


def test_each_hears_of_the_other_whoever_comes_first() -> None:
    rooms = Rooms(RendezvousLimits())
    _, client = enter(rooms, Role.CLIENT, 1)
    member, gateway = enter(rooms, Role.GATEWAY, 2)
    _, late = enter(rooms, Role.CLIENT, 3)
    assert client.pushed == [Joined(), Presence(peer(2), True)]
    assert gateway.pushed == [Joined((peer(1),)), Presence(peer(3), True)]
    assert late.pushed == [Joined((peer(2),))]
    rooms.leave(member)
    assert client.pushed[-1] == late.pushed[-1] == Presence(peer(2), False)


def test_what_is_for_somebody_who_is_not_there_is_dropped() -> None:
    rooms = Rooms(RendezvousLimits())
    client, heard = enter(rooms, Role.CLIENT, 1)
    rooms.handle_send(client, Send("", b"x"))
    gateway, _ = enter(rooms, Role.GATEWAY, 2)
    rooms.handle_send(gateway, Send(peer(9), b"x"))
    rooms.handle_send(gateway, Send(peer(1), b"y"))
    assert rooms.dropped == 2
    assert heard.pushed[-1] == Deliver(peer(2), b"y")


def test_a_newer_connection_of_the_same_peer_takes_its_place_and_the_older_ones_end_changes_nothing() -> None:
    rooms = Rooms(RendezvousLimits())
    older, older_outlet = enter(rooms, Role.GATEWAY, 1)
    newer, _ = enter(rooms, Role.GATEWAY, 1)
    assert older_outlet.is_superseded
    assert not rooms.leave(older)
    client, heard = enter(rooms, Role.CLIENT, 2)
    assert heard.pushed == [Joined((peer(1),))]
    rooms.handle_send(older, Send(peer(2), b"late"))
    assert heard.pushed == [Joined((peer(1),))]
    assert rooms.leave(newer)
    assert rooms.leave(client)
    assert len(rooms) == 0


def test_a_second_gateway_of_a_room_is_told_of_the_first_by_name() -> None:
    rooms = Rooms(RendezvousLimits())
    first, _ = enter(rooms, Role.GATEWAY, 1)
    with pytest.raises(OccupiedError, match="home") as caught:
        enter(rooms, Role.GATEWAY, 2)
    assert caught.value.occupant is first
    rooms.leave(first)
    enter(rooms, Role.GATEWAY, 2)


def test_rooms_count_while_a_gateway_is_there_and_clients_may_wait_in_any() -> None:
    rooms = Rooms(RendezvousLimits(max_rooms=2))
    for number in range(50):
        enter(rooms, Role.CLIENT, number, f"{number:032x}")
    member, _ = enter(rooms, Role.GATEWAY, 100, "b" * 32)
    enter(rooms, Role.GATEWAY, 101, "c" * 32)
    assert refusal(rooms, Role.GATEWAY, 102, "d" * 32) is RefusalCode.TOO_MANY_ROOMS
    rooms.leave(member)
    enter(rooms, Role.GATEWAY, 102, "d" * 32)


def test_one_host_cannot_take_all_rooms() -> None:
    rooms = Rooms(RendezvousLimits(max_rooms_of_one_address=3))
    for number in range(3):
        enter(rooms, Role.GATEWAY, number, f"{number:032x}", "192.0.2.1")
    assert refusal(rooms, Role.GATEWAY, 9, "b" * 32, "192.0.2.1") is RefusalCode.TOO_MANY_ROOMS
    enter(rooms, Role.GATEWAY, 9, "b" * 32, "192.0.2.2")
    enter(rooms, Role.GATEWAY, 0, f"{0:032x}", "192.0.2.1")  # its own room again


def test_one_host_cannot_take_all_places_of_a_room_from_those_whom_the_gateway_knows_or_from_others() -> None:
    rooms = Rooms(RendezvousLimits(max_strangers_per_room=4))
    gateway, _ = enter(rooms, Role.GATEWAY, 100)
    _, known = enter(rooms, Role.CLIENT, 0, address="192.0.2.1")
    rooms.handle_vouch(gateway, Vouch((peer(0),)))
    _, honest = enter(rooms, Role.CLIENT, 1, address="192.0.2.7")
    strangers = [enter(rooms, Role.CLIENT, number, address="192.0.2.1")[1] for number in range(2, 40)]
    assert not known.refused
    assert not honest.refused
    assert [bool(outlet.refused) for outlet in strangers] == [True] * 35 + [False] * 3


def test_those_whom_the_gateway_knows_take_no_place_from_others() -> None:
    rooms = Rooms(RendezvousLimits(max_strangers_per_room=1))
    gateway, _ = enter(rooms, Role.GATEWAY, 100)
    known = []
    for number in range(20):
        known.append(enter(rooms, Role.CLIENT, number)[1])
        rooms.handle_vouch(gateway, Vouch(tuple(peer(each) for each in range(number + 1))))
    _, stranger = enter(rooms, Role.CLIENT, 30)
    assert not any(outlet.refused for outlet in (*known, stranger))
    enter(rooms, Role.CLIENT, 31)
    assert stranger.refused == [RefusalCode.TOO_MANY_CLIENTS]


def test_a_gateway_has_as_many_guests_as_are_there_and_vouched_for() -> None:
    rooms = Rooms(RendezvousLimits())
    early, _ = enter(rooms, Role.CLIENT, 0)
    gateway, _ = enter(rooms, Role.GATEWAY, 100)
    assert rooms.guests(gateway) == 0
    rooms.handle_vouch(gateway, Vouch((peer(0), peer(1))))
    assert rooms.guests(gateway) == 1
    late, _ = enter(rooms, Role.CLIENT, 1)
    enter(rooms, Role.CLIENT, 2)
    assert rooms.guests(gateway) == 2
    enter(rooms, Role.CLIENT, 1)  # on another connection
    assert not rooms.leave(late)
    assert rooms.guests(gateway) == 2
    rooms.leave(early)
    assert rooms.guests(gateway) == 1
    rooms.handle_vouch(gateway, Vouch((peer(2),)))
    assert rooms.guests(gateway) == 1
    rooms.handle_vouch(gateway, Vouch())
    assert rooms.guests(gateway) == rooms.guests(early) == 0


def test_a_client_vouches_for_nobody() -> None:
    rooms = Rooms(RendezvousLimits(max_strangers_per_room=1))
    gateway, _ = enter(rooms, Role.GATEWAY, 100)
    client, outlet = enter(rooms, Role.CLIENT, 0)
    with pytest.raises(RefusedError, match="vouches for nobody"):
        rooms.handle_vouch(client, Vouch((peer(0),)))
    rooms.handle_send(gateway, Send(peer(0), b"x"))
    enter(rooms, Role.CLIENT, 1)
    assert outlet.refused == [RefusalCode.TOO_MANY_CLIENTS]


def test_whom_the_gateway_names_no_more_is_a_stranger_again() -> None:
    rooms = Rooms(RendezvousLimits(max_strangers_per_room=1))
    older, _ = enter(rooms, Role.GATEWAY, 100)
    _, before = enter(rooms, Role.CLIENT, 0)
    rooms.handle_vouch(older, Vouch((peer(0),)))
    _, after = enter(rooms, Role.CLIENT, 1)
    newer, _ = enter(rooms, Role.GATEWAY, 100)
    rooms.handle_vouch(newer, Vouch((peer(1),)))
    rooms.handle_vouch(older, Vouch((peer(0), peer(1))))  # on a connection that is not its own any more
    enter(rooms, Role.CLIENT, 2)
    assert before.refused == [RefusalCode.TOO_MANY_CLIENTS]
    assert not after.refused


def test_a_client_that_comes_back_has_its_place_though_the_room_filled_meanwhile() -> None:
    rooms = Rooms(RendezvousLimits(max_strangers_per_room=2))
    gateway, _ = enter(rooms, Role.GATEWAY, 100)
    known, _ = enter(rooms, Role.CLIENT, 0)
    rooms.handle_vouch(gateway, Vouch((peer(0),)))
    rooms.leave(known)
    strangers = [enter(rooms, Role.CLIENT, number)[1] for number in (1, 2)]
    _, back = enter(rooms, Role.CLIENT, 0)
    assert [bool(outlet.refused) for outlet in strangers] == [False, False]
    enter(rooms, Role.CLIENT, 3)
    assert [bool(outlet.refused) for outlet in strangers] == [True, False]
    assert not back.refused


def test_a_room_of_another_name_is_refused() -> None:
    assert refusal(Rooms(RendezvousLimits()), Role.CLIENT, 1, "A" * 32) is RefusalCode.BAD_ROOM


def test_only_who_has_the_key_proves_the_room_and_only_for_one_connection() -> None:
    rendezvous, gateway, other = (X25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2, 3))
    nonce = b"n" * 16
    join = gateway_join(gateway, peer(1), "home", Challenge(public_bytes(rendezvous), nonce))
    assert join.room == room_id(public_bytes(gateway))
    assert is_proved(join, rendezvous, nonce)
    assert not is_proved(join, rendezvous, b"m" * 16)
    assert not is_proved(join, other, nonce)
    proof = join.gateway
    assert proof is not None
    for forged in (
        Join(join.room, Role.GATEWAY, peer(1)),
        Join(join.room, Role.GATEWAY, peer(2), proof),
        Join("b" * 32, Role.GATEWAY, peer(1), proof),
        Join(join.room, Role.GATEWAY, peer(1), Proof(public_bytes(other), proof.proof)),
        Join(room_id(bytes(32)), Role.GATEWAY, peer(1), Proof(bytes(32), proof.proof)),
        Join(join.room, Role.GATEWAY, peer(1), Proof(proof.key, bytes(32))),
    ):
        assert not is_proved(forged, rendezvous, nonce)


def test_each_is_told_what_it_has_proved_and_when_that_changes() -> None:
    rooms = Rooms(RendezvousLimits())
    _, early = enter(rooms, Role.CLIENT, 1)
    member, gateway = enter(rooms, Role.GATEWAY, 2)
    _, late = enter(rooms, Role.CLIENT, 3)
    rooms.handle_vouch(member, Vouch((peer(1), peer(4))))
    _, known = enter(rooms, Role.CLIENT, 4)
    rooms.handle_vouch(member, Vouch((peer(4),)))
    rooms.leave(member)
    assert gateway.standings == [Standing.PROVED]
    assert early.standings[:4] == [Standing.WAITING, Standing.STRANGER, Standing.PROVED, Standing.STRANGER]
    assert early.standings[-1] is late.standings[-1] is Standing.WAITING
    assert late.standings[0] is Standing.STRANGER
    assert set(known.standings) == {Standing.PROVED}, "also while its gateway is away"


def test_what_a_join_would_prove_is_known_before_it() -> None:
    rooms = Rooms(RendezvousLimits())
    proof = Proof(bytes(32), bytes(32), "home")
    gateway, client = Join(ROOM, Role.GATEWAY, peer(1), proof), Join(ROOM, Role.CLIENT, peer(2))
    assert [rooms.standing(gateway), rooms.standing(client)] == [Standing.PROVED, Standing.WAITING]
    assert not rooms.has_place(gateway)
    assert not rooms.has_place(client)
    member, _ = enter(rooms, Role.GATEWAY, 1)
    assert rooms.standing(client) is Standing.STRANGER
    rooms.handle_vouch(member, Vouch((peer(2),)))
    assert rooms.standing(client) is Standing.PROVED
    enter(rooms, Role.CLIENT, 2)
    assert rooms.has_place(gateway)
    assert rooms.has_place(client)
    assert not rooms.has_place(Join(ROOM, Role.GATEWAY, peer(3), proof))
