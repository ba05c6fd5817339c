"""`perdure ticket`, `clients`, `gateway-key` and `client-key`, beside a gateway that runs and without one."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from perdure.keys import key_text
from perdure.ticket import Ticket, parse_ticket
from perdure.ticket_store import TicketStore
from support.processes import START_TIMEOUT, Program, output_of, running, running_gateway, running_python

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = "ws://127.0.0.1:1"
SERVE = ("serve", "--rendezvous", NOWHERE, "--allow", "127.0.0.1:9", "--json-logs")
ADA, BOB = b"a" * 32, b"b" * 32


async def told(*arguments: str, state: Path, code: int = 0) -> Program:
    """The command on this state folder, run to its end."""
    program = await output_of(*arguments, "--state-dir", str(state))
    assert program.process.returncode == code, program.said
    return program


async def created(name: str, *options: str, state: Path) -> Ticket:
    program = await told("ticket", "create", name, "--rendezvous", NOWHERE, *options, state=state)
    (line,) = program.stdout.seen
    return parse_ticket(line, now=0)


async def test_a_ticket_names_the_gateway_of_its_state_folder(tmp_path: Path) -> None:
    ada, bob = await created("ada", state=tmp_path), await created("bob", state=tmp_path)
    key = await told("gateway-key", state=tmp_path)
    assert key.stdout.seen == [key_text(ada.gateway)] == [key_text(bob.gateway)]
    assert ada.secret != bob.secret
    assert (ada.rendezvous_url, ada.expires_at) == (NOWHERE, 0)
    assert stat.S_IMODE((tmp_path / "gateway-key.pem").stat().st_mode) == 0o600


async def test_a_client_has_a_key_of_its_own(tmp_path: Path) -> None:
    first, again = await told("client-key", state=tmp_path), await told("client-key", state=tmp_path)
    assert first.stdout.seen == again.stdout.seen
    assert (await told("gateway-key", state=tmp_path)).stdout.seen != first.stdout.seen
    assert stat.S_IMODE((tmp_path / "client-key.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("12h", 43200), ("7d", 604800), ("2w", 1209600)])
async def test_a_ticket_expires_so_long_from_now(tmp_path: Path, text: str, seconds: int) -> None:
    ticket = await created("ada", "--expires", text, state=tmp_path)
    (made,) = TicketStore(tmp_path)
    assert ticket.expires_at == made.expires_at == int(made.created_at) + seconds


async def test_a_ticket_expires_at_a_time(tmp_path: Path) -> None:
    assert (await created("ada", "--expires", "2100-01-01T00:00:00Z", state=tmp_path)).expires_at == 4102444800
    assert (await created("bob", "--expires", "2100-01-01T00:00:00+01:00", state=tmp_path)).expires_at == 4102441200


async def test_the_rendezvous_is_in_the_configuration_or_known_from_the_last_gateway(tmp_path: Path) -> None:
    file, state = tmp_path / "perdure.toml", tmp_path / "state"
    file.write_text('[serve]\nrendezvous = "wss://rendezvous.example"\n')
    made = await told("ticket", "create", "ada", "--config", str(file), state=state)
    assert parse_ticket(made.stdout.text, now=0).rendezvous_url == "wss://rendezvous.example"
    async with running_gateway("ws://127.0.0.1:2", state=state) as (gateway, _):
        await gateway.logs("state", folder=str(state))
    made = await told("ticket", "create", "bob", state=state)
    assert parse_ticket(made.stdout.text, now=0).rendezvous_url == "ws://127.0.0.1:2"


async def test_a_ticket_is_written_to_a_file_that_is_its_owners_alone(tmp_path: Path) -> None:
    path, state = tmp_path / "ada.ticket", tmp_path / "state"
    arguments = ("ticket", "create", "ada", "--rendezvous", NOWHERE, "--ticket-file", str(path))
    assert (await told(*arguments, state=state)).stdout.text == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ticket = parse_ticket(path.read_text(), now=0)
    assert TicketStore(state).ticket("ada", NOWHERE) == ticket
    again = await told(*arguments, state=state, code=2)
    assert f"{path} exists; name another file, or remove it" in again.stderr.text


async def test_a_name_is_given_once(tmp_path: Path) -> None:
    ticket = await created("ada", state=tmp_path)
    again = await told("ticket", "create", "ada", "--rendezvous", NOWHERE, state=tmp_path, code=2)
    file = tmp_path / "tickets" / "ada.json"
    assert again.stderr.seen == [f"perdure: there is a ticket called ada already; take another name, or delete {file}"]
    assert TicketStore(tmp_path).ticket("ada", NOWHERE) == ticket


async def test_tickets_are_listed_with_how_they_are_used(tmp_path: Path) -> None:
    store = TicketStore(tmp_path)
    store.begin_serving(NOWHERE)
    used = store.create("ada", now=1_800_000_000, uses=2, allow=["127.0.0.1:22"])
    bound = store.create("cyd", now=1_800_000_000, uses=1, allow=[f"10.0.0.{number}:22" for number in range(10)])
    store.create("bob", now=1_000_000_000, expires_at=1_000_000_001)
    store.create("eve", now=1_800_000_000, expires_at=4_000_000_000)
    store.revoke("eve", now=1_800_000_060)
    store.began(used.ticket_id, ADA, now=1_800_000_030)
    store.came_from(used.ticket_id, ADA, "192.0.2.7")
    store.began(bound.ticket_id, BOB, now=1_800_000_030)
    await store.flush()
    try:
        live = await told("ticket", "list", state=tmp_path)
        described = json.loads((await told("ticket", "list", "--json", state=tmp_path)).stdout.text)
    finally:
        await store.end_serving()
    head, ada, bob, cyd, eve = live.stdout.seen
    assert (head.split()[0], head.split()[-1]) == ("NAME", "REACHES")
    assert " ".join(ada.split()) == (
        "ada open 2027-01-15 08:00:00 UTC - 1 of 2 2027-01-15 08:00:30 UTC 192.0.2.7 1 127.0.0.1:22"
    )
    assert bob.split()[:2] == ["bob", "expired"]
    assert bob.endswith("  all that serve allows")
    assert cyd.split()[:2] == ["cyd", "bound"], "its one client goes on using it"
    assert cyd.endswith("  10.0.0.0:22, 10.0.0.1:22, 10.0.0.2:22 and 7 more")
    assert eve.split()[:2] == ["eve", "revoked"]
    assert [each["state"] for each in described] == ["open", "expired", "bound", "revoked"]
    assert described[0] == {
        "name": "ada",
        "state": "open",
        "created_at": "2027-01-15T08:00:00Z",
        "expires_at": None,
        "revoked_at": None,
        "uses": 2,
        "clients": 1,
        "allow": ["127.0.0.1:22"],
        "last_used_at": "2027-01-15T08:00:30Z",
        "address": "192.0.2.7",
        "tunnels": 1,
    }
    assert described[3]["revoked_at"] == "2027-01-15T08:01:00Z"
    # Without a gateway no tunnel is live.
    assert (await told("ticket", "list", state=tmp_path)).stdout.seen[1].endswith(" 192.0.2.7  -        127.0.0.1:22")


async def test_an_empty_folder_has_no_tickets_and_is_not_made(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert (await told("ticket", "list", "--json", state=state)).stdout.text == "[]"
    listed = await told("ticket", "list", state=state)
    assert len(listed.stdout.seen) == 1
    assert listed.stderr.seen == [f"there is no ticket in {state}: `perdure ticket create NAME` makes one"]
    assert not state.exists()


async def test_clients_are_listed_and_forgotten(tmp_path: Path) -> None:
    store = TicketStore(tmp_path)
    ticket_id = store.create("ada", now=1_800_000_000, uses=1).ticket_id
    store.began(ticket_id, ADA, now=1_800_000_030)
    store.came_from(ticket_id, ADA, "192.0.2.7")
    await store.flush()
    head, row = (await told("clients", "list", state=tmp_path)).stdout.seen
    assert head.split()[:2] == ["KEY", "TICKET"]
    assert row.split()[:2] == [key_text(ADA), "ada"]
    (described,) = json.loads((await told("clients", "list", "--json", state=tmp_path)).stdout.text)
    assert (described["key"], described["ticket"], described["tunnels"]) == (key_text(ADA), "ada", None)
    await told("clients", "forget", key_text(BOB), state=tmp_path, code=2)
    forgotten = await told("clients", "forget", key_text(ADA), "--ticket", "ada", state=tmp_path)
    assert forgotten.stdout.seen == ["forgotten: ada"]
    assert json.loads((await told("clients", "list", "--json", state=tmp_path)).stdout.text) == []


async def test_a_client_is_forgotten_by_the_beginning_of_its_key_where_no_other_begins_so(tmp_path: Path) -> None:
    store = TicketStore(tmp_path)
    twin = ADA[:-1] + b"b"
    for name, key in {"ada": ADA, "bob": BOB, "eve": twin}.items():
        store.began(store.create(name, now=1_800_000_000, uses=1).ticket_id, key, now=1_800_000_030)
    await store.flush()
    assert (await told("clients", "forget", key_text(BOB)[:6], state=tmp_path)).stdout.seen == ["forgotten: bob"]
    several = await told("clients", "forget", key_text(ADA)[:8], state=tmp_path, code=2)
    assert f"2 clients have a key that begins with {key_text(ADA)[:8]}" in several.stderr.text
    one = await told("clients", "forget", key_text(ADA)[:8], "--ticket", "eve", state=tmp_path)
    assert one.stdout.seen == ["forgotten: eve"]
    assert [list(ticket.clients) for ticket in TicketStore(tmp_path)] == [[ADA], [], []]


async def test_a_gateway_logs_no_change_of_tickets_that_it_finds_at_its_start(tmp_path: Path) -> None:
    await created("ada", state=tmp_path)
    await created("bob", state=tmp_path)
    async with running(*SERVE, "--state-dir", str(tmp_path)) as gateway:
        assert (await gateway.logs("state", folder=str(tmp_path)))["tickets"] == 2
        await created("cyd", state=tmp_path)
        await gateway.logs("ticket", name="cyd", change="created")
    assert [line["name"] for line in gateway.log if line["event"] == "ticket"] == ["cyd"]


async def test_a_running_gateway_sees_what_is_created_and_revoked(tmp_path: Path) -> None:
    async with running_gateway(NOWHERE, state=tmp_path) as (gateway, _):
        await created("ada", state=tmp_path)
        await gateway.logs("ticket", name="ada", change="created")
        await told("ticket", "revoke", "ada", state=tmp_path)
        await gateway.logs("ticket", name="ada", change="revoked")


async def test_a_second_gateway_on_a_state_folder_is_refused(tmp_path: Path) -> None:
    async with running_gateway(NOWHERE, state=tmp_path) as (gateway, _):
        second = await told(*SERVE, "--print-ticket", state=tmp_path, code=2)
        assert second.stderr.seen[-1] == (
            f"perdure: another gateway (process {gateway.process.pid}) uses the state folder {tmp_path}; "
            "give each its own: --state-dir FOLDER"
        )
        assert second.stdout.text == ""


async def test_a_gateway_whose_output_is_no_terminal_keeps_its_ticket_to_itself(tmp_path: Path) -> None:
    async with running(*SERVE, "--state-dir", str(tmp_path), "--log-level", "debug") as gateway:
        line = await gateway.logs("state", folder=str(tmp_path), tickets=1)
        assert line["printed"] is False
    text = TicketStore(tmp_path).ticket("default", NOWHERE).encode()
    assert gateway.stdout.text == ""
    assert text not in gateway.stderr.text


async def test_on_a_terminal_the_ticket_is_the_first_line(tmp_path: Path) -> None:
    master, terminal = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perdure", *SERVE, "--state-dir", str(tmp_path)),
        stdout=terminal,
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(terminal)
    try:
        async with asyncio.timeout(START_TIMEOUT):
            said = b""
            while b"\n" not in said:
                said += await asyncio.to_thread(os.read, master, 4096)
    finally:
        process.terminate()
        assert await process.wait() == 0
        os.close(master)
    assert said.decode().strip() == TicketStore(tmp_path).ticket("default", NOWHERE).encode()


async def test_a_gateway_with_tickets_makes_no_other(tmp_path: Path) -> None:
    await created("ada", state=tmp_path)
    async with running(*SERVE, "--state-dir", str(tmp_path)) as gateway:
        await gateway.logs("state", folder=str(tmp_path), tickets=1)
    assert list(TicketStore(tmp_path).names) == ["ada"]


async def test_a_gateway_whose_only_ticket_is_revoked_says_so(tmp_path: Path) -> None:
    await created("default", state=tmp_path)
    await told("ticket", "revoke", "default", state=tmp_path)
    async with running(*SERVE, "--state-dir", str(tmp_path)) as gateway:
        await gateway.warns("no ticket admits anybody: `perdure ticket create NAME` makes one")
    refused = await told(*SERVE, "--print-ticket", state=tmp_path, code=2)
    assert "the ticket called default is revoked" in refused.stderr.seen[-1]


async def test_a_gateway_whose_last_usable_ticket_is_revoked_while_it_runs_says_so_each_time(tmp_path: Path) -> None:
    nobody = "no ticket admits anybody: `perdure ticket create NAME` makes one"
    await created("ada", state=tmp_path)
    await created("bob", state=tmp_path)
    async with running(*SERVE, "--state-dir", str(tmp_path)) as gateway:
        await gateway.logs("state", tickets=2)
        await told("ticket", "revoke", "ada", state=tmp_path)
        await gateway.logs("ticket", name="ada")
        assert nobody not in gateway.stderr.text
        await told("ticket", "revoke", "bob", state=tmp_path)
        await gateway.warns(nobody)
        await created("eve", state=tmp_path)
        await gateway.logs("ticket", name="eve")
        seen = gateway.mark
        (tmp_path / "tickets" / "eve.json").unlink()
        await gateway.warns(nobody, since=seen)


async def test_the_state_is_where_systemd_says(tmp_path: Path) -> None:
    async with running_python("-m", "perdure", "gateway-key", STATE_DIRECTORY=str(tmp_path)) as program:
        assert await program.ended() == 0
    assert sorted(os.listdir(tmp_path)) == ["gateway-key.pem", "lock"]


async def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    await told("gateway-key", state=tmp_path)
    path = tmp_path / "gateway-key.pem"
    path.chmod(0o666)
    for arguments in (("gateway-key",), SERVE, ("ticket", "create", "ada", "--rendezvous", NOWHERE)):
        refused = await told(*arguments, state=tmp_path, code=2)
        assert refused.stderr.seen[-1] == (
            f"perdure: others can read or write the key file {path}, which is refused: chmod 600 {path}"
        )
    assert not {"ada"} & set(TicketStore(tmp_path).names)


async def test_a_client_whose_key_others_can_read_does_not_connect(tmp_path: Path) -> None:
    """The ticket would be bound to a key that ends with the process."""
    ticket = (await created("ada", "--uses", "1", state=tmp_path / "gateway")).encode()
    state = tmp_path / "home" / "perdure"
    await told("client-key", state=state)
    (state / "client-key.pem").chmod(0o644)
    async with running_python(
        *("-m", "perdure", "connect", ticket, "-L", "0:127.0.0.1:9"), XDG_STATE_HOME=str(tmp_path / "home")
    ) as client:
        assert await client.ended() == 2
    assert client.stdout.text == ""
    (line,) = client.stderr.seen
    assert line.startswith(f"perdure: others can read or write the key file {state / 'client-key.pem'}, ")
    assert "chmod 600" in line


async def test_only_authorized_keys_that_can_be_read_are_served(tmp_path: Path) -> None:
    path = tmp_path / "authorized"
    options = ("--authorized-keys", str(path))
    missing = await told(*SERVE, *options, state=tmp_path, code=2)
    assert f"the authorized keys in {path} cannot be read: No such file" in missing.stderr.seen[-1]
    path.write_text("ssh-ed25519 AAAA ada\n")
    wrong = await told(*SERVE, *options, state=tmp_path, code=2)
    assert f"{path}: line 1: 'ssh-ed25519' is no public key: 44 characters of base64" in wrong.stderr.seen[-1]
    path.write_text(key_text(ADA) + " ada\n")
    async with running(*SERVE, *options, "--state-dir", str(tmp_path)) as gateway:
        await gateway.logs("state", folder=str(tmp_path))
        path.write_text("nonsense\n")
        line = await gateway.warns(f"{path}: line 1: 'nonsense' is no public key")
        assert "44 characters of base64; the list that was read before stays in force" in line
    path.write_text(key_text(ADA) + " ada\n")
    async with running(*SERVE, *options, "--state-dir", str(tmp_path)) as gateway:
        await gateway.logs("state", folder=str(tmp_path))
        path.write_text("# nobody\n")
        await gateway.warns(f"no client is admitted: the authorized keys in {path} name none")
    async with running(*SERVE, *options, "--state-dir", str(tmp_path)) as gateway:
        await gateway.warns(f"no client is admitted: the authorized keys in {path} name none")


async def test_files_that_are_no_tickets_are_told_and_the_others_listed(tmp_path: Path) -> None:
    await created("ada", state=tmp_path)
    bad = tmp_path / "tickets" / "bad.json"
    bad.write_text("{")
    listed = await told("ticket", "list", state=tmp_path)
    assert [line.split()[0] for line in listed.stdout.seen] == ["NAME", "ada"]
    assert f"the ticket file {bad} cannot be used, and it is left out" in listed.stderr.text
