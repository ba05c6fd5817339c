"""An application that carries descriptions itself: its channel, and the texts it passes around."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import ProtocolError
from perdure.signaling.application import (
    ApplicationChannel,
    describe,
    read_candidate,
    read_description,
    read_text,
    write_text,
)
from perdure.signaling.base import MAX_WAITING_MESSAGES
from perdure.signaling.messages import MAX_CANDIDATE_BYTES, MAX_SDP_BYTES, Answer, Bye, Candidate, Offer
from perdure.signaling.reliable_channel import Body
from perdure.signals import IceCandidate
from support.signaling import Application, Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.signaling.base import SignalingChannel
    from perdure.signaling.messages import Message

Kind = Literal["offer", "answer"]

KINDS: list[Kind] = ["offer", "answer"]

SESSION_ID = bytes(range(16))

SDP = (
    "v=0\r\n"
    "o=- 4611731400430051336 2 IN IP4 127.0.0.1\r\n"
    "s=-\r\n"
    "t=0 0\r\n"
    "a=group:BUNDLE 0\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
    "c=IN IP4 0.0.0.0\r\n"
    "a=ice-ufrag:abcd\r\n"
    "a=mid:0\r\n"
)

OFFER = Offer(7, SDP, 3, "interface change")


def text_of(**changes: object) -> str:
    """The text of `OFFER` with other fields."""
    message = {"type": "offer", "generation": 7, "sdp": SDP, "restarts": 3, "cause": "interface change"}
    fields: dict[str, object] = {"session": SESSION_ID.hex(), "message": message}
    for name, value in changes.items():
        (fields if name in ("session", "message") else message)[name] = value
    return json.dumps(fields)


def offer(number: int) -> Message:
    return Offer(number, SDP)


def numbers_of(messages: list[Message]) -> list[int]:
    return [message.generation for message in messages if not isinstance(message, Bye)]


# The channel.


def test_it_is_a_signaling_channel_that_is_available_at_first() -> None:
    channel: SignalingChannel = ApplicationChannel(Application())
    assert channel.available


def test_what_the_tube_sends_reaches_the_application_at_once_and_in_order() -> None:
    application = Application()
    channel = ApplicationChannel(application)
    messages = [offer(1), Candidate(1, "candidate", "0", 0), Bye("done")]
    for message in messages:
        channel.send(message)
    channel.close()
    assert application.messages == messages


def test_while_the_application_cannot_reach_the_peer_what_the_tube_sends_waits() -> None:
    application = Application()
    channel = ApplicationChannel(application)
    channel.set_available(False)
    assert not channel.available
    for number in range(1, MAX_WAITING_MESSAGES + 4):
        channel.send(offer(number))
    assert application.messages == []
    channel.set_available(True)
    assert numbers_of(application.messages) == list(range(4, MAX_WAITING_MESSAGES + 4))


def test_an_application_that_raises_loses_that_message_only(caplog: pytest.LogCaptureFixture) -> None:
    application = Application(ConnectionError())
    channel = ApplicationChannel(application)
    channel.send(offer(1))
    channel.send(offer(2))
    assert numbers_of(application.messages) == [1, 2]
    (message,) = caplog.messages
    assert message.startswith("message-not-taken kind=Offer")


def test_a_tube_is_told_when_its_peer_can_be_reached_and_when_not() -> None:
    channel, listener = ApplicationChannel(Application()), Listener()
    channel.attach(listener)
    for available in (False, False, True, True):
        channel.set_available(available)
    assert listener.availability == [False, True]


def test_after_its_end_nothing_is_told_either_way() -> None:
    application, listener = Application(), Listener()
    channel = ApplicationChannel(application)
    channel.attach(listener)
    channel.close()
    channel.close()
    channel.send(offer(1))
    channel.set_available(False)
    assert application.messages == []
    assert listener.availability == []


# Descriptions.


def test_a_description_is_what_a_browser_takes_and_whose_it_is() -> None:
    described = json.loads(describe(SESSION_ID, Answer(7, SDP)))
    assert described == {
        "session": SESSION_ID.hex(),
        "message": {"type": "answer", "generation": 7, "sdp": SDP},
    }
    assert read_description(text_of(), "offer") == (SESSION_ID, OFFER)


@given(
    session_id=st.binary(min_size=16, max_size=16),
    generation=st.integers(1, 2**31 - 1),
    restarts=st.integers(0, 2**31 - 1),
    cause=st.sampled_from(["", "interface change", "was: 3 of 3 – 網路", "- -", "two\nlines"]),
    line_end=st.sampled_from(["\r\n", "\n"]),
)
def test_a_description_survives_the_way(
    session_id: bytes, generation: int, restarts: int, cause: str, line_end: str
) -> None:
    sdp = SDP.replace("\r\n", line_end)
    offer, answer = Offer(generation, sdp, restarts, cause), Answer(generation, sdp)
    assert read_description(describe(session_id, offer), "offer") == (session_id, offer)
    assert read_description(describe(session_id, answer), "answer") == (session_id, answer)


def test_a_description_of_the_greatest_length_survives_the_way() -> None:
    sdp = SDP + "a=" + "x" * (MAX_SDP_BYTES - len(SDP) - 4) + "\r\n"
    message = Offer(2**31 - 1, sdp, 2**31 - 1, "x" * 200)
    assert read_description(describe(SESSION_ID, message), "offer") == (SESSION_ID, message)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" \r\n", "empty"),
        (None, "text, not NoneType"),
        ({"type": "offer", "sdp": SDP}, "text, not dict"),
        (SDP, "cannot be read"),
        ("{}", "session"),
        (text_of(session="00"), "session"),
        (text_of(session="A" * 32), "session"),
        (text_of(message=None), "not the description of an offer"),
        (text_of(message={"type": "bye", "reason": "x"}), "not the description of an offer"),
        (text_of(message={"type": "answer", "generation": 1, "sdp": SDP}), "not the description of an offer"),
        (text_of(type="pranswer"), "pranswer"),
        (text_of(sdp="hello"), "not a session description"),
        (text_of(sdp=SDP.removeprefix("v=0\r\n")), "no v=0"),
        (text_of(sdp=SDP[: SDP.index("m=")]), "no media line"),
        (text_of(generation="7"), "generation"),
        (text_of(generation=0), "generation 0 is out of range"),
        (text_of(generation=2**31), "generation 2147483648 is out of range"),
        (text_of(generation=10**100), "cannot be read|out of range"),
        (text_of(restarts=2**31), "out of range"),
        (text_of(cause="x" * 201), "cause"),
        (text_of(sdp=SDP + "a=" + "x" * MAX_SDP_BYTES), "is over 16384"),
        (text_of(sdp=SDP + "a=" + "網" * 6000), "is over"),
        (text_of(sdp=SDP + "a=\ud800"), "cannot be read"),
        ("[" * 1000, "cannot be read"),
        ("x" * 100_000, "is over"),
    ],
)
def test_what_is_no_description_of_perdure_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        read_description(text, "offer")


@pytest.mark.parametrize(
    ("session_id", "message"),
    [
        (b"short", Offer(1, SDP)),
        (SESSION_ID, Offer(0, SDP)),
        (SESSION_ID, Offer(1, "offer")),
        (SESSION_ID, Offer(1, SDP + "x" * MAX_SDP_BYTES)),
        (SESSION_ID, Offer(1, SDP, 0, "x" * 201)),
        (SESSION_ID, Offer(1, SDP, 0, "\ud800")),
        (SESSION_ID, Answer(2**31, SDP)),
    ],
)
def test_what_the_peer_would_not_read_cannot_be_described(session_id: bytes, message: Offer | Answer) -> None:
    with pytest.raises(ValueError, match=r".+"):
        describe(session_id, message)


def test_a_description_is_an_offer_or_an_answer() -> None:
    with pytest.raises(ValueError, match="pranswer"):
        read_description(text_of(), "pranswer")  # type: ignore[arg-type]


@given(st.text() | st.recursive(st.text(max_size=5) | st.integers(), st.lists).map(json.dumps), st.sampled_from(KINDS))
def test_any_text_is_a_description_or_a_protocol_error(text: str, kind: Kind) -> None:
    with contextlib.suppress(ProtocolError):
        read_description(text, kind)


# Texts.


def test_a_text_is_read_as_it_was_written() -> None:
    body = Body(5, 3, 2, OFFER)
    sender, me = b"s" * 16, b"m" * 16
    assert read_text(write_text(SESSION_ID, sender, body), receiver=me) == (SESSION_ID, sender, body)
    text = write_text(SESSION_ID, sender, body, receiver=me)
    assert read_text(text.encode(), receiver=me) == (SESSION_ID, sender, body)


def test_what_is_acknowledged_to_an_end_that_was_restarted_is_not_heard_by_its_successor() -> None:
    text = write_text(SESSION_ID, b"s" * 16, Body(5, 3, 2, OFFER, missing=True), receiver=b"o" * 16)
    assert read_text(text, receiver=b"m" * 16)[2] == Body(5, 3, 0, OFFER)


@pytest.mark.parametrize(
    "text", [text_of(), "", b"\xff", "{}", write_text(SESSION_ID, b"s" * 16, Body(1, 2, 0, OFFER))]
)
def test_what_is_no_text_of_the_other_end_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        read_text(text, receiver=b"m" * 16)


# Candidates.

CANDIDATE = Candidate(3, "candidate:1 1 udp 2122260223 192.0.2.1 49152 typ host", "0", 0)


@pytest.mark.parametrize("shape", [dict, json.dumps], ids=["dict", "JSON"])
@pytest.mark.parametrize("mid", ["0", None])
@pytest.mark.parametrize("index", [0, None])
def test_a_candidate_is_read_from_its_signals_data(
    shape: Callable[[object], dict[str, object] | str], mid: str | None, index: int | None
) -> None:
    signal = IceCandidate("tube", None, CANDIDATE.candidate, mid, index, CANDIDATE.generation)
    assert read_candidate(shape(signal.data)) == Candidate(3, CANDIDATE.candidate, mid, index)


def test_a_browsers_candidate_is_read_too() -> None:
    init = {"candidate": CANDIDATE.candidate, "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "x"}
    assert read_candidate(init | {"generation": 3}) == CANDIDATE


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"candidate": None}, "candidate"),
        ({"candidate": b"x"}, "candidate"),
        ({"candidate": "x" * (MAX_CANDIDATE_BYTES + 1)}, "is over 1024"),
        ({"candidate": "\ud800"}, "cannot be sent"),
        ({"sdp_mid": 0}, "sdpMid"),
        ({"sdp_mid": "x" * 201}, "is over 200"),
        ({"sdp_mline_index": "0"}, "sdpMLineIndex"),
        ({"sdp_mline_index": -1}, "out of range"),
        ({"generation": 0}, "out of range"),
        ({"generation": 2**31}, "out of range"),
        ({"generation": 10**100}, "out of range"),
        ({"generation": 10**5000}, "out of range"),
        ({"generation": True}, "generation"),
        ({"generation": 1.5}, "generation"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_its_name(change: dict[str, object], why: str) -> None:
    data = IceCandidate("tube", None, CANDIDATE.candidate, "0", 0, 3).data | change
    with pytest.raises(ProtocolError, match=why):
        read_candidate(data)


@pytest.mark.parametrize("missing", ["candidate", "generation"])
def test_a_missing_field_is_refused_by_its_name(missing: str) -> None:
    data = IceCandidate("tube", None, CANDIDATE.candidate, "0", 0, 3).data
    del data[missing]
    with pytest.raises(ProtocolError, match=missing):
        read_candidate(data)


@pytest.mark.parametrize("data", [None, [], 3, "", "[]", "candidate:1", b"{}", "[" * 100_000, "1" * 5000, "\ud800"])
def test_what_is_no_dict_is_refused(data: str) -> None:
    with pytest.raises(ProtocolError, match="ICE candidate"):
        read_candidate(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.text()
    | JSON.map(json.dumps)
    | st.fixed_dictionaries({}, optional=dict.fromkeys(Candidate.__struct_fields__, JSON))
)
def test_any_data_is_a_candidate_or_a_protocol_error(data: dict[str, object] | str) -> None:
    with contextlib.suppress(ProtocolError):
        assert isinstance(read_candidate(data), Candidate)
