"""The engine and TURN servers that serve it, or do not: real ones on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from perdure import IceServer
from perdure.config import TransportConfig
from perdure.transport.rtc import RtcTransport
from perdure.turn.shared_secret import make_credentials
from perdure_lab.lab.strict_turn import StrictTurn
from support.certificates import certificate
from support.gathering import Gatherer, gathering
from support.network_namespace import network_namespace
from support.signaling import eventually
from support.turn_server import coturn, free_port, turn_server
from transport.peers import Peers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ONLY_IPV6 = Path(__file__).with_name("only_ipv6.py")


async def test_a_server_that_gives_an_allocation_is_no_failure(tmp_path: Path) -> None:
    async with turn_server(tmp_path, free_port(), "ada", "the password") as server:
        with gathering([server]) as ends:
            await eventually(lambda: bool(ends.gatherer.relayed))
            await asyncio.sleep(0)
            assert ends.failures == []


async def test_a_server_that_refuses_the_password_is_told_once(tmp_path: Path) -> None:
    async with turn_server(tmp_path, free_port(), "ada", "the password") as server:
        wrong = IceServer(server.url, "ada", "another password")
        with gathering([wrong]) as ends:
            await eventually(lambda: bool(ends.failures))
            again = ends.transport.offer(2, Gatherer())
            ends.transport.set_ice_servers([wrong, IceServer("stun:127.0.0.1:9")])
            more = ends.transport.offer(3, Gatherer())
            await asyncio.sleep(0.3)
            again.close()
            more.close()
            assert ends.sentences == [f"{server.url} refuses the credentials (401)"]
            assert "password" not in repr(ends.failures)


async def test_a_carrier_that_waits_for_credentials_asks_the_server_with_those(tmp_path: Path) -> None:
    async with turn_server(tmp_path, free_port(), "ada", "the password") as server:
        with gathering([]) as ends:
            ends.transport.set_ice_servers([IceServer(server.url, "ada", "another password")])
            renewed = asyncio.get_running_loop().create_future()
            ends.awaited = renewed
            carrier = ends.transport.offer(2, gatherer := Gatherer())
            await asyncio.sleep(0.3)
            assert ends.failures == []
            ends.transport.set_ice_servers([server])
            renewed.set_result(None)
            await eventually(lambda: bool(gatherer.relayed))
            carrier.close()
            assert (ends.failures, ends.revivals) == ([], 0)


async def test_new_credentials_after_a_refusal_revive_what_seeks_a_path(tmp_path: Path) -> None:
    async with turn_server(tmp_path, free_port(), "ada", "the password") as server:
        with gathering([IceServer(server.url, "ada", "another password")]) as ends:
            await eventually(lambda: bool(ends.failures))
            assert [each.code for each in ends.transport.turn_failures()] == [401]
            ends.transport.set_ice_servers([server])
            assert ends.revivals == 1
            assert [each.code for each in ends.transport.turn_failures()] == [401], "until it is asked again"


async def test_a_refusal_of_credentials_that_are_others_by_now_revives_what_seeks_a_path(tmp_path: Path) -> None:
    port = free_port()
    renew: list[Callable[[], None]] = []

    def now() -> float:
        """A server's clock, which it reads before it refuses."""
        while renew:
            renew.pop()()
        return 2_000_000_000.0

    strict = StrictTurn(port, b"north", longest_lifetime=600, now=now)
    secret = ("--use-auth-secret", "--static-auth-secret", "north")
    async with coturn(tmp_path, port, *secret), strict.running() as strict_port:
        old = make_credentials(b"north", "ada", 1_999_999_999)
        server = IceServer(f"turn:127.0.0.1:{strict_port}", old.username, old.password)
        with gathering([]) as ends:
            ends.carrier.close()  # on a busy machine it would begin only after what follows, and be refused too
            ends.transport.set_ice_servers([server])
            renew.append(lambda: ends.transport.set_ice_servers([replace(server, username="bob")]))
            carrier = ends.transport.offer(2, Gatherer())
            await eventually(lambda: ends.revivals == 1)
            carrier.close()
            assert strict.refused["Allocate"] >= 1
            assert ends.failures == []
            assert ends.transport.turn_failures() == ()


async def test_a_server_without_room_for_the_user_is_told(tmp_path: Path) -> None:
    async with turn_server(tmp_path, free_port(), "ada", "the password", "--user-quota", "1") as server:
        with gathering([server]) as first:
            await eventually(lambda: bool(first.gatherer.relayed))
            with gathering([server]) as ends:
                await eventually(lambda: bool(ends.failures))
                assert ends.sentences == [f"{server.url} has no room for this user: quota reached (486)"]


