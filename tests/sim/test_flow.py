"""One direction of SCTP or TCP: in order, once, and as late as the path makes it."""

from __future__ import annotations

from random import Random

import pytest

from perdure_lab.sim.flow import MAX_TRIES, MIN_RTO, Flow
from perdure_lab.sim.internet import Way
from perdure_lab.sim.world import World

STEADY = Way(delay=0.05, jitter=0.0, loss=0.0, rate=None, back=0.05)


class Path:
    """What a flow connects, for a test to change."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_acknowledged = True
        self.heard: list[tuple[float, bytes]] = []
        self.drains = 0
        self.is_given_up = False
        self._way: Way | None = STEADY

    def becomes(self, way: Way | None) -> None:
        self._way = way

    def way(self) -> Way | None:
        return self._way

    def arrived(self, messages: list[bytes]) -> None:
        self.heard += [(round(self.world.now, 6), message) for message in messages]

    def drained(self) -> None:
        self.drains += 1

    def given_up(self) -> None:
        self.is_given_up = True

    @property
    def messages(self) -> list[bytes]:
        return [message for _, message in self.heard]


@pytest.fixture
def world() -> World:
    return World(1)


@pytest.fixture
def path(world: World) -> Path:
    return Path(world)


@pytest.fixture
def flow(world: World, path: Path) -> Flow:
    return Flow(world, path, Random(1))


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_what_is_sent_at_once_arrives_at_once(world: World, path: Path, flow: Flow) -> None:
    for message in numbered(3):
        flow.send(message)
    world.run(1.0)
    assert path.heard == [(0.05, message) for message in numbered(3)]


def test_a_line_carries_one_packet_after_the_other(world: World, path: Path, flow: Flow) -> None:
    path.becomes(STEADY._replace(rate=1000.0))
    for _ in range(3):
        flow.send(bytes(100))
    world.run(1.0)
    assert [at for at, _ in path.heard] == [0.15, 0.25, 0.35]


def test_a_packet_that_comes_twice_keeps_the_line_twice_and_is_heard_once(world: World, path: Path, flow: Flow) -> None:
    path.becomes(STEADY._replace(rate=1000.0, doubled=1.0))
    for _ in range(2):
        flow.send(bytes(100))
    world.run(1.0)
    assert [at for at, _ in path.heard] == [0.25, 0.45]


@pytest.mark.parametrize(
    "way", [STEADY._replace(loss=0.3), STEADY._replace(disorder=0.3), STEADY._replace(jitter=0.04)]
)
def test_whatever_befalls_packets_messages_come_in_order_and_once(
    world: World, path: Path, flow: Flow, way: Way
) -> None:
    path.becomes(way)
    for number, message in enumerate(numbered(500)):
        world.run(number * 0.002)
        flow.send(message)
    world.run(60.0)
    assert path.messages == numbered(500)
    waits = [after - before for (before, _), (after, _) in zip(path.heard, path.heard[1:], strict=False)]
    assert max(waits) > 0.01


def test_a_message_that_is_always_lost_still_comes(world: World, path: Path, flow: Flow) -> None:
    path.becomes(STEADY._replace(loss=1.0))
    flow.send(b"hard")
    world.run(60.0)
    assert path.messages == [b"hard"]


def test_what_is_under_way_when_the_path_goes_is_sent_again_when_it_is_back(
    world: World, path: Path, flow: Flow
) -> None:
    for message in numbered(3):
        flow.send(message)
    path.becomes(None)
    world.run(10.0)
    assert path.heard == []
    flow.send(b"meanwhile")
    path.becomes(STEADY)
    world.run(60.0)
    assert path.messages == [*numbered(3), b"meanwhile"]
    assert path.heard[0][0] < 10.0 + 16 * MIN_RTO + 1.0


def test_a_path_that_does_not_come_back_is_given_up(world: World, path: Path, flow: Flow) -> None:
    path.becomes(None)
    flow.send(b"never")
    world.run(sum(min(60.0, MIN_RTO * 2**tries) for tries in range(MAX_TRIES)) - 1.0)
    assert not path.is_given_up
    world.run(3600.0)
    assert path.is_given_up


def test_what_nobody_acknowledges_is_heard_once_and_keeps_its_room(world: World, path: Path, flow: Flow) -> None:
    flow.limit_bytes = 100
    path.is_acknowledged = False
    flow.send(bytes(150))
    world.run(10.0)
    assert len(path.heard) == 1
    assert not flow.has_room
    path.is_acknowledged = True
    world.run(60.0)
    assert len(path.heard) == 1
    assert flow.has_room
    assert path.drains == 1


def test_what_a_closed_flow_holds_is_lost(world: World, path: Path, flow: Flow) -> None:
    flow.send(b"on its way")
    flow.close()
    world.run(10.0)
    assert path.heard == []
