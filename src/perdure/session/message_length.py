"""How long a message with data may be, learned from how fast the path acknowledges. Pure.

A message must cross before it is answered, and before anything behind it: on a slow path a long one looks like
silence. So a message may be twice as long after an acknowledgement within 50 ms, and half as long after one that took
200 ms: at 20 kB/s that settles at 4 KiB, on anything faster than 10 Mbit/s at the longest. Between the two, as with a
round trip of 100 ms, 16 KiB is usual. A new carrier begins with 4 KiB, which fits into SCTP's first flight (12 KB in
libwebrtc): behind an outage a long message would come some round trips later. So long are all messages with what was
sent before: SCTP sends at most four packets (4.7 KB) for each message that it is given, and the rest of a longer one
when the peer has answered. Acknowledgements that were under way meanwhile would make messages longer too early.
"""

from __future__ import annotations

from perdure.wire import MIN_MESSAGE_BYTES

FIRST_MESSAGE_BYTES = 4 * 1024
USUAL_MESSAGE_BYTES = 16 * 1024
QUICK_ANSWER = 0.05
SLOW_ANSWER = 0.2
"""Seconds."""


def next_length(length: int, answer_delay: float, longest: int) -> int:
    """Bytes of a message behind an acknowledgement that came `answer_delay` seconds after it was due. `queue_limit` may
    allow less."""
    if answer_delay < QUICK_ANSWER or (answer_delay <= SLOW_ANSWER and length < USUAL_MESSAGE_BYTES):
        return min(longest, length * 2)
    return max(MIN_MESSAGE_BYTES, length // 2) if answer_delay > SLOW_ANSWER else length
