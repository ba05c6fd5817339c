"""What a peer says of itself is honoured: versions, credit, the longest message, how late it acknowledges."""

from __future__ import annotations

import pytest

from perdure.config import ResourceLimits
from perdure.session import Session, SessionResumed, StreamAccepted, StreamReset
from perdure.session.handshake import ownership_proof
from perdure.wire import (
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_FRAMES,
    MAX_STREAMS,
    Ack,
    Close,
    CloseCode,
    Data,
    Frame,
    Parameters,
    ResetCode,
    Resume,
    StreamPosition,
    decode_message,
    encode_frame,
)
from support.session_pair import BINDING, KEY, SESSION_ID, Pair, position_coded


class Foreign:
    """An initiator of perdure's, and a peer that says what a test wants it to say."""

    def __init__(self, *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.session = Session(session_id=SESSION_ID, initiator=True, key=KEY, limits=ResourceLimits())
        self.generation = 0
        self.now = 0.0
        self.max_message_bytes = max_message_bytes

    def resume(self, parameters: Parameters, *positions: StreamPosition) -> list[Frame]:
        """A new carrier; what the session says on it."""
        self.generation += 1
        self.session.carrier_opened(self.generation, BINDING, self.max_message_bytes)
        proof = ownership_proof(KEY, SESSION_ID, self.generation, BINDING, by_initiator=False)
        self.say(Resume(SESSION_ID, self.generation, proof, positions, parameters))
        return [frame for message in self.messages() for frame in decode_message(message)]

    def say(self, *frames: Frame) -> list[object]:
        return list(self.session.receive(self.generation, b"".join(map(encode_frame, frames)), self.now))

    def messages(self) -> list[bytes]:
        found = []
        while (message := self.session.next_message(self.now)) is not None:
            found.append(message)
        return found


def data_bytes(frames: list[Frame], stream_id: int) -> int:
    return sum(len(frame.payload) for frame in frames if isinstance(frame, Data) and frame.stream_id == stream_id)


def test_no_more_is_sent_on_a_new_stream_than_the_peer_lets_openers_send() -> None:
    peer = Foreign()
    early = peer.session.open_stream(b"t")
    peer.session.write(early, bytes(100_000))
    assert data_bytes(peer.resume(Parameters(initial_credit_bytes=1000)), early) == 1000
    late = peer.session.open_stream(b"t")
    peer.session.write(late, bytes(100_000))
    frames = [frame for message in peer.messages() for frame in decode_message(message)]
    assert data_bytes(frames, late) == 1000


@pytest.mark.parametrize("by_carrier", [False, True], ids=["the peer says so", "its description says so"])
def test_no_message_is_longer_than_the_peer_takes(by_carrier: bool) -> None:
    peer = Foreign(max_message_bytes=4096 if by_carrier else MAX_MESSAGE_BYTES)
    stream_id = peer.session.open_stream(b"t")
    peer.resume(Parameters() if by_carrier else Parameters(max_message_bytes=4096))
    peer.session.write(stream_id, bytes(60_000))
    for round_trip in range(20):  # acknowledgements at once let messages grow
        messages = peer.messages()
        assert max(map(len, messages), default=0) <= 4096
        sent = peer.session.traffic.sent_bytes
        if sent == 60_000:
            break
        peer.now = round_trip / 1000
        peer.say(Ack(stream_id, sent))
    assert peer.session.traffic.sent_bytes == 60_000


def test_a_peer_that_takes_short_messages_gets_as_many_streams_as_a_resume_can_list() -> None:
    peer = Foreign(max_message_bytes=4096)
    peer.resume(Parameters())
    assert 50 <= peer.session.streams.max_streams <= 100
    opened = [peer.session.open_stream(b"t") for _ in range(peer.session.streams.max_streams)]
    with pytest.raises(RuntimeError, match="limit"):
        peer.session.open_stream(b"t")
    peer.messages()
    positions = [StreamPosition(stream_id, 0, 0, True) for stream_id in opened]
    peer.session.carrier_lost()
    assert max(map(len, map(encode_frame, peer.resume(Parameters(), *positions)))) <= 4096
    assert peer.session.is_resumed


def test_streams_that_were_opened_before_the_peer_said_how_much_it_takes_are_refused_where_they_are_too_many() -> None:
    peer = Foreign()
    opened = [peer.session.open_stream(b"t") for _ in range(500)]
    peer.generation += 1
    peer.session.carrier_opened(peer.generation, BINDING)
    proof = ownership_proof(KEY, SESSION_ID, peer.generation, BINDING, by_initiator=False)
    events = peer.say(Resume(SESSION_ID, peer.generation, proof, (), Parameters(max_message_bytes=2048)))
    most = peer.session.streams.max_streams
    assert events[:-1] == [StreamReset(stream_id, ResetCode.LIMIT) for stream_id in reversed(opened[most:])]
    assert len(peer.session.streams) == most
    assert all(len(message) <= 2048 for message in peer.messages()[1:])
    assert max(map(len, peer.messages()), default=0) <= 2048


def test_a_lower_initial_credit_holds_for_the_streams_that_follow() -> None:
    peer = Foreign()
    peer.resume(Parameters())
    peer.resume(Parameters(initial_credit_bytes=1000))
    stream_id = peer.session.open_stream(b"t")
    peer.session.write(stream_id, bytes(100_000))
    frames = [frame for message in peer.messages() for frame in decode_message(message)]
    assert data_bytes(frames, stream_id) == 1000


def test_a_peer_that_acknowledges_late_is_given_that_time() -> None:
    for delay_ms, since in ((0, 5.0), (25, 5.0), (425, 5.4)):
        peer = Foreign()
        peer.now = 5.0
        peer.resume(Parameters(max_ack_delay_ms=delay_ms))
        stream_id = peer.session.open_stream(b"t")
        peer.session.write(stream_id, b"x")
        peer.messages()
        assert peer.session.awaiting_since() == pytest.approx(since)


@pytest.mark.parametrize(("lowest", "highest", "is_spoken"), [(1, 1, False), (1, 2, True), (2, 9, True), (3, 9, False)])
def test_the_highest_version_that_both_speak_is_in_use_or_none(lowest: int, highest: int, is_spoken: bool) -> None:
    peer = Foreign()
    frames = peer.resume(Parameters(lowest_version=lowest, highest_version=highest))
    assert peer.session.is_resumed is is_spoken
    closes = [frame.code for frame in frames if isinstance(frame, Close)]
    assert closes == ([] if is_spoken else [CloseCode.VERSION])


@pytest.mark.parametrize(("said", "carriers"), [(Parameters(), 1), (Parameters(carriers=2), 2)])
def test_how_many_carriers_the_peer_has_is_told_on_each(said: Parameters, carriers: int) -> None:
    peer = Foreign()
    for generation in (1, 2):
        peer.generation = generation
        peer.session.carrier_opened(generation, BINDING)
        proof = ownership_proof(KEY, SESSION_ID, generation, BINDING, by_initiator=False)
        events = peer.say(Resume(SESSION_ID, generation, proof, (), said))
        assert events == [SessionResumed(generation, 0, carriers)]


def test_an_acceptance_that_was_lost_with_its_carrier_is_told_by_the_next_resume() -> None:
    pair = Pair()
    pair.connect()
    stream_id = pair.initiator.session.open_stream(b"t")
    for end in pair.ends:
        pair.send(end)
    for end in pair.ends:
        pair.deliver(end)
    pair.send(pair.initiator)
    pair.deliver(pair.acceptor)
    pair.send(pair.acceptor)
    assert stream_id not in pair.initiator.accepted
    pair.connect()
    pair.settle()
    assert stream_id in pair.initiator.accepted
    pair.initiator.write(stream_id, 10)
    pair.settle()
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 10)


