"""The minimal client of the page about the protocol is served by a gateway, and loses no byte."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import perdure
from support.minimal_peer import Knock, MinimalPeer, Stream
from support.pages import DOCS
from support.tunnels import echo, rendezvous

DATA = random.Random(14).randbytes(3_000_000)
"""More than the credit of a stream, so that both ends wait for each other."""


@asynccontextmanager
async def connected() -> AsyncIterator[MinimalPeer]:
    """On its first carrier."""
    async with (
        asyncio.timeout(60),
        rendezvous() as url,
        perdure.serve(url, handler=echo, loopback=True) as gateway,
        MinimalPeer(gateway.ticket.encode()) as peer,
    ):
        await peer.until(lambda: peer.is_resumed)
        yield peer


async def echoed(peer: MinimalPeer, stream: Stream) -> None:
    """Wait until the stream has ended both ways: all of `DATA` came back."""
    await peer.until(lambda: stream.fin_received and stream.fin_acknowledged)
    assert stream.received == DATA


def test_its_handshake_is_that_of_the_vectors() -> None:
    told = json.loads((DOCS / "vectors.json").read_text())
    handshake, ticket = told["handshake"], told["tickets"][0]
    key, ephemeral = (
        X25519PrivateKey.from_private_bytes(bytes.fromhex(handshake["private_keys"][name]))
        for name in ("client", "client_ephemeral")
    )
    gateway, secret = bytes.fromhex(ticket["gateway_key"]), bytes.fromhex(ticket["secret"])
    knock = Knock(key, gateway, secret, handshake["knock"]["payload"], ephemeral)
    assert knock.envelope.hex() == handshake["knock"]["envelope"]
    welcome, keys = knock.open(bytes.fromhex(handshake["welcome"]["envelope"]))
    assert welcome == json.loads(handshake["welcome"]["payload"])
    for each in told["data"]["envelopes"]:
        body = each["body"].encode()
        if each["by"] == "client":
            assert keys.seal(body).hex() == each["envelope"]
        else:
            assert keys.open(bytes.fromhex(each["envelope"])) == body


async def test_it_gets_every_byte_though_it_replaces_its_carrier() -> None:
    async with connected() as peer:
        stream = peer.open("echo:7", DATA)
        await peer.until(lambda: len(stream.received) > len(DATA) // 4)
        await peer.offer()
        await echoed(peer, stream)
        assert stream.accepted
        assert peer.generation == 5


async def test_what_was_lost_with_a_carrier_before_it_arrived_is_sent_again() -> None:
    async with connected() as peer:
        stream = peer.open("echo:7", DATA)
        assert stream.framed
        await peer.offer()
        await echoed(peer, stream)


async def test_it_answers_the_gateways_offer_by_a_higher_one_of_its_own() -> None:
    async with connected() as peer:
        stream = peer.open("echo:7", DATA)
        await peer.until(lambda: len(stream.received) > len(DATA) // 4)
        await peer.lose_carrier()
        await echoed(peer, stream)
        assert peer.generation > 5
        assert peer.carriers == 2
