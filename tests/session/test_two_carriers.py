"""What is read is what was written while the session moves from one carrier to another that was begun beside it."""

from __future__ import annotations

from random import Random

import pytest

from perdure.config import ResourceLimits
from session.test_session_properties import check_direction, known_streams
from support.session_pair import End, Pair

LITTLE = ResourceLimits(
    max_streams=16, stream_window_bytes=64 * 1024, stream_buffer_bytes=96 * 1024, session_buffer_bytes=256 * 1024
)

WALKS = 400
STEPS = 120


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.connect()
    pair.settle()
    return pair


class Walk:
    """A long random exchange in which streams are busy and spares come and go."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.pair = Pair(LITTLE)
        self.opened: list[list[int]] = [[], []]
        self.pair.connect()
        self.pair.exchange(2)
        for _ in range(STEPS):
            self.step()

    def step(self) -> None:
        random, pair = self.random, self.pair
        side = random.randrange(2)
        end = pair.ends[side]
        match random.choices(
            ("user", "send", "deliver", "beside", "begin", "open", "drop", "lose old", "lose current", "wait", "anew"),
            (30, 20, 20, 14, 5, 8, 2, 1, 1, 4, 0.5),
        )[0]:
            case "user":
                self.use(side, end)
            case "send":
                pair.send(end, random.randint(1, 3))
            case "deliver":
                pair.deliver(end, random.randint(1, 3))
            case "beside":
                pair.deliver_beside(end, random.randint(1, 3))
            case "begin":
                pair.begin_spare()
            case "open":
                pair.open_spare(end)
            case "drop":
                pair.drop_spare()
            case "lose old":
                pair.lose_old()
            case "lose current":
                pair.lose_current()
            case "wait":
                pair.advance(random.choice((0.001, 0.03, 2.0)))
            case _:
                pair.connect()

    def use(self, side: int, end: End) -> None:
        streams = known_streams(end, self.opened[side])
        if len(self.opened[side]) < 4 and (not streams or self.random.random() < 0.1):
            self.opened[side].append(end.session.open_stream(b"target"))
        elif streams:
            stream_id = self.random.choice(streams)
            match self.random.choices(("write", "consume", "finish", "reset", "abort"), (12, 10, 1, 0.3, 0.2))[0]:
                case "write":
                    end.write(stream_id, self.random.choice((1, 300, 5000, 40_000)))
                case "consume":
                    end.consume(stream_id)
                case "finish":
                    end.finish(stream_id)
                case "reset":
                    end.reset_stream(stream_id)
                case _:
                    end.abort_stream(stream_id)

    def settle(self) -> None:
        """Bring what is begun to its end, without a carrier that nobody has begun."""
        pair = self.pair
        if not pair.connected or (pair.initiator.current != pair.acceptor.current and not self.meets):
            pair.connect()
        for end in pair.ends:
            pair.open_spare(end)
        pair.settle()
        if self.random.random() < 0.5:
            pair.lose_old()
            pair.settle()

    @property
    def meets(self) -> bool:
        """Whether both ends come to the same carrier once what is under way arrives."""
        one, other = self.pair.ends
        return (one.spare or one.current) == (other.spare or other.current)


@pytest.mark.parametrize("block", range(8))
def test_what_is_read_is_what_was_written_in_any_interleaving_of_two_carriers(block: int) -> None:
    for seed in range(block * WALKS // 8, (block + 1) * WALKS // 8):
        walk = Walk(seed)
        walk.settle()
        pair = walk.pair
        assert not pair.initiator.unusable + pair.acceptor.unusable, seed
        for end in pair.ends:
            assert end.closed is None, seed
            assert end.session.awaiting_since() is None, (seed, "something waits for ever")
            assert end.session.streams.buffered_bytes == 0, (seed, "bytes are never acknowledged")
        for stream_id in walk.opened[0] + walk.opened[1]:
            check_direction(pair.initiator, pair.acceptor, stream_id, seed)
            check_direction(pair.acceptor, pair.initiator, stream_id, seed)
