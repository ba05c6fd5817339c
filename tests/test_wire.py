"""The frame codec: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from perdure.errors import ProtocolError
from perdure.wire import (
    DEFAULT_PARAMETERS,
    FIRST_SKIPPABLE_TYPE,
    MAX_INTEGER,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_FRAMES,
    MAX_REASON_BYTES,
    MAX_SIGNAL_BYTES,
    MAX_STREAMS,
    MAX_TARGET_BYTES,
    MIN_MESSAGE_BYTES,
    OUR_PARAMETERS,
    PROTOCOL_VERSION,
    Accept,
    Ack,
    Close,
    CloseCode,
    Data,
    Fin,
    Frame,
    Gone,
    Hello,
    Open,
    Padding,
    ParameterId,
    Parameters,
    Ping,
    Pong,
    Reset,
    ResetCode,
    Resume,
    Signal,
    StreamPosition,
    Unknown,
    Window,
    decode_message,
    decode_stream_bytes,
    decode_varint,
    encode_frame,
    encode_varint,
    printable,
)

NUMBERS = st.integers(0, MAX_INTEGER)
PARAMETERS = st.builds(
    Parameters,
    st.integers(0, PROTOCOL_VERSION),
    st.integers(PROTOCOL_VERSION, MAX_INTEGER),
    NUMBERS,
    st.integers(MIN_MESSAGE_BYTES, MAX_INTEGER),
    st.integers(0, 1000),
    st.integers(1, MAX_INTEGER),
) | st.just(OUR_PARAMETERS)
FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Hello, st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32), PARAMETERS),
    st.builds(
        Resume,
        st.binary(min_size=16, max_size=16),
        NUMBERS,
        st.binary(min_size=32, max_size=32),
        st.lists(st.builds(StreamPosition, NUMBERS, NUMBERS, NUMBERS, st.booleans()), max_size=5).map(tuple),
        PARAMETERS,
    ),
    st.builds(Open, NUMBERS, NUMBERS, st.binary(max_size=MAX_TARGET_BYTES)),
    st.builds(Accept, NUMBERS, NUMBERS),
    st.builds(Padding, st.integers(0, 5000)),
    st.builds(Data, NUMBERS, NUMBERS, st.binary(max_size=100).map(memoryview)),
    st.builds(Ack, NUMBERS, NUMBERS),
    st.builds(Window, NUMBERS, NUMBERS),
    st.builds(Fin, NUMBERS, NUMBERS),
    st.builds(Reset, NUMBERS, st.sampled_from(ResetCode)),
    st.builds(Signal, st.binary(max_size=100) | st.just(bytes(MAX_SIGNAL_BYTES))),
    st.builds(Gone, NUMBERS),
    st.builds(Ping, NUMBERS),
    st.builds(Pong, NUMBERS),
    st.builds(Close, st.sampled_from(CloseCode), st.text(max_size=MAX_REASON_BYTES // 4).map(printable), PARAMETERS),
)


@given(st.lists(FRAMES, min_size=1, max_size=8))
def test_frames_survive_the_wire(frames: list[Frame]) -> None:
    message = b"".join(map(encode_frame, frames))
    assume(len(message) <= MAX_MESSAGE_BYTES)
    assert list(decode_message(message)) == frames


@given(st.binary(max_size=300))
def test_garbage_raises_nothing_but_a_protocol_error(garbage: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        list(decode_message(garbage))


FEW = st.integers(0, 2)
USUAL = st.builds(Ack, FEW, NUMBERS) | st.builds(Data, FEW, NUMBERS, st.binary(max_size=9).map(memoryview))


@given(st.lists(USUAL, max_size=8), st.binary(max_size=20))
def test_what_is_read_in_one_go_is_what_its_frames_say(frames: list[Frame], rest: bytes) -> None:
    message = b"".join(map(encode_frame, frames)) + rest
    at, read = 0, list[Frame]()
    while (usual := decode_stream_bytes(message, at)) is not None:
        if usual.acknowledged >= 0:
            read.append(Ack(usual.stream_id, usual.acknowledged))
        read.append(Data(usual.stream_id, usual.offset, memoryview(message)[usual.begins_at : usual.ends_at]))
        assert usual.ends_at > at
        at = usual.ends_at
    said: list[Frame] = []
    with contextlib.suppress(ProtocolError):
        said.extend(decode_message(message))
    assert read == said[: len(read)]


@given(FRAMES, st.data())
def test_a_truncated_frame_is_refused(frame: Frame, data: st.DataObject) -> None:
    encoded = encode_frame(frame)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(ProtocolError):
        list(decode_message(encoded[:cut]))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (MAX_INTEGER, "c01fffffffffffff"),
        (494_878_333, "9d7f3e7d"),
        (15_293, "7bbd"),
        (37, "25"),
    ],
)
def test_integers_are_those_of_rfc_9000_appendix_a1_as_far_as_javascript_goes(value: int, encoded: str) -> None:
    assert encode_varint(value) == bytes.fromhex(encoded)
    assert decode_varint(bytes.fromhex(encoded), 0) == (value, len(encoded) // 2)


@pytest.mark.parametrize("value", [-1, MAX_INTEGER + 1])
def test_an_integer_out_of_range_is_the_callers_mistake(value: int) -> None:
    with pytest.raises(ValueError, match=str(value)):
        encode_varint(value)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "empty"),
        (b"\x09" * (MAX_MESSAGE_BYTES + 1), "over"),
        (b"\x3f", "unknown frame type 0x3f"),
        (b"\x7f\x05abcd", "early"),
        (b"\x40" + encode_varint(MAX_SIGNAL_BYTES + 1) + bytes(MAX_SIGNAL_BYTES + 1), "SIGNAL of 16385 bytes"),
        (b"\x03\x01\x01" + encode_varint(MAX_TARGET_BYTES + 1) + b"x" * (MAX_TARGET_BYTES + 1), "target"),
        (b"\x02" + bytes(16) + b"\x01" + bytes(32) + b"\0" + encode_varint(2 * MAX_STREAMS + 1), "streams"),
        (b"\x09\x01" * (MAX_MESSAGE_FRAMES + 1), "frames"),
        (b"\x41\0" * (MAX_MESSAGE_FRAMES + 1), "frames"),
        (b"\x09" + bytes.fromhex("c020000000000000"), "2\\^53"),
        (b"\x0c\x00" + encode_varint(MAX_REASON_BYTES + 1) + b"x" * (MAX_REASON_BYTES + 1), "reason"),
    ],
)
def test_what_is_over_a_limit_is_refused_with_its_reason(message: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        list(decode_message(message))


def test_codes_of_a_later_version_are_read_as_the_general_one() -> None:
    assert list(decode_message(b"\x08\x05\x3f")) == [Reset(5, ResetCode.ABORTED)]
    assert list(decode_message(b"\x0c\x3f\x00\x00")) == [Close(CloseCode.PROTOCOL, "", DEFAULT_PARAMETERS)]


def test_the_ends_that_are_nobodys_fault_have_codes_of_their_own() -> None:
    assert list(decode_message(b"\x0c\x04\x00\x00")) == [Close(CloseCode.TIMED_OUT, "", DEFAULT_PARAMETERS)]
    assert list(decode_message(b"\x0c\x05\x00\x00")) == [Close(CloseCode.SHUT_DOWN, "", DEFAULT_PARAMETERS)]


def test_a_peers_reason_cannot_steer_a_terminal() -> None:
    (close,) = decode_message(encode_frame(Close(CloseCode.DONE, "\x1b[2Jbye\x9b\n")))
    assert close == Close(CloseCode.DONE, "?[2Jbye??")


def test_a_reason_that_is_no_utf8_grows_by_nothing() -> None:
    (close,) = decode_message(b"\x0c\x00" + encode_varint(MAX_REASON_BYTES) + b"\x8a" * MAX_REASON_BYTES + b"\x00")
    assert close == Close(CloseCode.DONE, "?" * MAX_REASON_BYTES, DEFAULT_PARAMETERS)
    assert list(decode_message(encode_frame(close))) == [close]


def test_a_session_key_is_never_shown() -> None:
    assert "6b" * 32 not in repr(Hello(bytes(16), b"k" * 32))
    assert "k" * 32 not in repr(Hello(bytes(16), b"k" * 32))


def test_a_frame_of_a_later_version_is_skipped() -> None:
    unknown = bytes([FIRST_SKIPPABLE_TYPE + 7]) + encode_varint(3) + b"???"
    message = encode_frame(Ping(1)) + unknown + encode_frame(Pong(2)) + unknown
    skipped = Unknown(FIRST_SKIPPABLE_TYPE + 7)
    assert list(decode_message(message)) == [Ping(1), skipped, Pong(2), skipped]


def hello(parameters: bytes) -> bytes:
    return b"\x01" + bytes(48) + encode_varint(len(parameters)) + parameters


def parameter(name: int, *values: int) -> bytes:
    value = b"".join(map(encode_varint, values))
    return encode_varint(name) + encode_varint(len(value)) + value


def test_a_parameter_that_is_left_out_has_its_default_and_one_of_a_later_version_is_ignored() -> None:
    said = parameter(99, 1) + parameter(ParameterId.INITIAL_CREDIT, 5)
    assert list(decode_message(hello(said))) == [Hello(bytes(16), bytes(32), Parameters(initial_credit_bytes=5))]
    assert list(decode_message(hello(b""))) == [Hello(bytes(16), bytes(32), DEFAULT_PARAMETERS)]


def test_what_another_version_says_of_itself_is_not_judged() -> None:
    said = parameter(ParameterId.VERSIONS, 9, 12) + parameter(ParameterId.MAX_ACK_DELAY, 5000)
    assert list(decode_message(hello(said))) == [Hello(bytes(16), bytes(32), Parameters(9, 12))]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (parameter(ParameterId.VERSIONS, 3, 2), "versions from 3 to 2"),
        (parameter(ParameterId.VERSIONS, 2), "ends within"),
        (parameter(ParameterId.VERSIONS, 2, 2, 2), "3 bytes, 2 of them"),
        (parameter(ParameterId.MAX_MESSAGE, MIN_MESSAGE_BYTES - 1), "must take 2048"),
        (parameter(ParameterId.MAX_ACK_DELAY, 1001), "after 1001 ms"),
        (parameter(ParameterId.MAX_ACK_DELAY, 1) * 2, "said twice"),
        (parameter(ParameterId.CARRIERS, 0), "no carrier"),
        (parameter(99, *range(40)) * 30, "over 1024"),
        (b"\x01", "ends within"),
        (b"\x01\x05\x02", "too early"),
    ],
)
def test_parameters_that_cannot_be_are_refused(said: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        list(decode_message(hello(said)))
