"""What a session costs that nobody uses: there may be ten thousand of them."""

from __future__ import annotations

import gc
import tracemalloc

from support.session_pair import Pair

PAIRS = 200
MOST_BYTES = 1376
"""13 MB for ten thousand. Measured with CPython 3.11: 1.1 KiB, and 1.3 KiB after streams came and went; the id,
key and binding, which these pairs share, come on top with 190 bytes."""


def idle_pair(*, used: bool) -> Pair:
    pair = Pair()
    pair.connect()
    if used:
        stream_id = pair.initiator.session.open_stream(b"t")
        pair.initiator.write(stream_id, 300)
        for end in pair.ends:
            pair.settle()
            end.finish(stream_id)
    pair.settle()
    return pair


def bytes_of_a_session(*, used: bool) -> float:
    idle_pair(used=used)
    tracemalloc.start()
    try:
        pairs = [idle_pair(used=used) for _ in range(PAIRS)]
        sessions = [end.session for pair in pairs for end in pair.ends]
        pairs.clear()
        gc.collect()
        both, _ = tracemalloc.get_traced_memory()
        count = len(sessions)
        sessions.clear()
        gc.collect()
        neither, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (both - neither) / count


def test_an_idle_session_is_small() -> None:
    assert bytes_of_a_session(used=False) <= MOST_BYTES


def test_a_session_whose_streams_have_ended_is_as_small_again() -> None:
    assert bytes_of_a_session(used=True) <= MOST_BYTES