def test_an_acceptance_is_told_once() -> None:
    peer = Foreign()
    stream_id = peer.session.open_stream(b"t")
    peer.resume(Parameters())
    accepted = StreamPosition(stream_id, 0, 70_000, True)
    assert peer.say(Ack(stream_id, 0)) == []
    peer.generation += 1
    peer.session.carrier_opened(peer.generation, BINDING)
    proof = ownership_proof(KEY, SESSION_ID, peer.generation, BINDING, by_initiator=False)
    events = peer.say(Resume(SESSION_ID, peer.generation, proof, (accepted,)))
    assert events[0] == StreamAccepted(stream_id)
    peer.generation += 1
    peer.session.carrier_opened(peer.generation, BINDING)
    proof = ownership_proof(KEY, SESSION_ID, peer.generation, BINDING, by_initiator=False)
    assert StreamAccepted(stream_id) not in peer.say(Resume(SESSION_ID, peer.generation, proof, (accepted,)))


def test_no_message_has_more_frames_than_one_may_have() -> None:
    pair = Pair(ResourceLimits())
    pair.connect()
    streams = [pair.initiator.session.open_stream(b"t") for _ in range(MAX_STREAMS)]
    for stream_id in streams:
        pair.initiator.write(stream_id, 3)
        pair.initiator.finish(stream_id)
    for end in pair.ends:
        pair.send(end)
    most = 0
    for _ in range(20):
        for end in pair.ends:
            pair.send(end, 64)
            most = max([most, *(len(list(decode_message(message))) for message in end.inbox)])
        for end in pair.ends:
            pair.deliver(end, 64)
    assert 100 < most <= MAX_MESSAGE_FRAMES
    pair.settle()
    assert not pair.acceptor.unusable
    assert not pair.initiator.unusable
    assert all(bytes(pair.acceptor.read[stream_id]) == position_coded(0, 3) for stream_id in streams)
