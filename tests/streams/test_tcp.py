"""What programs see of a forwarded connection: what a plain TCP connection would have shown them."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from support.processes import running, running_client, running_gateway, running_rendezvous
from support.targets import CHUNK_BYTES, connected, echo, positions, random_bytes, reset, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.processes import Program

TIMEOUT = 90.0
"""Seconds that a test may take; far above what it does take, so that a hang is a failure."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[tuple[Program, str]]:
    """A gateway that allows every local port, and its ticket; each test brings its own client."""
    async with running_rendezvous() as (_, url), running_gateway(url) as gateway:
        yield gateway


@pytest.fixture
def ticket(gateway: tuple[Program, str]) -> str:
    return gateway[1]


async def test_many_small_questions_are_answered_in_turn(ticket: str) -> None:
    """As `psql` talks: a length, a question, an answer, the next question."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while header := await reader.read(4):
            question = await reader.readexactly(int.from_bytes(header, "big"))
            writer.write(len(question).to_bytes(4, "big") + question[::-1])
            await writer.drain()

    async with (
        asyncio.timeout(TIMEOUT),
        serving(answer) as target,
        running_client(ticket, target) as client,
        connected(client.port()) as (reader, writer),
    ):
        for number in range(500):
            question = f"select {number} from somewhere;".encode() * (number % 7 + 1)
            writer.write(len(question).to_bytes(4, "big") + question)
            header = await reader.readexactly(4)
            assert await reader.readexactly(int.from_bytes(header, "big")) == question[::-1]


async def test_a_client_that_shuts_its_write_side_down_reads_the_whole_answer(ticket: str) -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()
        writer.write(hashlib.sha256(question).hexdigest().encode() + question)
        await writer.drain()

    data, digest = random_bytes(3_000_000)
    async with (
        asyncio.timeout(TIMEOUT),
        serving(answer_at_the_end) as target,
        running_client(ticket, target) as client,
        connected(client.port()) as (reader, writer),
    ):
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == digest.encode() + data


async def test_a_server_that_ends_first_still_gets_what_the_client_sends(ticket: str) -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def greet_and_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"that is all I say")
        writer.write_eof()
        got.set_result(await reader.read())

    async with (
        asyncio.timeout(TIMEOUT),
        serving(greet_and_listen) as target,
        running_client(ticket, target) as client,
        connected(client.port()) as (reader, writer),
    ):
        assert await reader.read() == b"that is all I say"
        writer.write(b"still listening?")
        writer.write_eof()
        assert await got == b"still listening?"


async def test_a_reset_by_the_target_is_a_reset_for_the_client(ticket: str) -> None:
    async def reset_after_a_word(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(4) == b"word"
        reset(writer)

    async with (
        asyncio.timeout(TIMEOUT),
        serving(reset_after_a_word) as target,
        running_client(ticket, target) as client,
        connected(client.port()) as (reader, writer),
    ):
        writer.write(b"word")
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_a_reset_by_the_client_is_a_reset_for_the_target(ticket: str) -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        try:
            await reader.read()
        except ConnectionResetError:
            ended.set_result("reset")
        else:
            ended.set_result("end")

    async with (
        asyncio.timeout(TIMEOUT),
        serving(listen) as target,
        running_client(ticket, target) as client,
        connected(client.port()) as (reader, writer),
    ):
        assert await reader.readexactly(5) == b"hello"
        reset(writer)
        assert await ended == "reset"


async def test_a_target_that_closes_at_once_is_an_end_for_the_client(ticket: str) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with asyncio.timeout(TIMEOUT), serving(leave) as target, running_client(ticket, target) as client:
        for _ in range(20):
            async with connected(client.port()) as (reader, _writer):
                assert await reader.read() == b""


async def test_writing_to_a_target_that_has_closed_earns_a_reset(ticket: str) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def write_until_reset(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes(CHUNK_BYTES))
            await writer.drain()

    async with (
        asyncio.timeout(TIMEOUT),
        serving(leave) as target,
        running_client(ticket, target) as client,
        connected(client.port()) as (reader, writer),
    ):
        assert await reader.read() == b""
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await write_until_reset(writer)


async def test_the_answer_of_a_target_that_closes_without_reading_all_arrives(ticket: str) -> None:
    """As an HTTP server does that refuses a large upload: its kernel follows the answer with RST."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(b"413 too large")
        await writer.drain()
        reset(writer)

    async with asyncio.timeout(TIMEOUT), serving(refuse) as target, running_client(ticket, target) as client:
        for _ in range(300):
            async with connected(client.port()) as (reader, writer):
                writer.write(bytes(100_000))
                assert await reader.readexactly(13) == b"413 too large"
                with pytest.raises(ConnectionResetError):
                    await reader.read()


async def test_a_large_upload_arrives_whole(ticket: str) -> None:
    got: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def digest_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = hashlib.sha256()
        while data := await reader.read(CHUNK_BYTES):
            found.update(data)
        got.set_result(found.hexdigest())

    data, digest = random_bytes(50_000_000)
    async with (
        asyncio.timeout(TIMEOUT),
        serving(digest_all) as target,
        running_client(ticket, target) as client,
        connected(client.port()) as (_reader, writer),
    ):
        writer.write(data)
        writer.write_eof()
        assert await got == digest


async def test_a_reader_that_stops_does_not_stop_the_others(ticket: str) -> None:
    """Backpressure holds one stream: its target is blocked, while its neighbours in the tube go on."""
    data, digest = random_bytes(20_000_000)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.write_eof()
        await writer.drain()
        await reader.read()

    async with (
        asyncio.timeout(TIMEOUT),
        serving(flood) as flooding,
        serving(echo) as echoing,
        running_client(ticket, flooding, echoing) as client,
        connected(client.port(0)) as (slow_reader, _slow_writer),
        connected(client.port(1)) as (reader, writer),
    ):
        assert await slow_reader.readexactly(1) == data[:1]
        for number in range(200):
            message = positions(number, 8000)
            writer.write(message)
            assert await reader.readexactly(len(message)) == message
        assert hashlib.sha256(data[:1] + await slow_reader.read()).hexdigest() == digest


async def test_several_clients_share_one_gateway(ticket: str) -> None:
    async with (
        asyncio.timeout(TIMEOUT),
        serving(echo) as target,
        running_client(ticket, target) as first,
        running_client(ticket, target) as second,
        connected(first.port()) as (reader, writer),
        connected(second.port()) as (reader2, writer2),
    ):
        writer.write(b"one")
        writer2.write(b"two")
        assert await reader.readexactly(3) == b"one"
        assert await reader2.readexactly(3) == b"two"
        assert await first.program.stop() == 0
        writer2.write(b"still")
        assert await reader2.readexactly(5) == b"still"


def has_ipv6_loopback() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


async def test_every_address_listens_on_the_one_port_that_is_printed(ticket: str) -> None:
    async with (
        asyncio.timeout(TIMEOUT),
        serving(echo) as target,
        running("connect", ticket, "-L", f"*:0:{target}", "--loopback", "--json-logs") as program,
    ):
        listening, _, _ = (await program.says("listening *:")).partition(" -> ")
        await program.says("ready")
        addresses = ["127.0.0.1"] + ["::1"] * has_ipv6_loopback()
        for address in addresses:
            reader, writer = await asyncio.open_connection(address, int(listening.rpartition(":")[2]))
            writer.write(b"hello")
            writer.write_eof()
            assert await reader.read() == b"hello"
            writer.close()
            await writer.wait_closed()
