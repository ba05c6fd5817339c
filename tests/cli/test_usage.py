"""Exit codes and messages of mistakes that show before anything is connected."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from support.processes import output_of
from support.tickets import ticket_for

GOOD = ticket_for("ws://127.0.0.1:1", bytes(range(32))).encode()
CREATE = ("ticket", "create", "--rendezvous", "ws://127.0.0.1:1")
SERVE = ("serve", "--rendezvous", "ws://127.0.0.1:1")
CONNECT = ("connect", GOOD)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explode",), "No such command 'explode'"),
        (("serve",), "give --rendezvous URL, or set rendezvous under [serve] in the file that --config names"),
        (SERVE, "give --allow HOST:PORTS, or set allow under [serve] in the file that --config names"),
        ((*SERVE, "--allow", "localhost:1", "--set", "allow=['a:1']"), "--allow and --set serve.allow say the same"),
        (("connect",), "Missing argument"),
        (CONNECT, "give at least one of -L, -D and -W"),
        ((*CONNECT, "-D", "1080", "-W", "h:1"), "-W goes without -L and -D"),
        ((*CONNECT, "-L", "0:h:1", "--socks-login", "/no"), "/no cannot be used: No such file or directory"),
        ((*CONNECT, "-D", "h"), "Invalid value for -D: 'h' in 'h' is not a port from 0 to 65535"),
        ((*CONNECT, "-W", "h"), "Invalid value for -W: a target looks like HOST:PORT"),
        ((*CONNECT, "-L"), "requires an argument"),
        ((*CONNECT, "-L", "8080"), "a forward looks like [BIND:]PORT:HOST:HOSTPORT, where"),
        ((*CONNECT, "-L", "70000:localhost:80"), "'70000' in '70000:localhost:80' is not a port from 0 to 65535"),
        ((*CONNECT, "-L", "0:localhost:80", "--ice-server", "http://x"), "an ICE server looks like stun:HOST:PORT"),
        ((*CONNECT, "-L", "0:localhost:80", "--ice-server", "turn:u@h:1"), "has a user name but no password"),
        ((*CONNECT, "-L", "0:localhost:80", "--log-level", "loud"), "'loud' is not one of"),
        (
            (*SERVE, "--allow", "localhost"),
            "an entry looks like HOST:PORTS, [IPV6]:PORTS, 10.0.0.0/8:PORTS or /PATH, not 'localhost'",
        ),
        ((*SERVE, "--allow", "*:80"), "'*:80' must name a host"),
        (("rendezvous", "--turn-ttl", "60"), "--turn-ttl needs --turn-secret-file FILE"),
        (("rendezvous", "--turn-secret-file", "x"), "needs --turn-url URL and --turn-token-file FILE"),
        (
            ("rendezvous", "--turn-secret-file", "/no", "--turn-url", "turn:x", "--turn-token-file", "/no"),
            "the secret file /no cannot be read: No such file or directory",
        ),
        (
            (*SERVE, "--allow", "h:1", "--turn-url", "turn:x"),
            "Invalid value: --turn-secret-file and --turn-url go together",
        ),
        (
            (*SERVE, "--allow", "h:1", "--turn-url", "turn:x", "--turn-secret-file", "/no"),
            "the secret file /no cannot be read: No such file or directory",
        ),
        *(
            ((*command, "--turn-ca", "/no"), "--turn-ca: the certificates in /no cannot be used: No such")
            for command in (
                (*SERVE, "--allow", "h:1"),
                (*SERVE, "--allow", "h:1", "--ice-servers-url", "https://turn.example/"),
                (*CONNECT, "-L", "0:localhost:80"),
                ("config", "show"),
            )
        ),
        (
            (*SERVE, "--allow", "h:1", "--ice-servers-url", "http://turn.example/"),
            "--ice-servers-url: turn.example is another machine: use https",
        ),
        (
            (*CONNECT, "-L", "0:localhost:80", "--ice-servers-token-file", "/no"),
            "Invalid value: --ice-servers-token-file is set without --ice-servers-url",
        ),
        ((*CREATE, ".ada"), "Invalid value for NAME: '.ada' cannot be a ticket's name: that has 1 to 64 of"),
        (
            (*CREATE, "ada", "--uses", "0"),
            "Invalid value for --uses: a ticket is for 1 to 1024 clients, or for any number; not for 0",
        ),
        ((*CREATE, "ada", "--allow", "x"), "Invalid value for --allow: an entry looks like HOST:PORTS"),
        (
            (*CREATE, "ada", "--expires", "soon"),
            "Invalid value for --expires: a time is 30m, 12h, 7d, 2w or 2026-12-24T18:00, not 'soon'",
        ),
        ((*CREATE, "ada", "--expires", "2026-01-01"), "Invalid value for --expires: 2026-01-01 is past"),
        ((*CREATE, "ada", "--expires", "0h"), "Invalid value for --expires: a ticket that ends in 0h admits nobody"),
        (("ticket", "create", "ada"), "give --rendezvous URL, or a --config file that has it: no gateway has run on"),
        (("ticket", "revoke", "ada"), "there is no ticket called 'ada'; `perdure ticket list` shows them"),
        (("clients", "forget", "adaad"), "'adaad' is not a public key or the first 6 characters of one"),
        (("clients", "forget", "A" * 45), "is not a public key or the first 6 characters of one"),
        (("clients", "forget", "A" * 43 + "="), "no ticket was used with a key that is, or begins with, AAAA"),
        (
            ("serve", "--rendezvous", "http://host", "--allow", "localhost:1"),
            "a rendezvous URL looks like ws://HOST:PORT or wss://HOST, not 'http://host'",
        ),
        ((*SERVE, "--turn-ttl", "60"), "--turn-ttl is set without --turn-secret-file"),
        ((*SERVE, "--ice-servers-token-file", "x"), "--ice-servers-token-file is set without --ice-servers-url"),
        (
            (*SERVE, "--allow", "h:1", "--turn-secret-file", "/no/file", "--turn-url", "turn:turn.example"),
            "the secret file /no/file cannot be read: No such file or directory",
        ),
        (
            (*SERVE, "--allow", "h:1", "--ice-servers-url", "https://h", "--ice-servers-token-file", "/no/file"),
            "the token file /no/file cannot be read: No such file or directory",
        ),
        *(
            ((*SERVE, "--allow", "h:1", *given), f"relay_only is set ({source}), and no TURN server is named; give")
            for given, source in (
                (("--relay-only",), "--relay-only"),
                (("--set", "relay_only=true", "--ice-server", "stun:h"), "--set"),
            )
        ),
        (("rendezvous", "--listen", "8765"), "'8765' is not HOST:PORT"),
        (("rendezvous", "--listen", "127.0.0.1:70000"), "'127.0.0.1:70000' is not HOST:PORT"),
        (("rendezvous", "--listen", "127.0.0.1:8\u00b2"), "'127.0.0.1:8\u00b2' is not HOST:PORT"),
    ],
)
async def test_a_mistake_is_explained_and_exits_with_2(arguments: tuple[str, ...], message: str) -> None:
    program = await output_of(*arguments)
    assert program.process.returncode == 2, program.said
    shown = " ".join(program.stderr.text.replace("│", " ").split())
    assert message in shown
    assert program.stdout.text == ""


async def test_a_turn_password_is_not_repeated_in_a_message() -> None:
    program = await output_of(*CONNECT, "-L", "0:localhost:80", "--ice-server", "turn:user:hunter2@")
    assert program.process.returncode == 2
    assert "hunter2" not in program.said


@pytest.mark.parametrize(
    "verb",
    [
        *("rendezvous", "serve", "connect", "demo", "gateway-key", "client-key"),
        *("ticket create", "ticket list", "ticket revoke", "clients list", "clients forget"),
    ],
)
async def test_every_verb_has_help(verb: str) -> None:
    program = await output_of(*verb.split(), "--help")
    assert program.process.returncode == 0
    assert f"Usage: perdure {verb}" in program.stdout.text.replace("python -m perdure", "perdure")
    assert "--faults" not in program.stdout.text


async def test_help_names_the_exit_codes() -> None:
    program = await output_of("--help")
    assert program.process.returncode == 0
    assert "3 rendezvous unreachable, 4 peer unreachable" in " ".join(program.stdout.text.split())


async def test_a_local_port_in_use_exits_with_6_and_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = await output_of(*CONNECT, "-L", f"{port}:127.0.0.1:9")
        assert program.process.returncode == 6, program.said
    assert program.stderr.seen == [f"perdure: cannot listen on localhost:{port}: Address already in use"]
    assert program.stdout.text == ""


async def test_a_rendezvous_port_in_use_exits_with_6_and_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = await output_of("rendezvous", "--listen", f"127.0.0.1:{port}")
    assert program.process.returncode == 6, program.said
    assert program.stderr.seen[-1].startswith(f"perdure: the rendezvous cannot listen on 127.0.0.1:{port}: ")
    assert "address already in use" in program.stderr.seen[-1].lower()
    assert program.stdout.text == ""


@pytest.mark.parametrize("name", ["x" * 300, "no-such-folder/x"])
async def test_a_ticket_file_that_cannot_be_made_exits_with_2(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    program = await output_of(
        *SERVE, "--allow", "h:1", "--state-dir", str(tmp_path / "state"), "--ticket-file", str(path)
    )
    assert program.process.returncode == 2, program.said
    assert program.stderr.seen[-1].startswith(f"perdure: the ticket file {path} cannot be written: ")


async def test_a_bind_that_is_no_name_exits_with_6() -> None:
    for bind in ("a..b", "x" * 64):
        program = await output_of(*CONNECT, "-L", f"{bind}:0:127.0.0.1:9")
        assert program.process.returncode == 6, program.said
        assert program.stderr.seen == [f"perdure: cannot listen on {bind}:0: it is no host name or address"]


async def test_an_address_of_another_machine_exits_with_6() -> None:
    program = await output_of(*CONNECT, "-L", "192.0.2.1:0:127.0.0.1:9")
    assert program.process.returncode == 6, program.said
    assert program.stderr.seen == ["perdure: cannot listen on 192.0.2.1:0: Cannot assign requested address"]