async def test_a_server_that_says_nothing_is_told_and_left_out_while_another_serves(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        mute = IceServer(f"turn:127.0.0.1:{silent.getsockname()[1]}", "ada", "the password")
        async with turn_server(tmp_path, free_port(), "ada", "the password") as server:
            with gathering([mute, server]) as ends:
                await eventually(lambda: bool(ends.failures))
                assert ends.gatherer.relayed, "the other one served meanwhile"
                assert ends.sentences == [f"{mute.url} gives no answer in 3 s"]
                silent.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while silent.recv(2048):
                        pass
                later, gatherer = ends.transport.offer(2, found := Gatherer()), found
                await eventually(lambda: bool(gatherer.relayed))
                heard = [datagram for datagram in _received(silent) if datagram]
                later.close()
                assert len(heard) <= 4, "the engine was not given it again; the first carrier still sends"


def _received(silent: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield silent.recv(2048)


async def test_a_server_whose_answer_the_engine_did_not_wait_for_is_no_failure() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        mute = IceServer(f"turn:127.0.0.1:{silent.getsockname()[1]}", "ada", "the password")
        failed, peers = Mock(), Peers()
        peers.transport.tell_of_turn_servers(failed)
        failed.turn_credentials_awaited.return_value = None
        peers.transport.set_ice_servers([mute])
        try:
            await peers.open()
            with gathering([mute]) as later:  # begun after theirs, and without a peer
                await eventually(lambda: bool(later.failures))
            assert failed.turn_server_failed.mock_calls == []
            assert peers.transport.turn_failures() == ()
        finally:
            peers.close()


async def test_a_tcp_server_that_is_not_there_is_told() -> None:
    url = f"turn:127.0.0.1:{free_port()}?transport=tcp"
    with gathering([IceServer(url, "ada", "the password")]) as ends:
        await eventually(lambda: bool(ends.failures))
        assert ends.sentences[0] in {f"{url} cannot be reached (701)", f"{url} gives no answer in 3 s"}


async def test_a_server_that_is_trusted_by_a_file_of_certificates_serves_over_tls(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate(tmp_path)
    port = free_port()
    async with turn_server(tmp_path, port, "ada", "the password", tls=True):
        server = IceServer(f"turns:127.0.0.1:{port}", "ada", "the password")
        with caplog.at_level(logging.INFO, "perdure.turn"):
            with gathering([server], turn_ca=str(tmp_path / "server.pem")) as ends:
                await eventually(lambda: bool(ends.gatherer.relayed))
                assert ends.failures == []
            await eventually(lambda: any("turn-tls-ended" in line for line in caplog.messages))
        [line, *_] = [line for line in caplog.messages if line.startswith("turn-tls-ended")]
        assert f"server={server.url}" in line
        assert "sent=0" not in line
        assert "the password" not in caplog.text


def test_a_machine_that_has_but_ipv6_addresses_reaches_a_server_over_tls(tmp_path: Path) -> None:
    told = subprocess.run(
        [*network_namespace(), sys.executable, str(ONLY_IPV6), str(tmp_path)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert told.returncode == 0, told.stderr
    assert " typ relay " in told.stdout


async def test_a_certificate_that_nobody_vouches_for_is_told_and_its_server_not_used(tmp_path: Path) -> None:
    certificate(tmp_path)
    port = free_port()
    async with turn_server(tmp_path, port, "ada", "the password", tls=True):
        with gathering([IceServer(f"turns:127.0.0.1:{port}", "ada", "the password")]) as ends:
            await eventually(lambda: bool(ends.failures))
            assert f"turns:127.0.0.1:{port} has a certificate that is not trusted" in ends.sentences[0]
            assert ends.gatherer.relayed == []


async def test_what_is_wrong_with_a_certificate_is_not_forgotten_when_the_engine_says_less(tmp_path: Path) -> None:
    """Of the bridge to that server the engine says that it cannot be reached, as of a TCP port that is closed."""
    certificate(tmp_path)
    port = free_port()
    closed = f"turn:127.0.0.1:{free_port()}?transport=tcp"
    async with turn_server(tmp_path, port, "ada", "the password", tls=True):
        urls = [f"turns:127.0.0.1:{port}", closed]
        with gathering([IceServer(url, "ada", "the password") for url in urls]) as ends:
            await eventually(lambda: f"{closed} cannot be reached (701)" in ends.sentences)
            [why] = [each.reason for each in ends.transport.turn_failures() if each.url != closed]
            assert "has a certificate that is not trusted" in why


async def test_a_server_without_tls_is_told_where_tls_is_asked_for(tmp_path: Path) -> None:
    async with turn_server(tmp_path, free_port(), "ada", "the password") as server:
        with gathering([IceServer(server.url.replace("turn:", "turns:"), "ada", "the password")]) as ends:
            await eventually(lambda: bool(ends.failures))
            assert "turns:" in ends.sentences[0]


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(ValueError, match="no certificates"):
        RtcTransport(TransportConfig(turn_ca=str(tmp_path / "ca.pem")))
