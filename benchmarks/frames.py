"""The frame codec by itself: what it costs to write and to read a frame, whatever the engine does.

    python -m benchmarks.frames [--rounds 9] [--json FILE]

1. A DATA frame is written as the session does it: header, view of the payload, one `join` for the message. It is read
   by `decode_message`. The time is this thread's CPU time: the best of the rounds, and of all of them the spread.
2. `struct` is the yardstick: `struct.pack` of the same header, joined with the same payload, and `struct.unpack_from`
   of it, in the same run.
3. The mix is what a terminal, a page of small requests and a download say in one second, as docs/protocol.md orders it.
4. Allocated bytes are what tracemalloc sees at most while one frame is handled, over what was there before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass

from benchmarks.report import load_average, measured, print_head, print_row, writable

from perdure.wire import (
    Ack,
    Data,
    Fin,
    Frame,
    Open,
    Ping,
    Pong,
    Window,
    decode_message,
    encode_data_header,
    encode_frame,
)

KIB = 1024

SIZES = (0, 64, 1536, 8 * KIB, 64000)
"""Bytes of a DATA frame's payload; a message holds less than 64 KiB in all."""

HANDLED = 2000
"""Frames that are timed at once: some milliseconds."""

ROUNDS = 9

_HEADER = struct.Struct("!BIQH")
"""Type, stream, offset and length, of fixed sizes."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one frame. Times in microseconds of CPU."""

    what: str
    write_rounds_us: list[float]
    read_rounds_us: list[float]
    write_ratio: float
    """Over `struct`."""
    read_ratio: float
    write_bytes: int
    """Allocated at most, the message included."""
    read_bytes: int

    @property
    def write_us(self) -> float:
        return min(self.write_rounds_us)

    @property
    def read_us(self) -> float:
        return min(self.read_rounds_us)


def data_message(size: int) -> bytes:
    """A message of one DATA frame with a payload of `size` bytes."""
    return written_data(memoryview(bytes(size)))


def written_data(payload: memoryview) -> bytes:
    """As `Session.next_message` does it."""
    return b"".join([encode_data_header(3, 10**6, len(payload)), payload])


def packed_data(payload: memoryview) -> bytes:
    """The yardstick."""
    return b"".join([_HEADER.pack(4, 3, 10**6, len(payload)), payload])


def read(message: bytes) -> None:
    """Every frame of it, and forget them."""
    deque(decode_message(message), maxlen=0)


def unpacked(message: bytes) -> memoryview:
    """The yardstick."""
    _, _, _, length = _HEADER.unpack_from(message)
    return memoryview(message)[_HEADER.size : _HEADER.size + length]


def mix() -> list[list[Frame]]:
    """Messages of one second, as lists of frames: 10 keystrokes and their echoes, 20 requests of 300 bytes with answers
    of 1.5 KiB over streams of their own, a download of 64 messages of 16 KiB that are acknowledged, and a PING."""
    key, request, answer, block = (memoryview(bytes(size)) for size in (1, 300, 1536, 16 * KIB))
    messages: list[list[Frame]] = []
    for number in range(10):
        messages += [[Data(1, number, key)], [Ack(1, number + 1), Data(1, number, key)], [Ack(1, number + 1)]]
    for number in range(20):
        stream = 5 + 2 * number
        messages += [
            [Open(stream, 65536, b"127.0.0.1:80"), Data(stream, 0, request)],
            [Ack(stream, 300), Window(stream, 2**21), Data(stream, 0, answer), Fin(stream, 1536)],
            [Ack(stream, 1536), Fin(stream, 300)],
        ]
    for number in range(64):
        messages += [[Data(3, number * len(block), block)], [Ack(3, (number + 1) * len(block))]]
    return [*messages, [Ping(7)], [Pong(7)]]


