"""What a person with a bad ticket sees, and where tickets are kept."""

from __future__ import annotations

import os
import shutil
import stat
import time
from typing import TYPE_CHECKING

import pytest

from perdure.ticket import parse_ticket
from support.processes import (
    output_of,
    running,
    running_client,
    running_gateway,
    running_rendezvous,
)
from support.targets import connected, echo, serving
from support.tickets import ticket_for

if TYPE_CHECKING:
    from pathlib import Path

GOOD = ticket_for("ws://127.0.0.1:1", bytes(range(32))).encode()
EXPIRED = ticket_for("ws://127.0.0.1:1", bytes(range(32)), 1_000_000_000).encode()
OF_0_1 = "perdure1-sZmAPAAAAAAAAAAAAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh93czovLzEyNy4wLjAuMTox"
NOWHERE = "ws://127.0.0.1:1"
SERVE = ("serve", "--rendezvous", NOWHERE, "--allow", "127.0.0.1:9")
FORWARD = ("-L", "0:127.0.0.1:9")


@pytest.mark.parametrize(
    ("ticket", "code", "message"),
    [
        ("", 2, "the ticket is empty; copy the whole line that `perdure ticket create` printed"),
        (
            "hello",
            2,
            "this is not a ticket: it does not begin with 'perdure2-', as `perdure ticket create`",
        ),
        ("perdure2-%%%", 2, "the ticket is malformed or truncated; copy it again, whole"),
        (GOOD[:-4], 2, "the ticket is truncated or mistyped (its checksum is wrong); copy it again, whole"),
        (
            GOOD[:20] + ("A" if GOOD[20] != "A" else "B") + GOOD[21:],
            2,
            "the ticket is truncated or mistyped (its checksum is wrong)",
        ),
        (EXPIRED, 5, "the ticket expired at 2001-09-09 01:46:40 UTC, and this machine's clock says 20"),
        (
            OF_0_1,
            2,
            "this ticket is of perdure 0.1, and its gateway is no longer reached by it",
        ),
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


async def test_a_ticket_file_that_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, why in {"fifo": "it is a FIFO and not a regular file", "": "it is a directory"}.items():
        program = await output_of("connect", f"@{tmp_path / name}", *FORWARD)
        assert program.process.returncode == 2
        assert why in program.stderr.text


async def test_a_ticket_file_that_others_can_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ticket"
    path.write_text(GOOD + "\n")
    path.chmod(0o666)
    async with running("connect", f"@{path}", *FORWARD, "--json-logs") as client:
        await client.logs("ticket-file", problem=f"others can read the ticket file {path}: chmod 600 {path}")


async def test_an_empty_standard_input_holds_no_ticket() -> None:
    program = await output_of("connect", "-", *FORWARD, stdin="")
    assert program.process.returncode == 2
    assert program.stderr.text.startswith("perdure: the ticket is empty")


@pytest.mark.parametrize("given", ["argument", "file", "input"])
async def test_a_ticket_that_was_pasted_with_line_breaks_is_taken_whole(tmp_path: Path, given: str) -> None:
    text, path = f"\n{EXPIRED[:50]}\r\n{EXPIRED[50:100]} \n\t{EXPIRED[100:]}", tmp_path / "ticket"
    path.write_text(text)
    path.chmod(0o600)
    argument = {"argument": text, "file": f"@{path}", "input": "-"}[given]
    program = await output_of("connect", argument, *FORWARD, stdin=text)
    assert program.process.returncode == 5
    assert program.stderr.text.startswith("perdure: the ticket expired")


async def test_a_quoted_ticket_on_standard_input_is_told(tmp_path: Path) -> None:
    program = await output_of("connect", "-", *FORWARD, stdin=f"> {GOOD[:50]}\n> {GOOD[50:]}\n")
    assert program.process.returncode == 2
    assert program.stderr.seen == [
        "perdure: the ticket holds a >, as mail programs begin quoted lines: take each > out of it"
    ]


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
    options, state = ("--ticket-file", str(path)), tmp_path / "state"
    async with running_rendezvous() as (_, url):
        async with running_gateway(url, *options, state=state) as (_, ticket):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert path.read_text() == ticket + "\n"
            assert sorted(os.listdir(tmp_path)) == ["state", "ticket"]
        async with running_gateway(url, *options, state=state) as (_, again):
            assert again == ticket
        (state / "tickets" / "default.json").unlink()
        async with running_gateway(url, *options, state=state) as (_, again):
            assert again == ticket


OTHER_RENDEZVOUS = ticket_for("ws://127.0.0.1:2", bytes(range(32)))
OLD = ticket_for("ws://127.0.0.1:1", bytes(range(32)), 1_000_000_000)
OTHER_GATEWAY = ticket_for("ws://127.0.0.1:1", bytes(range(32)))


@pytest.mark.parametrize(
    ("held", "why", "exit_code"),
    [
        (OTHER_RENDEZVOUS.encode(), "a ticket for ws://127.0.0.1:2, not for ws://127.0.0.1:1", 2),
        (OTHER_GATEWAY.encode(), "a ticket of another gateway than the one in ", 2),
        (OLD.encode(), "an expired ticket", 5),
        (OF_0_1, "no ticket that this gateway could serve", 2),
    ],
    ids=["other-rendezvous", "other-gateway", "expired", "perdure-0.1"],
)
async def test_a_ticket_that_clients_hold_is_never_replaced(
    tmp_path: Path, held: str, why: str, exit_code: int
) -> None:
    path = tmp_path / "ticket"
    path.write_text(held + "\n")
    program = await output_of(*SERVE, "--ticket-file", str(path))
    assert program.process.returncode == exit_code
    assert why in program.stderr.seen[-1]
    assert "name another file, or remove it" in program.stderr.seen[-1]
    assert path.read_text() == held + "\n"


async def test_a_file_with_another_ticket_of_this_gateway_is_not_replaced(tmp_path: Path) -> None:
    path, state = tmp_path / "ticket", ("--state-dir", str(tmp_path / "state"))
    await output_of("ticket", "create", "ada", "--rendezvous", NOWHERE, "--ticket-file", str(path), *state)
    await output_of("ticket", "create", "default", "--rendezvous", NOWHERE, *state)
    program = await output_of(*SERVE, "--ticket-file", str(path), *state)
    assert program.process.returncode == 2
    assert "holds another ticket than the one called default; name another file" in program.stderr.seen[-1]


async def test_a_file_that_holds_something_else_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("Dear Ada,\n")
    program = await output_of(*SERVE, "--ticket-file", str(path))
    assert program.process.returncode == 2
    assert program.stderr.seen[-1].startswith(
        f"perdure: {path} exists and holds no ticket that this gateway could serve; name another file, or remove it"
    )
    assert path.read_text() == "Dear Ada,\n"


async def test_a_state_folder_that_cannot_be_made_is_named() -> None:
    program = await output_of(*SERVE, "--state-dir", "/proc/x")
    assert program.process.returncode == 2
    assert program.stderr.seen[-1].endswith("the folder /proc/x cannot be made: No such file or directory")


async def test_a_ticket_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "ticket"
    program = await output_of(*SERVE, "--ticket-file", str(path))
    assert program.process.returncode == 2
    assert program.stderr.seen[-1] == f"perdure: the ticket file {path} cannot be written: No such file or directory"
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
        await client.program.recovers()
    secret = parse_ticket(ticket, now=time.time()).secret
    for program in (rendezvous, gateway, client.program):
        assert program.log
        for hidden in (ticket, ticket[9:], secret.hex(), repr(secret)):
            assert hidden not in program.stderr.text
    assert gateway.stdout.seen == [ticket]
    assert ticket not in client.program.stdout.text


async def test_a_second_gateway_with_the_same_key_is_told_so_and_waits_until_the_first_is_gone(tmp_path: Path) -> None:
    """They have a copy each of one state folder, as two machines would."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    async with (
        running_rendezvous() as (_, url),
        running_gateway(url, state=state) as (older, ticket),
    ):
        await older.logs("signaling", status=f"connected through the rendezvous at {url}/v2")
        shutil.copytree(state, copy)
        async with running_gateway(url, state=copy) as (newer, again):
            assert again == ticket
            await newer.warns("another gateway")
            assert older.is_running
            assert await older.stop() == 0
            await newer.logs("signaling", status=f"connected through the rendezvous at {url}/v2")
