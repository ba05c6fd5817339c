"""Which connections the rendezvous takes."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys

import pytest

from perdure.signaling.gate import HTTP_CONNECTIONS, LOG_INTERVAL, RESERVED_DESCRIPTORS, Gate, most_connections
from support.recorder import TIMEOUT


def test_the_oldest_that_has_not_joined_gives_way_to_a_new_one() -> None:
    gate = Gate[int](2, 1000)
    held = range(2 + HTTP_CONNECTIONS)
    for each in held:
        assert gate.take(each, "192.0.2.1") is None
    gate.joined(0)
    assert gate.take(100, "192.0.2.2") == 1
    assert gate.take(101, "192.0.2.2") == 2
    gate.left(1)  # which has left already
    assert gate.take(102, "192.0.2.2") == 3


def test_where_all_have_joined_there_is_no_room_until_one_leaves() -> None:
    gate = Gate[int](2, 1000)
    for each in range(2 + HTTP_CONNECTIONS):
        assert gate.take(each, None) is None
        gate.joined(each)
    assert gate.take(100, None) == 100
    gate.left(100)
    assert gate.take(100, None) == 100
    gate.left(7)
    assert gate.take(101, None) is None


@pytest.mark.parametrize(
    ("addresses", "counted"),
    [
        (["192.0.2.1", "192.0.2.1", "192.0.2.1"], True),
        (["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"], True),
        (["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::"], True),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], False),
        (["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1"], False),
        (["127.0.0.1", "127.0.0.1", "127.0.0.1"], False),
        (["::1", "::1", "::1"], False),
        ([None, None, None], False),
        (["fe80::1%eth0", "fe80::2%eth0", "fe80::3%eth1"], True),
        (["/run/socket", "/run/socket", "/run/socket"], False),
    ],
)
def test_one_address_has_so_many_connections(addresses: list[str | None], counted: bool) -> None:
    gate = Gate[int](1000, 2)
    taken = []
    for number, address in enumerate(addresses):
        taken.append(gate.take(number, address) is None)
        gate.joined(number)
    assert taken == [True, True, not counted]
    gate.left(0)
    assert gate.take(9, addresses[2]) is None


def test_the_oldest_of_an_address_that_has_not_joined_gives_way_to_a_new_one_of_it() -> None:
    gate = Gate[int](1000, 2)
    for each, address in enumerate(["192.0.2.9", "192.0.2.1", "192.0.2.1"]):
        assert gate.take(each, address) is None
    assert gate.take(3, "192.0.2.1") == 1
    for each in (2, 3):
        gate.joined(each)
    assert gate.take(4, "192.0.2.1") == 4


def test_what_was_not_taken_is_told_once_a_minute() -> None:
    gate = Gate[int](1000, 1)
    assert gate.take_report(0.0) == 0
    for number in range(3):
        gate.take(number, "192.0.2.1")
        gate.joined(number)
    assert gate.take_report(5.0) == 2
    gate.take(3, "192.0.2.1")
    assert gate.take_report(5.0 + LOG_INTERVAL / 2) == 0
    assert gate.take_report(5.0 + LOG_INTERVAL) == 1


def test_a_process_with_few_descriptors_takes_fewer_connections() -> None:
    assert most_connections(8192, None) == 8192
    assert most_connections(8192, 1_000_000) == 8192
    assert most_connections(8192, 1024) == 1024 - RESERVED_DESCRIPTORS - HTTP_CONNECTIONS
    assert most_connections(8192, 64) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_rendezvous_with_256_descriptors_answers_beside_300_sockets_that_say_nothing() -> None:
    command = f"ulimit -n 256; exec '{sys.executable}' -m perdure rendezvous --listen 127.0.0.1:0"
    with contextlib.ExitStack() as stack:
        rendezvous = stack.enter_context(
            subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        stack.callback(rendezvous.kill)
        assert rendezvous.stdout is not None
        assert rendezvous.stderr is not None
        address = ("127.0.0.1", int(rendezvous.stdout.readline().rpartition(":")[2]))
        for _ in range(300):
            stack.enter_context(socket.create_connection(address, TIMEOUT))
        with socket.create_connection(address, TIMEOUT) as asking:
            asking.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert asking.recv(100).startswith(b"HTTP/1.1 200")
        told = ""
        while "connections-not-taken" not in told:
            told = rendezvous.stderr.readline()
            assert "Traceback" not in told
        assert re.search(r"count=\d+", told)
        rendezvous.terminate()
        rest = rendezvous.stderr.read()
        assert "Traceback" not in rest
        assert len(rest.splitlines()) < 5
