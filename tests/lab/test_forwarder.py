"""Delay, jitter, loss and rate, as the forwarder decides them."""

from __future__ import annotations

import socket
from random import Random

from perdure_lab.lab.forwarder import MAX_QUEUED, Impairment, LinkState

CLIENT, GATEWAY, SERVICE = "192.168.10.10", "192.168.20.10", "203.0.113.10"


def packet(source: str, target: str, size: int = 100) -> bytes:
    if ":" in source:
        head = bytes([0x60, *[0] * 7]) + socket.inet_pton(socket.AF_INET6, source)
        return (head + socket.inet_pton(socket.AF_INET6, target)).ljust(size, b"\0")
    head = bytes([0x45, *[0] * 11]) + socket.inet_aton(source) + socket.inet_aton(target)
    return head.ljust(size, b"\0")


def impairment(client: LinkState, gateway: LinkState | None = None, seed: int = 1) -> Impairment:
    made = Impairment(Random(seed))
    made.become((client, gateway or LinkState(("192.168.20.0/24",))))
    return made


def client_link(delay: float = 0.0, jitter: float = 0.0, loss: float = 0.0, rate: float | None = None) -> LinkState:
    return LinkState(("192.168.10.0/24", "2001:db8:10::/64"), delay, jitter, loss, rate)


def test_a_packet_takes_the_delay_of_both_links() -> None:
    made = impairment(client_link(delay=0.025), LinkState(("192.168.20.0/24",), delay=0.01))
    there = packet(CLIENT, GATEWAY)
    made.arrived(there, now=1.0)
    assert made.due(1.034) == []
    assert made.next_at == 1.035
    assert made.due(1.035) == [there]
    assert made.next_at is None


def test_ipv6_has_the_delay_too_and_services_have_none() -> None:
    made = impairment(client_link(delay=0.5))
    made.arrived(packet("2001:db8:10::10", "2001:db8:ffff::10"), now=1.0)
    made.arrived(packet(GATEWAY, SERVICE), now=1.0)
    assert len(made.due(1.0)) == 1
    assert made.next_at == 1.5


def test_jitter_stays_within_its_bounds_and_never_changes_the_order() -> None:
    made = impairment(client_link(delay=0.1, jitter=0.05))
    sent = [packet(CLIENT, GATEWAY, size=40 + n) for n in range(200)]
    for number, each in enumerate(sent):
        made.arrived(each, now=number * 0.001)
    assert made.due(0.0499) == []
    assert made.due(0.4) == sent


def arrived_of_10000(seed: int) -> list[bytes]:
    made, arrived = impairment(client_link(loss=0.1), seed=seed), []
    for number in range(10_000):
        made.arrived(packet(CLIENT, GATEWAY, size=40 + number % 1000), now=0.0)
        arrived += made.due(0.0)
    return arrived


def test_loss_is_the_asked_share_and_the_same_for_the_same_seed() -> None:
    arrived = arrived_of_10000(seed=1)
    assert 0.085 < 1 - len(arrived) / 10_000 < 0.115
    assert arrived_of_10000(seed=1) == arrived
    assert arrived_of_10000(seed=2) != arrived


def test_a_rate_lets_packets_wait_for_those_before_them() -> None:
    made = impairment(client_link(rate=1000.0))
    for _ in range(3):
        made.arrived(packet(CLIENT, GATEWAY, size=100), now=1.0)
    assert len(made.due(1.11)) == 1
    assert len(made.due(1.31)) == 2


def test_a_queue_has_an_end() -> None:
    made = impairment(client_link(delay=10.0))
    for _ in range(MAX_QUEUED + 10):
        made.arrived(packet(CLIENT, GATEWAY), now=0.0)
    assert len(made.due(10.0)) == MAX_QUEUED


def test_a_slow_source_does_not_hold_up_a_fast_one_on_the_way_to_the_same_target() -> None:
    gateway, wlan = LinkState(("192.168.20.0/24",)), LinkState(("192.168.11.0/24",), delay=0.01)
    made = Impairment(Random(1))
    made.become((client_link(delay=0.4), gateway, wlan))
    for source in (CLIENT, "192.168.11.10", SERVICE):
        made.arrived(packet(source, GATEWAY), now=0.0)
    assert made.due(0.0) == [packet(SERVICE, GATEWAY)]
    assert made.due(0.01) == [packet("192.168.11.10", GATEWAY)]
    assert made.due(0.399) == []
    assert made.due(0.4) == [packet(CLIENT, GATEWAY)]


def test_the_wire_to_a_target_is_free_until_a_slow_sources_packet_gets_there() -> None:
    made = impairment(client_link(delay=0.4), LinkState(("192.168.20.0/24",), rate=1000.0))
    for source in (CLIENT, SERVICE):
        made.arrived(packet(source, GATEWAY, size=100), now=0.0)
    assert made.due(0.1) == [packet(SERVICE, GATEWAY, size=100)]
    assert made.due(0.499) == []
    assert made.due(0.5) == [packet(CLIENT, GATEWAY, size=100)]


def crossings(seed: int) -> list[tuple[int, int]]:
    """At which millisecond which of two sources' packets reach a target, whose link loses and jitters too."""
    made, reached = Impairment(Random(seed)), []
    gateway = LinkState(("192.168.20.0/24",), jitter=0.02, loss=0.1)
    made.become((client_link(delay=0.05, jitter=0.05, loss=0.1), gateway))
    for millisecond in range(1000):
        for source in (CLIENT, SERVICE):
            made.arrived(packet(source, GATEWAY, size=40 + millisecond), now=millisecond / 1000)
        reached += [(millisecond, len(each)) for each in made.due(millisecond / 1000)]
    return reached


def test_what_two_links_do_to_packets_is_the_same_for_the_same_seed() -> None:
    assert crossings(seed=1) == crossings(seed=1)
    assert crossings(seed=1) != crossings(seed=2)


def test_a_shorter_path_takes_effect_at_once() -> None:
    made = impairment(client_link(delay=1.0))
    made.arrived(packet(CLIENT, GATEWAY, size=50), now=0.0)
    made.become((client_link(delay=0.1), LinkState(("192.168.20.0/24",))))
    made.arrived(packet(CLIENT, GATEWAY, size=60), now=0.0)
    assert [len(each) for each in made.due(0.1)] == [60]
    assert [len(each) for each in made.due(1.0)] == [50]
