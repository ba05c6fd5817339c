"""The rendezvous' frames, and the messages inside the envelopes: parsed once, refused in one way."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import ProtocolError
from perdure.signaling.frames import (
    Challenge,
    Deliver,
    Join,
    Joined,
    Presence,
    Proof,
    RefusalCode,
    Refused,
    Role,
    Send,
    Vouch,
    decode_client_frame,
    decode_server_frame,
    encode_frame,
    is_id,
    max_frame_bytes,
)
from perdure.signaling.messages import (
    MAX_ICE_SERVERS,
    Answer,
    Bye,
    Candidate,
    ChannelMessage,
    IceServers,
    Offer,
    RTCIceServer,
    UnknownMessage,
    check_message,
)
from perdure.signaling.reliable_channel import Body, decode_body, encode_body

A = "a" * 32
B = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "frame",
    [
        Join(A, Role.GATEWAY, B, Proof(b"k" * 32, b"p" * 32, "home")),
        Join("any text", Role.CLIENT, B),
        Send("", b"\0x"),
        Send(A, b"y"),
        Vouch(),
        Vouch((A, B)),
    ],
)
def test_a_client_frame_survives_the_wire(frame: Join | Send | Vouch) -> None:
    assert decode_client_frame(encode_frame(frame)) == frame


@pytest.mark.parametrize(
    "frame",
    [
        Challenge(b"k" * 32, b"n" * 16),
        Joined(),
        Joined((A, B)),
        Deliver(A, b"\xff"),
        Presence(A, False),
        Refused(RefusalCode.RATE, "too fast"),
    ],
)
def test_a_server_frame_survives_the_wire(frame: Challenge | Joined | Deliver | Presence | Refused) -> None:
    assert decode_server_frame(encode_frame(frame)) == frame


def test_the_wire_looks_as_the_documentation_says() -> None:
    assert encode_frame(Send("", b"sealed")) == '{"type":"send","to":"","body":"c2VhbGVk"}'
    assert encode_frame(Join(A, Role.CLIENT, B)) == (f'{{"type":"join","room":"{A}","role":"client","peer_id":"{B}"}}')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        '{"type":"send"}',
        '{"type":"send","to":"","body":""}',
        '{"type":"send","to":"","body":"!"}',
        '{"type":"send","to":"","body":"eA==","extra":1}',
        f'{{"type":"send","to":"{A.upper()}","body":"eA=="}}',
        f'{{"type":"send","to":"{A}\\n","body":"eA=="}}',
        f'{{"type":"join","room":"{A}","role":"king","peer_id":"{B}"}}',
        f'{{"type":"join","room":"{A}","role":"gateway","peer_id":"{B}","gateway":{{"key":"eA==","proof":"eA=="}}}}',
        f'{{"type":"presence","peer_id":"{A}","present":true}}',
        '{"type":"send","to":"\\ud800","body":"eA=="}',
        "[" * 100_000,
        '{"type":"send","to":"\ud800","body":"eA=="}',
    ],
)
def test_a_frame_out_of_its_bounds_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_client_frame(text)


def test_the_longest_frame_fits_its_bound() -> None:
    frame = Deliver(A, b"x" * 65536)
    assert len(encode_frame(frame)) <= max_frame_bytes(65536)


def test_an_id_is_32_lower_case_hexadecimal_digits() -> None:
    assert is_id(B)
    assert not any(is_id(text) for text in ("", A.upper(), A + "a", A[:-1] + "g", A[:-1] + "\n", "٣" * 32))


_jsonish = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["type", "seq", "sdp"]), inner),
    max_leaves=8,
)


@given(
    st.binary() | st.text() | _jsonish.map(repr) | st.text().map('{{"type":"offer","generation":1,"sdp":"{}"}}'.format)
)
def test_garbage_is_a_protocol_error_and_nothing_else(garbage: bytes | str) -> None:
    for decode in (decode_client_frame, decode_server_frame):
        with contextlib.suppress(ProtocolError):
            decode(garbage)
    with contextlib.suppress(ProtocolError):
        decode_body(garbage if isinstance(garbage, bytes) else garbage.encode(errors="surrogatepass"))


_generations = st.integers(1, 2**31 - 1)


@given(
    st.builds(Offer, _generations, st.text(max_size=99), st.just(0) | _generations, st.text(max_size=50))
    | st.builds(Answer, _generations, st.text(max_size=99))
    | st.builds(Candidate, _generations, st.text(max_size=99), st.none() | st.just("0"), st.none() | st.integers(0, 9))
    | st.builds(Bye, st.text(max_size=50))
    | st.lists(st.builds(RTCIceServer, *[st.text(max_size=99)] * 3), max_size=MAX_ICE_SERVERS).map(
        lambda servers: IceServers(tuple(servers))
    )
)
def test_a_message_survives_the_wire(message: ChannelMessage) -> None:
    assert decode_body(encode_body(Body(1, 1, 0, message))).message == message


def test_an_offer_of_a_new_carrier_says_nothing_of_restarts() -> None:
    written = b'{"seq":1,"first":1,"message":{"type":"offer","generation":3,"sdp":"v=0"}}'
    assert encode_body(Body(1, 1, 0, Offer(3, "v=0"))) == written
    assert decode_body(written).message == Offer(3, "v=0", restarts=0, cause="")


@pytest.mark.parametrize(
    "message",
    [
        Offer(0, ""),
        Offer(2**31, ""),
        Answer(1, "x" * 16385),
        Offer(1, "é" * 8193),
        Offer(1, "", -1),
        Offer(1, "", 2**31),
        Offer(1, "", 0, "x" * 201),
        Candidate(0, "", None, None),
        Candidate(1, "x" * 1025, None, None),
        Candidate(1, "", "x" * 201, None),
        Candidate(1, "", None, -1),
        Bye("x" * 201),
        IceServers((RTCIceServer("stun:a"),) * 17),
        IceServers((RTCIceServer("stun:a"), RTCIceServer("stun:" + "x" * 508))),
        IceServers((RTCIceServer("turn:a", "é" * 257, "x"),)),
        IceServers((RTCIceServer("turn:a", "x", "x" * 513),)),
        UnknownMessage("x" * 201),
    ],
)
def test_a_message_out_of_its_bounds_is_a_protocol_error(message: ChannelMessage) -> None:
    with pytest.raises(ProtocolError):
        check_message(message)
    with pytest.raises(ProtocolError):
        decode_body(encode_body(Body(1, 1, 0, message)))


def test_a_message_of_an_unknown_type_is_read_as_one_whatever_else_is_in_it() -> None:
    assert decode_body('{"seq":1,"message":{"type":"later","sdp":[1],"generation":{}}}') == Body(
        1, message=UnknownMessage("later")
    )


@pytest.mark.parametrize("message", ['"later"', "[]", "{}", '{"type":1}', '{"type":null}', '{"type":"bye"}'])
def test_what_has_no_type_or_not_the_fields_of_its_type_is_no_message(message: str) -> None:
    with pytest.raises(ProtocolError):
        decode_body(f'{{"seq":1,"message":{message}}}')


def test_no_repr_of_an_ice_server_shows_its_password() -> None:
    assert "secret" not in repr(IceServers((RTCIceServer("turn:a", "me", "secret"),)))
