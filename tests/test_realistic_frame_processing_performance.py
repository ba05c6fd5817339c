"""What the frame codec costs, as far as it must hold on any machine: reading copies no payload, and nothing is
more than linear.

The figures by themselves are `python -m benchmarks.frames`. These tests are the one exception to the rule that no test
of perdure's own code judges times. They hold on a busy machine: a time is one thread's CPU, in which others' work does
not count, it is the best of several rounds, and it is compared with another one of the same run.
"""

from __future__ import annotations

import pytest
from benchmarks.frames import (
    SIZES,
    allocated_bytes,
    data_message,
    measure_data,
    measure_mix,
    mix,
    packed_data,
    read,
    rounds_us,
    written,
    written_data,
)

from perdure.wire import MAX_MESSAGE_FRAMES, Data, Ping, decode_message, encode_frame

FRAME_BYTES = 2048
"""That handling one frame may allocate beside its message: the frame's object, its integers, a view."""

MOST_OVER_STRUCT = 30
"""Times as long as `struct`, which knows neither varints nor bounds. The codec takes 2 to 9 times as long (3.11); what
is beyond 30 is another algorithm."""


@pytest.mark.parametrize("size", SIZES)
def test_reading_a_frame_copies_no_payload(size: int) -> None:
    message = data_message(size)
    assert allocated_bytes(lambda: read(message)) < FRAME_BYTES


def test_a_payload_that_was_read_is_a_view_of_its_message() -> None:
    message = data_message(8192)
    (frame,) = decode_message(message)
    assert isinstance(frame, Data)
    assert isinstance(frame.payload, memoryview)
    assert frame.payload.obj is message


def test_the_mix_is_read_as_it_was_written() -> None:
    for frames in mix():
        assert list(decode_message(written(frames))) == frames


def test_reading_costs_as_much_for_the_last_frame_of_a_message_as_for_the_first() -> None:
    few, many = (b"".join(encode_frame(Ping(token)) for token in range(count)) for count in (8, MAX_MESSAGE_FRAMES))
    few_us = min(rounds_us(lambda: read(few), 200))
    many_us = min(rounds_us(lambda: read(many), max(1, 200 * 8 // MAX_MESSAGE_FRAMES)))
    assert many_us / MAX_MESSAGE_FRAMES < 2 * few_us / 8


def test_writing_costs_as_much_for_the_last_frame_of_a_message_as_for_the_first() -> None:
    few, many = ([Ping(token) for token in range(count)] for count in (8, MAX_MESSAGE_FRAMES))
    few_us = min(rounds_us(lambda: written(list(few)), 200))
    many_us = min(rounds_us(lambda: written(list(many)), max(1, 200 * 8 // MAX_MESSAGE_FRAMES)))
    assert many_us / MAX_MESSAGE_FRAMES < 2 * few_us / 8


def test_a_long_payload_costs_what_its_copy_costs() -> None:
    payload = memoryview(bytes(64000))
    ours = min(rounds_us(lambda: written_data(payload), 200))
    plain = min(rounds_us(lambda: packed_data(payload), 200))
    assert ours < 4 * plain


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_costs_so_many_times_what_struct_costs_and_no_more(size: int) -> None:
    cost = measure_data(size, rounds=3)
    assert cost.write_ratio < MOST_OVER_STRUCT
    assert cost.read_ratio < MOST_OVER_STRUCT


def test_a_realistic_mix_costs_so_many_times_what_struct_costs_and_no_more() -> None:
    cost = measure_mix(rounds=3)
    assert cost.write_ratio < MOST_OVER_STRUCT
    assert cost.read_ratio < MOST_OVER_STRUCT
