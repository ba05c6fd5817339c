"""The frame codec: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import ProtocolError
from perdure.wire import (
    MAX_MESSAGE_BYTES,
    MAX_REASON_BYTES,
    MAX_RESUME_POSITIONS,
    MAX_TARGET_BYTES,
    MAX_VARINT,
    Ack,
    Close,
    CloseCode,
    Data,
    Fin,
    Frame,
    Gone,
    Hello,
    Open,
    Ping,
    Pong,
    Reset,
    ResetCode,
    Resume,
    StreamPosition,
    Window,
    decode_message,
    decode_varint,
    encode_frame,
    encode_varint,
    printable,
)

NUMBERS = st.integers(0, MAX_VARINT)
FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Hello, NUMBERS, st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)),
    st.builds(
        Resume,
        st.binary(min_size=16, max_size=16),
        NUMBERS,
        st.binary(min_size=32, max_size=32),
        st.lists(st.builds(StreamPosition, NUMBERS, NUMBERS, NUMBERS), max_size=5).map(tuple),
    ),
    st.builds(Open, NUMBERS, NUMBERS, st.binary(max_size=MAX_TARGET_BYTES)),
    st.builds(Data, NUMBERS, NUMBERS, st.binary(max_size=100).map(memoryview)),
    st.builds(Ack, NUMBERS, NUMBERS),
    st.builds(Window, NUMBERS, NUMBERS),
    st.builds(Fin, NUMBERS, NUMBERS),
    st.builds(Reset, NUMBERS, st.sampled_from(ResetCode)),
    st.builds(Gone, NUMBERS),
    st.builds(Ping, NUMBERS),
    st.builds(Pong, NUMBERS),
    st.builds(Close, st.sampled_from(CloseCode), st.text(max_size=MAX_REASON_BYTES // 4).map(printable)),
)


@given(st.lists(FRAMES, min_size=1, max_size=8))
def test_frames_survive_the_wire(frames: list[Frame]) -> None:
    assert list(decode_message(b"".join(map(encode_frame, frames)))) == frames


@given(st.binary(max_size=300))
def test_garbage_raises_nothing_but_a_protocol_error(garbage: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        list(decode_message(garbage))


@given(FRAMES, st.data())
def test_a_truncated_frame_is_refused(frame: Frame, data: st.DataObject) -> None:
    encoded = encode_frame(frame)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(ProtocolError):
        list(decode_message(encoded[:cut]))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (151_288_809_941_952_652, "c2197c5eff14e88c"),
        (494_878_333, "9d7f3e7d"),
        (15_293, "7bbd"),
        (37, "25"),
    ],
)
def test_integers_are_those_of_rfc_9000_appendix_a1(value: int, encoded: str) -> None:
    assert encode_varint(value) == bytes.fromhex(encoded)
    assert decode_varint(bytes.fromhex(encoded), 0) == (value, len(encoded) // 2)


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_an_integer_out_of_range_is_the_callers_mistake(value: int) -> None:
    with pytest.raises(ValueError, match=str(value)):
        encode_varint(value)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "empty"),
        (b"\x09" * (MAX_MESSAGE_BYTES + 1), "over"),
        (b"\x7f", "unknown frame type 0x7f"),
        (b"\x03\x01\x01" + encode_varint(MAX_TARGET_BYTES + 1) + b"x" * (MAX_TARGET_BYTES + 1), "target"),
        (b"\x02" + bytes(16) + b"\x01" + bytes(32) + encode_varint(MAX_RESUME_POSITIONS + 1), "streams"),
        (b"\x0c\x00" + encode_varint(MAX_REASON_BYTES + 1) + b"x" * (MAX_REASON_BYTES + 1), "reason"),
    ],
)
def test_what_is_over_a_limit_is_refused_with_its_reason(message: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        list(decode_message(message))


def test_codes_of_a_later_version_are_read_as_the_general_one() -> None:
    assert list(decode_message(b"\x08\x05\x3f")) == [Reset(5, ResetCode.ABORTED)]
    assert list(decode_message(b"\x0c\x3f\x00")) == [Close(CloseCode.PROTOCOL, "")]


def test_the_ends_that_are_nobodys_fault_have_codes_of_their_own() -> None:
    assert list(decode_message(b"\x0c\x04\x00")) == [Close(CloseCode.TIMED_OUT, "")]
    assert list(decode_message(b"\x0c\x05\x00")) == [Close(CloseCode.SHUT_DOWN, "")]


def test_a_peers_reason_cannot_steer_a_terminal() -> None:
    (close,) = decode_message(encode_frame(Close(CloseCode.DONE, "\x1b[2Jbye\x9b\n")))
    assert close == Close(CloseCode.DONE, "?[2Jbye??")


def test_a_session_key_is_never_shown() -> None:
    assert "6b" * 32 not in repr(Hello(1, bytes(16), b"k" * 32))
    assert "k" * 32 not in repr(Hello(1, bytes(16), b"k" * 32))
