"""What becomes of a peer's candidate that has a `.local` name in its address's place."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING

import pytest

from perdure.transport.peer_candidates import PeerCandidates
from perdure.transport.reach import MAX_NAMES, Reach
from support.signaling import within

if TYPE_CHECKING:
    from perdure.addresses import Address

NAME = "1f4712db-ea17-4bcf-a596-105139dfd8bf.local"


def candidate(address: str, port: int = 5000, more: str = "") -> str:
    return f"candidate:1 1 udp 2122260223 {address} {port} typ host{more}"


class Network:
    """Where names are looked up."""

    def __init__(self, address: str | None) -> None:
        self.asked: list[str] = []
        self._address = None if address is None else ipaddress.ip_address(address)

    async def resolve(self, name: str) -> Address | None:
        self.asked.append(name)
        await asyncio.sleep(0)
        return self._address


def candidates(network: Network) -> PeerCandidates:
    return PeerCandidates(3, Reach(loopback=False, tcp=False), network.resolve)


async def test_the_address_takes_the_names_place() -> None:
    network = Network("192.0.2.7")
    peers = candidates(network)
    named = candidate(NAME.upper(), 6000, " generation 0 ufrag abcd network-cost 999")
    assert peers.takes(named)
    found = await within(peers.with_address(named))
    assert found == candidate("192.0.2.7", 6000, " generation 0 ufrag abcd network-cost 999")
    assert peers.takes(found)
    assert network.asked == [NAME]


async def test_a_name_is_looked_up_once_for_a_carrier() -> None:
    network = Network("192.0.2.7")
    peers = candidates(network)
    texts = [candidate(NAME, port) for port in (5000, 5001, 5002)]
    assert all(map(peers.takes, texts))
    first = await within(asyncio.gather(*map(peers.with_address, texts[:2])))
    assert [*first, await within(peers.with_address(texts[2]))] == [
        candidate("192.0.2.7", port) for port in (5000, 5001, 5002)
    ]
    assert network.asked == [NAME]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254", "224.0.0.251", "fe80::1", "::ffff:7f00:1"])
async def test_an_address_that_is_found_is_judged_like_one_that_is_named(address: str) -> None:
    peers = candidates(Network(address))
    assert peers.takes(candidate(NAME))
    found = await within(peers.with_address(candidate(NAME)))
    assert found is not None
    assert not peers.takes(found)


async def test_a_name_that_nobody_has_costs_its_candidate_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "perdure.transport")
    peers = candidates(Network(None))
    for port in (5000, 5001):
        assert await within(peers.with_address(candidate(NAME, port))) is None
    assert caplog.text.count("nobody on this network answers") == 1
    assert NAME not in caplog.text


async def test_a_carrier_that_is_closed_looks_nothing_up_any_more() -> None:
    peers = candidates(Network("192.0.2.7"))
    looking = asyncio.ensure_future(peers.with_address(candidate(NAME)))
    await asyncio.sleep(0)
    peers.close()
    with pytest.raises(asyncio.CancelledError):
        await within(looking)


@pytest.mark.parametrize(
    "name",
    [
        "router.local",
        "1f4712db-ea17-4bcf-a596-105139dfd8bf.local.example.com",
        "1f4712db-ea17-4bcf-a596-105139dfd8bf.example",
        "x1f4712db-ea17-4bcf-a596-105139dfd8bf.local",
        "1f4712db-ea17-4bcf-a596-105139dfd8b.local",
        "gf4712db-ea17-4bcf-a596-105139dfd8bf.local",
        "1f4712db.ea17-4bcf-a596-105139dfd8bf.local",
        "1f4712db-ea17-4bcf-a596-105139dfd8bf.local.",
        "metadata.google.internal",
    ],
)
async def test_no_other_name_is_looked_up(name: str) -> None:
    network = Network("192.0.2.7")
    assert not candidates(network).takes(candidate(name))
    assert network.asked == []


@pytest.mark.parametrize(
    "text", [candidate(NAME, 0), candidate(NAME).replace(" udp ", " tcp "), candidate(NAME) + "\n"]
)
async def test_a_name_does_not_make_up_for_what_else_is_wrong(text: str) -> None:
    assert not candidates(Network("192.0.2.7")).takes(text)


async def test_a_carrier_takes_so_many_names_and_no_more() -> None:
    peers = candidates(Network("192.0.2.7"))
    names = [f"{number:08x}-0000-4000-8000-000000000000.local" for number in range(MAX_NAMES + 1)]
    assert [peers.takes(candidate(name)) for name in names] == [True] * MAX_NAMES + [False]
    assert peers.takes(candidate(names[0], 6000)), "one that was named before"
