"""What unruly peers add to what they say, and what they change."""

from __future__ import annotations

from contextlib import suppress

import pytest

from perdure.errors import ProtocolError
from perdure.wire import Ack, Data, Fin, Frame, Hello, Open, Ping, Reset, decode_message, encode_frame
from perdure_lab.sim.unruly_peers import LONGEST_SILENCE, REMEMBERED_MESSAGES, UnrulyPeers
from perdure_lab.sim.world import World

SAID = [encode_frame(Ping(number)) for number in range(1000, 2000)]


class Direction:
    """Of a carrier."""


def unruly(share: float, world: World | None = None) -> UnrulyPeers:
    peers = UnrulyPeers(world or World(1))
    peers.share = share
    return peers


def frames(messages: list[bytes]) -> list[Frame]:
    """Those of the messages that can be read."""
    read: list[Frame] = []
    for message in messages:
        with suppress(ProtocolError):
            read += decode_message(message)
    return read


def test_while_they_behave_nothing_is_added() -> None:
    assert unruly(0.0).spoil(Direction(), [b"a", b"b"]) == [b"a", b"b"]


def test_all_that_is_said_still_comes_once_and_in_order_and_more_with_it() -> None:
    come = unruly(0.5).spoil(Direction(), SAID)
    seen: set[bytes] = set()
    firsts = [message for message in come if message in SAID and not (message in seen or seen.add(message))]  # type: ignore[func-returns-value]
    assert firsts == SAID
    assert 1300 < len(come) < 1700
    assert any(message not in SAID for message in come), "frames of their own"


def test_what_comes_again_is_of_the_same_direction_and_not_old() -> None:
    peers = unruly(1.0)
    one, other = Direction(), Direction()
    of_the_one = encode_frame(Ping(2**20))
    peers.spoil(one, [of_the_one] * 100)
    come = peers.spoil(other, SAID)
    assert of_the_one not in come
    last = 0
    for message in come:
        if message in SAID:
            last = max(last, SAID.index(message))
            assert SAID.index(message) >= last - REMEMBERED_MESSAGES


def test_data_comes_in_pieces_that_are_the_same_bytes_in_order() -> None:
    text = bytes(range(256)) * 4
    said = [
        encode_frame(Data(1, 100 * number, memoryview(text)[100 * number : 100 * number + 100])) for number in range(10)
    ]
    said.append(encode_frame(Fin(1, 1000)))
    peers = unruly(1e-9)
    for _ in range(100):
        got, pieces = b"", 0
        for frame in frames(peers.spoil(Direction(), said)):
            if isinstance(frame, Data):
                assert frame.offset == len(got)
                got, pieces = got + frame.payload, pieces + 1
            else:
                assert frame == Fin(1, 1000), "behind all of it"
        assert got == text[:1000]
        if pieces > 10:
            return
    pytest.fail("no DATA came in pieces")


def test_an_end_that_acknowledges_nothing_for_a_while_says_the_last_of_each_stream_at_once() -> None:
    world = World(1)
    peers, direction = unruly(1e-9, world), Direction()
    position, silent_since, silences = 0, None, 0
    for position in range(1, 1000):
        world.run(world.now + 0.1)
        said = [encode_frame(Ack(stream_id, position)) for stream_id in (1, 3)]
        come = frames(peers.spoil(direction, [b"".join(said) + encode_frame(Ping(position))]))
        assert come[-1] == Ping(position)
        if come == [Ping(position)]:
            silent_since = world.now if silent_since is None else silent_since
            assert world.now - silent_since <= LONGEST_SILENCE
        else:
            assert come[-3:-1] == [Ack(1, position), Ack(3, position)]
            if silent_since is not None:
                assert come[:2] == [Ack(1, position - 1), Ack(3, position - 1)]
                silent_since, silences = None, silences + 1
    assert silences > 5


def test_who_behaves_again_says_what_was_held_back() -> None:
    peers, direction, asked = unruly(1e-9), Direction(), encode_frame(Ping(1))
    while peers.spoil(direction, [encode_frame(Ack(1, 5))]):
        pass
    peers.share = 0.0
    assert peers.spoil(direction, [asked]) == [encode_frame(Ack(1, 5)), asked]
    assert peers.spoil(direction, [asked]) == [asked]


def test_a_greeting_is_never_changed() -> None:
    hello = encode_frame(Hello(bytes(16), bytes(32)))
    peers = unruly(1e-9)
    assert all(peers.spoil(Direction(), [hello]) == [hello] for _ in range(1000))


def test_only_who_opens_no_honest_stream_opens_others() -> None:
    opened = frames(unruly(1.0).spoil(Direction(), SAID, opens_streams=False))
    assert {frame.stream_id % 2 for frame in opened if isinstance(frame, Open)} == {0}
    assert any(isinstance(frame, Reset) and frame.stream_id % 2 == 0 for frame in opened)
    assert not any(isinstance(frame, Open) for frame in frames(unruly(1.0).spoil(Direction(), SAID)))
