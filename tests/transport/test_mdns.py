"""A `.local` name's address is asked for on the network; here on the loopback interface, with a real responder."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from perdure.transport.mdns import MAX_QUESTIONS, PORT, Resolver
from support.mdns_responder import GROUP, HERE, Responder, response
from support.signaling import eventually, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the responder joins a group on Linux' loopback")

NAME = "1f4712db-ea17-4bcf-a596-105139dfd8bf.local"
OTHER = "00000000-0000-4000-8000-000000000000.local"
ADDRESS = ipaddress.ip_address("192.0.2.7")
IMPATIENT = (0.05, 0.05)
"""Where nobody answers."""
PATIENT = (20.0, 20.0)
"""Where the answer ends the waiting."""


@pytest.fixture
async def responder() -> AsyncIterator[Responder]:
    async with Responder() as responder:
        responder.addresses = {NAME: str(ADDRESS)}
        yield responder


def asked(responder: Responder) -> list[str]:
    """The names whose IPv4 address was asked for."""
    return [name for name, kind in responder.questions if kind == "A"]


def resolver(patience: tuple[float, ...] = PATIENT) -> Resolver:
    return Resolver(loopback=True, patience=patience)


async def test_a_name_is_asked_for_once_and_its_address_found(responder: Responder) -> None:
    assert await within(resolver().resolve(NAME)) == ADDRESS
    await eventually(lambda: responder.questions == [(NAME, "A"), (NAME, "AAAA")])


async def test_an_ipv6_address_is_found_in_ipv4s_group_too(responder: Responder) -> None:
    responder.addresses[OTHER] = "2001:db8::7"
    assert await within(resolver().resolve(OTHER)) == ipaddress.ip_address("2001:db8::7")


async def test_the_case_of_a_name_does_not_matter(responder: Responder) -> None:
    assert await within(resolver().resolve(NAME.upper())) == ADDRESS


async def test_a_question_that_is_lost_is_asked_once_more(responder: Responder) -> None:
    responder.unheard = 1
    assert await within(resolver((0.05, 20.0)).resolve(NAME)) == ADDRESS
    assert asked(responder) == [NAME, NAME]


async def test_a_name_that_nobody_has_is_given_up(responder: Responder) -> None:
    assert await within(resolver(IMPATIENT).resolve(OTHER)) is None
    await eventually(lambda: asked(responder) == [OTHER, OTHER])


async def test_without_loopback_the_loopback_interface_is_not_asked(responder: Responder) -> None:
    assert await within(Resolver(loopback=False, patience=IMPATIENT).resolve(NAME)) is None


async def test_what_is_no_answer_to_the_question_is_passed_over(responder: Responder) -> None:
    responder.before = [
        b"",
        b"\0" * 600,
        response(OTHER, "192.0.2.66").to_wire(),
        response(NAME, "192.0.2.66", ttl=0).to_wire(),
        response(NAME, b"\x7f\0\0\1", kind="AAAA").to_wire(),
    ]
    assert await within(resolver().resolve(NAME)) == ADDRESS


async def test_an_answer_from_another_port_than_mdns_is_passed_over(responder: Responder) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(HERE))
        looking = asyncio.ensure_future(resolver().resolve(OTHER))
        await eventually(lambda: OTHER in asked(responder))
        stranger.sendto(response(OTHER, "192.0.2.66").to_wire(), (GROUP, PORT))
        responder.say(response(OTHER, "192.0.2.8").to_wire())
        assert await within(looking) == ipaddress.ip_address("192.0.2.8")


@pytest.mark.parametrize("is_liar_first", [True, False])
async def test_of_two_who_answer_for_a_name_the_first_is_taken_and_there_is_one_address(
    responder: Responder, is_liar_first: bool
) -> None:
    responder.addresses[OTHER] = "192.0.2.8"
    async with Responder() as liar:
        liar.addresses = {NAME: "192.0.2.66"}
        first, second = (liar, responder) if is_liar_first else (responder, liar)
        second.unheard = 1
        asking = resolver()
        assert str(await within(asking.resolve(NAME))) == first.addresses[NAME]
        looking = asyncio.ensure_future(asking.resolve(OTHER))
        second.say(response(NAME, second.addresses[NAME]).to_wire())  # late: nobody waits for it any more
        assert await within(looking) == ipaddress.ip_address("192.0.2.8")


async def test_of_two_answers_that_come_at_once_the_first_is_taken(responder: Responder) -> None:
    responder.before = [response(NAME, "192.0.2.66").to_wire()]
    assert await within(resolver().resolve(NAME)) == ipaddress.ip_address("192.0.2.66")


async def test_several_names_are_asked_for_at_a_time(responder: Responder) -> None:
    names = [f"{number:08x}-0000-4000-8000-000000000000.local" for number in range(10)]
    responder.addresses = {name: f"192.0.2.{number}" for number, name in enumerate(names)}
    both = resolver()
    found = await within(asyncio.gather(*(both.resolve(name) for name in names)))
    assert [str(address) for address in found] == list(responder.addresses.values())


async def test_whoever_no_longer_waits_holds_up_nobody(responder: Responder) -> None:
    both = resolver()
    given_up = asyncio.ensure_future(both.resolve(OTHER))
    await eventually(lambda: OTHER in asked(responder))
    given_up.cancel()
    assert await within(both.resolve(NAME)) == ADDRESS
    with pytest.raises(asyncio.CancelledError):
        await given_up


async def test_more_than_so_many_names_at_a_time_are_not_asked_for(responder: Responder) -> None:
    many = resolver(IMPATIENT)
    names = [f"{number:08x}-0000-4000-8000-000000000000.local" for number in range(MAX_QUESTIONS)]
    await within(asyncio.gather(*(many.resolve(name) for name in [*names, NAME])))
    await eventually(lambda: set(names) <= set(asked(responder)))
    assert NAME not in asked(responder)
