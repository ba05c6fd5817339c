"""Passwords are given where nobody else reads them, and are shown nowhere; no file that is named holds a command up."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from perdure.cli import app
from support.processes import output_of, running, running_python
from support.targets import serving
from support.tickets import ticket_for

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

TURN = "turn:me:hunter2@turn.example"
WARNING = "other users of this machine can read a password that is an argument"


async def settings_of(*options: str, **environment: str) -> tuple[str, str]:
    """What `config show` says on standard output and on standard error."""
    async with running_python("-m", "perdure", "config", "show", *options, **environment) as program:
        await program.ended()
    return program.stdout.text, program.stderr.text


@pytest.fixture
def servers(tmp_path: Path) -> Path:
    path = tmp_path / "ice-servers"
    path.touch(mode=0o600)
    path.write_text(f"# ours\n{TURN}\n\n  stun:stun.example  \n")
    return path


async def test_ice_servers_come_from_a_file(servers: Path) -> None:
    shown, told = await settings_of("--ice-server", f"@{servers}", "--ice-server", "stun:other.example")
    assert told == ""
    for server in ("turn:…@turn.example", "stun:stun.example", "stun:other.example"):
        assert server in shown


async def test_ice_servers_come_from_the_environment(servers: Path) -> None:
    given = {"PERDURE_ICE_SERVERS": f" stun:first.example\n@{servers} "}
    shown, told = await settings_of(**given)
    assert told == ""
    for server in ("stun:first.example", "turn:…@turn.example", "PERDURE_ICE_SERVERS"):
        assert server in shown
    shown, _ = await settings_of("--ice-server", "stun:flag.example", **given)
    assert "first.example" not in shown


async def test_the_environment_wins_over_the_file(servers: Path, tmp_path: Path) -> None:
    file = tmp_path / "perdure.toml"
    file.write_text("[transport]\nice_servers = ['stun:file.example']\n")
    shown, _ = await settings_of("--config", str(file), PERDURE_ICE_SERVERS="stun:environment.example")
    assert "environment.example" in shown
    assert "file.example" not in shown


@pytest.mark.parametrize(
    "option",
    [
        ("--ice-server", TURN),
        ("--set", f"ice_servers=['{TURN}']"),
        ("--rendezvous", "wss://me:hunter2@rendezvous.example"),
        ("--set", "rendezvous='wss://me:hunter2@rendezvous.example'"),
    ],
)
async def test_a_password_that_is_an_argument_works_and_is_told_in_one_line(option: tuple[str, str]) -> None:
    shown, told = await settings_of(*option)
    assert "…@" in shown
    assert len(told.splitlines()) == 1
    assert WARNING in told
    assert "hunter2" not in shown + told


async def test_a_server_without_a_password_is_no_secret() -> None:
    _, told = await settings_of("--ice-server", "stun:stun.example", "--rendezvous", "ws://host")
    assert told == ""


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_a_file_with_a_password_that_others_may_use_is_told(servers: Path, mode: int) -> None:
    servers.chmod(mode)
    told = CliRunner().invoke(app, ["config", "show", "--ice-server", f"@{servers}"]).stderr
    assert told == f"perdure: {servers} holds a password, and others can read or change it: chmod 600 {servers}\n"


@pytest.mark.parametrize(("mode", "is_told"), [(0o644, False), (0o620, True), (0o602, True)])
def test_a_file_that_others_may_change_is_told(tmp_path: Path, mode: int, is_told: bool) -> None:
    file = tmp_path / "perdure.toml"
    file.write_text("[serve]\nallow = ['host:22']\n")
    file.chmod(mode)
    told = CliRunner().invoke(app, ["config", "show", "--config", str(file)]).stderr
    assert told == (f"perdure: others can change {file}: chmod go-w {file}\n" if is_told else "")


def pipe(path: Path) -> str:
    os.mkfifo(path)
    return str(path)


def unix_socket(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
    return str(path)


def zeros(path: Path) -> str:
    return "/dev/zero"


def empty(path: Path) -> str:
    path.write_text("# nothing\n")
    return str(path)


@pytest.mark.parametrize("option", ["--config", "--ice-server", "PERDURE_ICE_SERVERS"])
@pytest.mark.parametrize("kind", [pipe, unix_socket, zeros, str], ids=["pipe", "socket", "device", "none"])
async def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path: Path, option: str, kind: Callable[[Path], str]
) -> None:
    # Found by review: a pipe that nobody writes to was waited for, without a word.
    path = kind(tmp_path / "given")
    given = path if option == "--config" else f"@{path}"
    options, environment = ([], {option: given}) if option.isupper() else ([option, given], {})
    async with running_python("-m", "perdure", "config", "show", *options, **environment) as program:
        assert await program.ended() == 2
    assert f"{path} cannot be read: " in " ".join(program.stderr.text.split())


async def test_a_file_without_a_server_is_refused(tmp_path: Path) -> None:
    program = await output_of("config", "show", "--ice-server", f"@{empty(tmp_path / 'given')}")
    assert await program.ended() == 2
    assert "holds no ICE server" in program.stderr.text


async def says_no(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


@pytest.mark.parametrize("as_json", [True, False])
async def test_a_rendezvous_password_is_never_logged(as_json: bool) -> None:
    options = ["--exit-on-fail", "--log-level", "debug", *(["--json-logs"] if as_json else [])]
    async with serving(says_no) as refusing, serving(hangs_up) as broken:
        for host in ("127.0.0.1:1", refusing, broken, "name.invalid:80"):
            url = f"ws://me:hunter2@{host}"
            ticket = ticket_for(url).encode()
            serve = ("serve", "--rendezvous", url, "--allow", "host:1")
            for command in (serve, ("connect", ticket, "-L", "0:host:1")):
                async with running(*command, *options) as program:
                    assert await program.ended() == 3
                assert "ws://…@" in program.stderr.text
                assert "hunter2" not in program.stderr.text + program.stdout.text.replace(ticket, "")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("wws://me:hunter2@host", "looks like ws://HOST:PORT or wss://HOST, not 'wws://…@host'"),
        ("ws://me:hunter2@host:port", "the port in 'ws://…@host:port' is not a number from 0 to 65535"),
        (
            "ws://me:hun ter2@host:80",
            "has no spaces and no control characters: 'ws://…@host:80'; in a password, a space is written %20",
        ),
        ("ws://me:hun\tter2@host:80", "has no spaces and no control characters: 'ws://…@host:80'"),
        ("me:hunter2@host", "looks like ws://HOST:PORT or wss://HOST, not one without ://"),
        ("ws://me:hunter2@", "looks like ws://HOST:PORT or wss://HOST, not 'ws://…@'"),
        (f"ws://me:hunter2@{'h' * 512}", "a rendezvous URL has at most 512 bytes, not 528"),
    ],
)
async def test_what_is_wrong_with_a_rendezvous_url_is_said_without_its_password(url: str, why: str) -> None:
    program = await output_of("serve", "--rendezvous", url, "--allow", "host:1")
    assert await program.ended() == 2
    assert why in " ".join(program.stderr.text.split())
    assert "ter2" not in program.stderr.text


@pytest.mark.parametrize("word", ["wss://me:hunter2@host", TURN])
async def test_a_url_in_the_wrong_place_is_shown_without_its_password(word: str) -> None:
    for arguments in (("serve", word), ("config", "show", "--for", word), ("connect", "ticket", "-L", word)):
        program = await output_of(*arguments)
        assert await program.ended() == 2
        assert "hunter2" not in program.stderr.text


async def test_a_ticket_of_another_rendezvous_is_told_without_passwords(tmp_path: Path) -> None:
    path = tmp_path / "ticket"
    path.write_text(ticket_for("ws://me:hunter2@one").encode())
    options = ("--rendezvous", "ws://me:hunter3@other", "--allow", "host:1", "--ticket-file", str(path))
    program = await output_of("serve", *options)
    assert "holds a ticket for ws://…@one, not for ws://…@other" in program.stderr.text
    assert "hunter" not in program.stderr.text
