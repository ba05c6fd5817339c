"""What a person with a bad ticket sees, and where tickets are kept."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

import pytest

from perdure.ticket import Ticket, parse_ticket
from support.processes import (
    output_of,
    running,
    running_client,
    running_gateway,
    running_rendezvous,
)
from support.targets import connected, echo, serving

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Ticket("ws://127.0.0.1:1", bytes(range(32))).encode()
EXPIRED = Ticket("ws://127.0.0.1:1", bytes(range(32)), 1_000_000_000).encode()
FORWARD = ("-L", "0:127.0.0.1:9")


@pytest.mark.parametrize(
    ("ticket", "code", "message"),
    [
        ("", 2, "the ticket is empty; copy the whole first line that `perdure serve` printed"),
        ("hello", 2, "this is not a ticket: it does not begin with 'perdure1-', as `perdure serve` prints them"),
        ("perdure1-%%%", 2, "the ticket is malformed or truncated; copy it again, whole"),
        (GOOD[:-4], 2, "the ticket is truncated or mistyped (its checksum is wrong); copy it again, whole"),
        (
            GOOD[:20] + ("A" if GOOD[20] != "A" else "B") + GOOD[21:],
            2,
            "the ticket is truncated or mistyped (its checksum is wrong)",
        ),
        (EXPIRED, 5, "the ticket expired at 2001-09-09 01:46 UTC; ask the gateway's owner for a new one"),
        ("@/nowhere/ticket", 2, "the ticket file /nowhere/ticket cannot be read: No such file or directory"),
    ],
)
async def test_a_bad_ticket_is_refused_with_one_line(ticket: str, code: int, message: str) -> None:
    program = await output_of("connect", ticket, *FORWARD)
    assert program.process.returncode == code
    assert program.stderr.text.startswith(f"perdure: {message}")
    assert len(program.stderr.seen) == 1
    assert program.stdout.text == ""


async def test_an_expired_ticket_in_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ticket"
    path.write_text(EXPIRED + "\n")
    program = await output_of("connect", f"@{path}", *FORWARD)
    assert program.process.returncode == 5
    assert "the ticket expired" in program.stderr.text


async def test_an_empty_standard_input_holds_no_ticket() -> None:
    program = await output_of("connect", "-", *FORWARD, stdin="")
    assert program.process.returncode == 2
    assert program.stderr.text.startswith("perdure: the ticket is empty")


async def test_a_ticket_comes_from_a_file_or_from_standard_input(tmp_path: Path) -> None:
    path = tmp_path / "ticket"
    async with (
        serving(echo) as target,
        running_rendezvous() as (_, url),
        running_gateway(url, "--ticket-file", str(path)) as (_, ticket),
        running_client(f"@{path}", target) as client,
        running("connect", "-", "-L", f"0:{target}", "--loopback", "--json-logs") as by_input,
    ):
        assert path.read_text() == ticket + "\n"
        by_input.write(ticket + "\n")
        await by_input.says("ready")
        async with connected(client.port()) as (reader, writer):
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"


async def test_a_ticket_file_is_for_its_owner_alone_and_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "ticket"
    async with running_rendezvous() as (_, url):
        async with running_gateway(url, "--ticket-file", str(path)) as (_, ticket):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert path.read_text() == ticket + "\n"
            assert os.listdir(tmp_path) == ["ticket"]
        async with running_gateway(url, "--ticket-file", str(path)) as (_, again):
            assert again == ticket


OTHER_RENDEZVOUS = Ticket("ws://127.0.0.1:2", bytes(range(32)))
OLD = Ticket("ws://127.0.0.1:1", bytes(range(32)), 1_000_000_000)
UNLIMITED = Ticket("ws://127.0.0.1:1", bytes(range(32)))


@pytest.mark.parametrize(
    ("held", "options", "why", "exit_code"),
    [
        (OTHER_RENDEZVOUS, (), "a ticket for ws://127.0.0.1:2, not for ws://127.0.0.1:1", 2),
        (OLD, (), "an expired ticket", 5),
        (UNLIMITED, ("--ticket-hours", "1"), "--ticket-hours is for a new ticket", 2),
    ],
    ids=["other-rendezvous", "expired", "other-lifetime"],
)
async def test_a_ticket_that_clients_hold_is_never_replaced(
    tmp_path: Path, held: Ticket, options: tuple[str, ...], why: str, exit_code: int
) -> None:
    path = tmp_path / "ticket"
    path.write_text(held.encode() + "\n")
    program = await output_of(
        "serve", "--rendezvous", "ws://127.0.0.1:1", "--allow", "127.0.0.1:9", "--ticket-file", str(path), *options
    )
    assert program.process.returncode == exit_code
    assert why in program.stderr.seen[-1]
    assert "name another file, or remove it" in program.stderr.seen[-1]
    assert path.read_text() == held.encode() + "\n"


async def test_a_file_that_holds_something_else_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("Dear Ada,\n")
    program = await output_of(
        "serve", "--rendezvous", "ws://127.0.0.1:1", "--allow", "127.0.0.1:9", "--ticket-file", str(path)
    )
    assert program.process.returncode == 2
    assert program.stderr.seen == [f"perdure: {path} exists and holds no ticket; name another file, or remove it"]
    assert path.read_text() == "Dear Ada,\n"


async def test_a_ticket_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "ticket"
    program = await output_of(
        "serve", "--rendezvous", "ws://127.0.0.1:1", "--allow", "127.0.0.1:9", "--ticket-file", str(path)
    )
    assert program.process.returncode == 2
    assert program.stderr.seen == [f"perdure: the ticket file {path} cannot be written: No such file or directory"]
    assert program.stdout.text == ""


async def test_the_ticket_is_in_no_log_line() -> None:
    debug = ("--log-level", "debug")
    async with (
        serving(echo) as target,
        running_rendezvous(*debug) as (rendezvous, url),
        running_gateway(url, *debug) as (gateway, ticket),
        running_client(ticket, target, options=debug) as client,
        connected(client.port()) as (_, writer),
    ):
        writer.write(b"hello")
        await client.program.inject("kill")
        await client.program.logs("tube-state", before="reconnecting", after="connected")
    secret = parse_ticket(ticket, now=time.time()).secret
    for program in (rendezvous, gateway, client.program):
        assert program.log
        for hidden in (ticket, ticket[9:], secret.hex(), repr(secret)):
            assert hidden not in program.stderr.text
    assert gateway.stdout.seen == [ticket]
    assert ticket not in client.program.stdout.text


async def test_a_gateways_second_process_with_the_same_ticket_is_told_and_ends(tmp_path: Path) -> None:
    """One gateway a ticket: the newer one takes the room, and the older one says why it ends."""
    path = tmp_path / "ticket"
    async with (
        running_rendezvous() as (_, url),
        running_gateway(url, "--ticket-file", str(path)) as (older, ticket),
    ):
        await older.logs("signaling", status=f"connected through the rendezvous at {url}/v1")
        async with running_gateway(url, "--ticket-file", str(path)) as (newer, again):
            assert again == ticket
            assert await older.ended() == 3
            assert "another gateway with the same ticket has joined" in older.stderr.seen[-1]
            assert newer.is_running
