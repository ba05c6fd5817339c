"""What unruly peers add to what they say."""

from __future__ import annotations

from perdure_lab.sim.unruly_peers import REMEMBERED_MESSAGES, UnrulyPeers
from perdure_lab.sim.world import World


class Direction:
    """Of a carrier."""


def test_while_they_behave_nothing_is_added() -> None:
    assert UnrulyPeers(World(1)).spoil(Direction(), [b"a", b"b"]) == [b"a", b"b"]


def test_all_that_is_said_still_comes_once_and_in_order_and_more_with_it() -> None:
    peers = UnrulyPeers(World(1))
    peers.share = 0.5
    said = [b"message %d" % number for number in range(1000)]
    come = peers.spoil(Direction(), said)
    seen: set[bytes] = set()
    firsts = [message for message in come if message in said and not (message in seen or seen.add(message))]  # type: ignore[func-returns-value]
    assert firsts == said
    assert 1300 < len(come) < 1700
    assert any(message not in said for message in come), "frames of their own"


def test_what_comes_again_is_of_the_same_direction_and_not_old() -> None:
    peers = UnrulyPeers(World(1))
    peers.share = 1.0
    one, other = Direction(), Direction()
    peers.spoil(one, [b"of the one"] * 100)
    said = [b"%d" % number for number in range(1000)]
    come = peers.spoil(other, said)
    assert b"of the one" not in come
    last = 0
    for message in come:
        if message in said:
            last = max(last, int(message))
            assert int(message) >= last - REMEMBERED_MESSAGES
