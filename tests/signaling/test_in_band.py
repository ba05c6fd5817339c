"""What a SIGNAL holds: each message as it was said, in its bounds, and not more of them than both ends agree on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import ProtocolError
from perdure.signaling.in_band import (
    DESCRIPTION_COST,
    HEARD_A_SECOND,
    HEARD_AT_ONCE,
    SAID_A_SECOND,
    SAID_AT_ONCE,
    InBandMessage,
    InBandSignals,
)
from perdure.signaling.messages import MAX_CANDIDATE_BYTES, MAX_SDP_BYTES, Answer, Candidate, Offer, Withdraw
from perdure.wire import MAX_SIGNAL_BYTES

LONGEST_HELD_UP = 30.0
"""Seconds after which a silent carrier is lost in any case (`timeout_threshold`)."""

GENERATIONS = st.integers(1, 2**31 - 1)
SDP = st.text(max_size=200)
MESSAGES: st.SearchStrategy[InBandMessage] = st.one_of(
    st.builds(Offer, GENERATIONS, SDP, st.integers(0, 2**31 - 1), st.text(max_size=40)),
    st.builds(Answer, GENERATIONS, SDP),
    st.builds(Candidate, GENERATIONS, SDP, st.none() | st.text(max_size=5), st.none() | st.integers(0, 9)),
    st.builds(Withdraw, GENERATIONS),
)


def written(message: InBandMessage) -> bytes:
    body = InBandSignals(0.0).write(message, 0.0)
    assert body is not None
    return body


@given(MESSAGES)
def test_what_one_end_writes_the_other_reads(message: InBandMessage) -> None:
    assert InBandSignals(0.0).read(written(message), 0.0) == message


def test_a_message_that_is_too_long_goes_another_way() -> None:
    assert InBandSignals(0.0).write(Offer(3, "x" * MAX_SDP_BYTES), 0.0) is None
    assert len(written(Offer(3, "x" * (MAX_SDP_BYTES - 100)))) <= MAX_SIGNAL_BYTES


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"\xff",
        b"[" * 1000,
        b'{"type":"offer"}',
        b'{"type":"offer","generation":0,"sdp":""}',
        b'{"type":"offer","generation":2147483648,"sdp":""}',
        b'{"type":"offer","generation":3,"sdp":"\\ud800"}',
        b'{"type":"answer","generation":"3","sdp":""}',
        b'{"type":"candidate","generation":3,"candidate":"%s"}' % (b"x" * (MAX_CANDIDATE_BYTES + 1)),
        b'{"type":"%s"}' % (b"x" * 201),
    ],
)
def test_what_cannot_be_read_breaks_the_protocol(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        InBandSignals(0.0).read(body, 0.0)


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"bye","reason":"enough"}',
        b'{"type":"ice-servers","iceServers":[{"urls":"turn:elsewhere.example"}]}',
        b'{"type":"later","generation":[]}',
    ],
)
def test_what_is_not_said_so_changes_nothing(body: bytes) -> None:
    assert InBandSignals(0.0).read(body, 0.0) is None


def most(message: InBandMessage, now: float = 0.0) -> list[bytes]:
    """All that an end says of this at once."""
    signals, bodies = InBandSignals(now), []
    while (body := signals.write(message, now)) is not None:
        bodies.append(body)
    return bodies


def test_an_end_says_so_many_at_once_and_a_description_counts_for_more() -> None:
    assert len(most(Candidate(3, "candidate:"))) == SAID_AT_ONCE
    assert len(most(Offer(3, "v=0"))) == SAID_AT_ONCE // DESCRIPTION_COST


def test_after_a_pause_it_says_more() -> None:
    signals = InBandSignals(0.0)
    while signals.write(Withdraw(3), 0.0) is not None:
        pass
    assert signals.write(Withdraw(3), 0.9 / SAID_A_SECOND) is None
    assert signals.write(Withdraw(3), 1.0 / SAID_A_SECOND) is not None


@pytest.mark.parametrize(
    ("message", "count"),
    [(Candidate(3, "candidate:"), HEARD_AT_ONCE), (Offer(3, "v=0"), HEARD_AT_ONCE // DESCRIPTION_COST)],
)
def test_one_too_many_breaks_the_protocol(message: InBandMessage, count: int) -> None:
    signals, body = InBandSignals(0.0), written(message)
    for _ in range(count):
        assert signals.read(body, 0.0) == message
    with pytest.raises(ProtocolError, match="more SIGNALs than are read"):
        signals.read(body, 0.0)


def test_messages_of_a_later_version_count_too() -> None:
    signals = InBandSignals(0.0)
    for _ in range(HEARD_AT_ONCE):
        signals.read(b'{"type":"later"}', 0.0)
    with pytest.raises(ProtocolError, match="more SIGNALs than are read"):
        signals.read(b'{"type":"later"}', 0.0)


def test_all_that_an_end_may_say_may_come_at_once_after_the_longest_silence() -> None:
    said = SAID_AT_ONCE + SAID_A_SECOND * LONGEST_HELD_UP
    assert said <= HEARD_AT_ONCE
    assert SAID_A_SECOND <= HEARD_A_SECOND