def written(frames: list[Frame]) -> bytes:
    """A message of these."""
    parts: list[bytes | memoryview] = []
    for frame in frames:
        if isinstance(frame, Data):
            parts += [encode_data_header(frame.stream_id, frame.offset, len(frame.payload)), frame.payload]
        else:
            parts.append(encode_frame(frame))
    return b"".join(parts)


def rounds_us(work: Callable[[], object], count: int = HANDLED, rounds: int = ROUNDS) -> list[float]:
    """Microseconds of this thread's CPU that one call of `work` takes in each round."""
    times = []
    for _ in range(rounds):
        began_at = time.thread_time_ns()
        for _ in range(count):
            work()
        times.append((time.thread_time_ns() - began_at) / count / 1e3)
    return times


def allocated_bytes(work: Callable[[], object]) -> int:
    """At most, while one call of `work` runs."""
    work()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def measure_data(size: int, rounds: int) -> Cost:
    """One DATA frame."""
    payload, message, packed = memoryview(bytes(size)), data_message(size), packed_data(memoryview(bytes(size)))
    write = rounds_us(lambda: written_data(payload), rounds=rounds)
    reading = rounds_us(lambda: read(message), rounds=rounds)
    return Cost(
        f"DATA of {size:,} bytes",
        write,
        reading,
        min(write) / min(rounds_us(lambda: packed_data(payload), rounds=rounds)),
        min(reading) / min(rounds_us(lambda: unpacked(packed), rounds=rounds)),
        allocated_bytes(lambda: written_data(payload)),
        allocated_bytes(lambda: read(message)),
    )


def measure_mix(rounds: int) -> Cost:
    """A frame of the mix, on average; beside `struct` for as many DATA frames of the mix' median payload."""
    messages = mix()
    whole = [written(frames) for frames in messages]
    frames = sum(map(len, messages))
    sizes = [len(frame.payload) for each in messages for frame in each if isinstance(frame, Data)]
    payload = memoryview(bytes(int(statistics.median(sizes))))
    packed = packed_data(payload)
    write = [each / frames for each in rounds_us(lambda: [written(each) for each in messages], 20, rounds)]
    reading = [each / frames for each in rounds_us(lambda: deque(map(read, whole), maxlen=0), 20, rounds)]
    return Cost(
        f"the mix, {frames} frames in {len(messages)} messages",
        write,
        reading,
        min(write) / min(rounds_us(lambda: packed_data(payload), rounds=rounds)),
        min(reading) / min(rounds_us(lambda: unpacked(packed), rounds=rounds)),
        max(allocated_bytes(lambda each=each: written(each)) for each in messages),  # type: ignore[misc]
        max(allocated_bytes(lambda each=each: read(each)) for each in whole),  # type: ignore[misc]
    )


COLUMNS = ("frame", "write", "read", "write over struct", "read over struct", "allocated to write", "to read")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=writable, metavar="FILE")
    arguments = parser.parse_args()
    print(load_average())
    print_head(*COLUMNS)
    costs = []
    for size in (*SIZES, None):
        cost = measure_mix(arguments.rounds) if size is None else measure_data(size, arguments.rounds)
        costs.append(cost)
        print_row(*_cells(cost))
        for what, rounds in (("writing", cost.write_rounds_us), ("reading", cost.read_rounds_us)):
            measured(f"{what} a frame", cost.what, "us of CPU", rounds, less_is_better=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=1) + "\n", encoding="utf-8")


def _cells(cost: Cost) -> tuple[str, ...]:
    """Of `COLUMNS`."""
    return (
        cost.what,
        *(
            f"{min(rounds):.2f} us (to {max(rounds) / min(rounds):.2f} ×)"
            for rounds in (cost.write_rounds_us, cost.read_rounds_us)
        ),
        f"{cost.write_ratio:.1f}",
        f"{cost.read_ratio:.1f}",
        f"{cost.write_bytes:,} bytes",
        f"{cost.read_bytes:,} bytes",
    )


if __name__ == "__main__":
    main()
