"""Which connections the rendezvous takes."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys

import pytest

from perdure.signaling.gate import HTTP_CONNECTIONS, LOG_INTERVAL, RESERVED_DESCRIPTORS, Gate, most_connections
from perdure.signaling.standing import Standing
from support.recorder import TIMEOUT

NEW, WAITING, STRANGER, PROVED = Standing

NEWCOMER = 1000


def full(*held: tuple[str | None, Standing]) -> Gate[int]:
    """A gate at which as many have joined as may: numbered from 0 on, each with its address and what it has proved."""
    gate = Gate[int](len(held), 1000)
    for number, (address, standing) in enumerate(held):
        assert gate.take(number, address) is None
        assert gate.has_room_for(number, standing)
        assert gate.stands(number, standing) is None
    return gate


def joins(gate: Gate[int], number: int, address: str | None, standing: Standing) -> int | None:
    """Who is closed for it; itself where there is no room."""
    assert gate.take(number, address) is None
    if not gate.has_room_for(number, standing):
        gate.left(number)
        return number
    return gate.stands(number, standing)


def test_the_longest_there_that_has_not_joined_gives_way_to_a_new_one() -> None:
    gate = Gate[int](2, 1000)
    for each in range(2 + HTTP_CONNECTIONS):
        assert gate.take(each, "192.0.2.1") is None
    gate.stands(0, WAITING)
    assert gate.take(100, "192.0.2.2") == 1
    assert gate.take(101, "192.0.2.2") == 2
    gate.left(1)  # which has left already
    assert gate.take(102, "192.0.2.2") == 3


def test_of_those_that_have_not_joined_one_of_the_address_with_most_gives_way() -> None:
    gate = Gate[int](2, 1000)
    for each in range(2 + HTTP_CONNECTIONS):
        gate.take(each, f"192.0.2.{each if each < 8 else 100}")
    assert [gate.take(NEWCOMER + each, f"192.0.3.{each}") for each in range(3)] == [8, 9, 10]


@pytest.mark.parametrize(
    ("held", "newcomer", "gone"),
    [
        ([WAITING, WAITING], PROVED, 0),
        ([PROVED, STRANGER, WAITING], PROVED, 2),
        ([PROVED, STRANGER, STRANGER], PROVED, 1),
        ([STRANGER, WAITING], STRANGER, 1),
        ([PROVED, STRANGER], WAITING, NEWCOMER),
        ([PROVED, STRANGER], STRANGER, NEWCOMER),
        ([PROVED, PROVED], PROVED, NEWCOMER),
        ([WAITING, WAITING], WAITING, NEWCOMER),
    ],
)
def test_who_has_proved_less_gives_way_to_who_has_proved_more(
    held: list[Standing], newcomer: Standing, gone: int
) -> None:
    gate = full(*((f"192.0.2.{number}", standing) for number, standing in enumerate(held)))
    assert joins(gate, NEWCOMER, "192.0.3.1", newcomer) == gone


@pytest.mark.parametrize("standing", [WAITING, STRANGER, PROVED])
def test_of_those_that_have_proved_as_much_one_goes_for_an_address_with_fewer(standing: Standing) -> None:
    gate = full(*((address, standing) for address in ["192.0.2.9", *["192.0.2.1"] * 4, "192.0.2.9"]))
    assert [joins(gate, number, "192.0.2.7", standing) for number in (100, 101)] == [1, 2]
    assert joins(gate, 102, "192.0.2.7", standing) == 102, "each has two: it would change nothing"
    assert joins(gate, 103, "192.0.2.1", standing) == 103
    assert joins(gate, 104, None, standing) == 0, "a proxy's first"
    assert joins(gate, 105, None, standing) == 105


def test_none_of_a_proxys_many_goes_for_one_that_has_proved_as_much() -> None:
    gate = full(*[(None, STRANGER)] * 4)
    assert joins(gate, 100, "192.0.2.7", STRANGER) == 100
    assert joins(gate, 101, None, PROVED) == 0


def test_what_has_been_proved_meanwhile_counts() -> None:
    gate = full(("192.0.2.1", STRANGER), ("192.0.2.2", STRANGER))
    assert gate.stands(0, PROVED) is None
    assert joins(gate, 100, "192.0.2.3", PROVED) == 1
    assert gate.stands(1, PROVED) is None, "it has left"
    assert joins(gate, 101, "192.0.2.4", PROVED) == 101
    assert gate.stands(0, NEW) is None, "it is about to end"
    assert joins(gate, 102, "192.0.2.4", PROVED) is None


def test_where_all_have_proved_themselves_there_is_no_room_until_one_leaves() -> None:
    gate = full((None, PROVED), (None, PROVED))
    assert joins(gate, 100, None, PROVED) == 100
    gate.left(1)
    assert joins(gate, 101, None, PROVED) is None


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
        gate.stands(number, Standing.STRANGER)
    assert taken == [True, True, not counted]
    gate.left(0)
    assert gate.take(9, addresses[2]) is None


def test_the_oldest_of_an_address_that_has_not_joined_gives_way_to_a_new_one_of_it() -> None:
    gate = Gate[int](1000, 2)
    for each, address in enumerate(["192.0.2.9", "192.0.2.1", "192.0.2.1"]):
        assert gate.take(each, address) is None
    assert gate.take(3, "192.0.2.1") == 1
    for each in (2, 3):
        gate.stands(each, Standing.STRANGER)
    assert gate.take(4, "192.0.2.1") == 4


def test_what_was_not_taken_is_told_once_a_minute() -> None:
    gate = Gate[int](1000, 1)
    assert gate.take_report(0.0) == 0
    for number in range(3):
        gate.take(number, "192.0.2.1")
        gate.stands(number, Standing.STRANGER)
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
