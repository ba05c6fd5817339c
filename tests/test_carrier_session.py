"""A tube's session over its carrier: what one tube may take of the event loop, and of memory."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from perdure.config import ResourceLimits, RestartPolicy
from perdure.core.events import CarrierMade, PathEvidence
from perdure.core.keepalive import Liveness
from perdure.core.state import State
from perdure.session import Session, SignalReceived, StreamData, channel_binding
from perdure.signaling.in_band import HEARD_AT_ONCE, InBandSignals
from perdure.signaling.messages import Candidate, Offer, Withdraw
from perdure.transport.base import LossReason, OpenChannel
from perdure.tube.carrier_session import CarrierSession
from perdure.tube.inbox import (
    BYTES_A_MESSAGE,
    MAX_SURPLUS_BYTES,
    MAX_SURPLUS_MESSAGES,
    MESSAGE_OVERHEAD_BYTES,
    TURN_COST,
)
from perdure.tube.standby_places import StandbyPlaces
from perdure.wire import MAX_MESSAGE_BYTES, MAX_MESSAGE_FRAMES, CloseCode, Data, Ping, encode_frame
from support.recorder import TIMEOUT
from support.signaling import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from perdure.core.events import Event
    from perdure.session import StreamEvent
    from perdure.signaling.in_band import InBandMessage

SESSION_ID, KEY = bytes(16), bytes(32)
CHANNEL = OpenChannel(bytes(32), b"\1" * 32, MAX_MESSAGE_BYTES)


class Tube:
    """What hears of the path and of the streams, with a carrier that takes everything."""

    tube_id = "tube"

    def __init__(self) -> None:
        self.core: Any = SimpleNamespace(state=State.CONNECTED, liveness=Liveness(RestartPolicy()))
        self.read = 0
        self.raises = False
        self.gone: list[str] = []
        self.heard: list[Event] = []
        self.signaled: list[InBandMessage] = []
        self.has_ended = False
        self.sent: list[bytes] = []
        self.can_restart = True
        self.closing: Awaitable[None] | None = None
        """What closing a carrier returns."""
        session = Session(session_id=SESSION_ID, initiator=False, key=None, limits=ResourceLimits())
        transport: Any = SimpleNamespace(answer=lambda *arguments: self._carrier())
        self.carriers = CarrierSession(self, transport, session, StandbyPlaces())
        self.carriers.consume_by(self)
        self.answer()

    def answer(self) -> None:
        self.carriers.answer(1, "", is_spare=False)

    def _carrier(self) -> object:
        return SimpleNamespace(
            generation=1,
            can_restart=self.can_restart,
            has_room=True,
            send=self.sent.append,
            limit_buffer=lambda size: None,
            path=lambda: None,
            close=lambda: self.closing,
        )

    async def resume(self) -> Session:
        """Both ends prove themselves; the peer's."""
        peer = Session(session_id=SESSION_ID, initiator=True, key=KEY, limits=ResourceLimits())
        peer.carrier_opened(1, channel_binding(CHANNEL.local_certificate, CHANNEL.remote_certificate))
        self.carriers.carrier_opened(1, CHANNEL)
        self.hear(peer)
        await a_turn()  # the answer goes out with the next turn
        for message in self.sent:
            peer.receive(1, message, 0.0)
        assert peer.is_resumed
        return peer

    def hear(self, peer: Session) -> None:
        while (message := peer.next_message(0.0)) is not None:
            self.carriers.carrier_message(1, message)

    def feed(self, event: Event) -> None:
        self.heard.append(event)
        if isinstance(event, PathEvidence):
            self.core.liveness.evidence(event)

    def rearm(self) -> None: ...

    def described(self, generation: int, sdp: str) -> None: ...

    def candidate_found(self, *candidate: object) -> None: ...

    def signaling_message(self, message: InBandMessage) -> None:
        self.signaled.append(message)

    def carrier_gone(self, generation: int, why: str) -> None:
        self.gone.append(why)

    def stream_event(self, event: StreamEvent) -> None:
        if self.raises:
            raise ValueError("a mistake")
        if isinstance(event, StreamData):
            self.read += len(event.data)

    def stream_forgotten(self, stream_id: int) -> None: ...

    def session_ended(self) -> None:
        self.has_ended = True


async def a_turn() -> None:
    """What is ready has run, and so has the turn of the tube that it asked for."""
    for _ in range(2):
        await asyncio.sleep(0)


async def opened() -> tuple[Tube, Session]:
    tube = Tube()
    peer = await tube.resume()
    assert peer.open_stream(b"t") == 1
    tube.hear(peer)
    tube.carriers.session.accept(1)
    tube.carriers.schedule_turn()
    await a_turn()
    return tube, peer


def bytes_one_by_one(start: int) -> bytes:
    """A message full of frames that hold one byte each."""
    frames = (Data(1, start + number, memoryview(b"x")) for number in range(MAX_MESSAGE_FRAMES))
    return b"".join(map(encode_frame, frames))


async def test_what_the_peer_says_of_signaling_through_the_carrier_is_heard() -> None:
    tube, peer = await opened()
    said: list[InBandMessage] = [Offer(5, "v=0"), Candidate(5, "candidate:1"), Withdraw(5)]
    for message in said:
        peer.signal(written(message))
    tube.hear(peer)
    assert tube.signaled == said
    assert tube.gone == []


@pytest.mark.parametrize(
    ("bodies", "why"),
    [
        ([b"nonsense"], "a SIGNAL cannot be read"),
        ([b'{"type":"withdraw","generation":0}'], "out of range"),
        ([b'{"type":"withdraw","generation":4}'] * (HEARD_AT_ONCE + 500), "more SIGNALs than are read"),
    ],
    ids=["unreadable", "out of bounds", "too many"],
)
async def test_signaling_that_breaks_the_protocol_costs_the_carrier_it_came_on(bodies: list[bytes], why: str) -> None:
    tube, peer = await opened()
    for body in bodies:
        assert peer.signal(body)
    tube.hear(peer)
    await eventually(lambda: tube.gone != [])  # a turn reads some of it
    assert tube.gone[0].startswith("protocol error: ")
    assert why in tube.gone[0]


async def test_signaling_of_this_end_goes_through_the_carrier_too() -> None:
    tube, peer = await opened()
    tube.sent.clear()
    tube.carriers.say(Withdraw(5))
    await a_turn()
    events = [event for message in tube.sent for event in peer.receive(1, message, 0.0)]
    assert SignalReceived(1, written(Withdraw(5))) in events


async def test_without_a_carrier_signaling_goes_through_the_rendezvous_alone() -> None:
    tube = Tube()
    tube.carriers.say(Withdraw(5))
    await a_turn()
    assert tube.sent == []


def written(message: InBandMessage) -> bytes:
    body = InBandSignals(0.0).write(message, 0.0)
    assert body is not None
    return body


async def test_a_tube_that_is_flooded_lets_others_have_their_turns() -> None:
    tube, _ = await opened()
    for number in range(20):
        tube.carriers.carrier_message(1, bytes_one_by_one(number * MAX_MESSAGE_FRAMES))
    async with asyncio.timeout(TIMEOUT):
        while (before := tube.read) < 20 * MAX_MESSAGE_FRAMES:
            await asyncio.sleep(0)
            assert tube.read - before <= TURN_COST
    assert tube.gone == []


async def test_frames_of_a_later_version_count_like_others() -> None:
    tube, _ = await opened()
    for _ in range(20):
        tube.carriers.carrier_message(1, b"\x40\0" * MAX_MESSAGE_FRAMES)
    tube.carriers.carrier_message(1, bytes_one_by_one(0))
    turns = 0
    async with asyncio.timeout(TIMEOUT):
        while not tube.read:
            await asyncio.sleep(0)
            turns += 1
    assert turns >= 20 * MAX_MESSAGE_FRAMES // TURN_COST


async def test_a_reader_that_raises_holds_up_neither_what_follows_nor_the_loss() -> None:
    tube, _ = await opened()
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))
    for number in range(3):
        tube.carriers.carrier_message(1, bytes_one_by_one(number * MAX_MESSAGE_FRAMES))
    tube.carriers.carrier_lost(1, LossReason.CHANNEL_CLOSED, "")
    tube.raises = True
    await eventually(lambda: tube.gone == ["the peer closed the data channel"])
    assert len(told) == 2


async def test_long_messages_share_turns_too() -> None:
    tube, _ = await opened()
    for number in range(40):
        payload = memoryview(bytes(50_000))
        tube.carriers.carrier_message(1, encode_frame(Data(1, number * 50_000, payload)))
    before = tube.read
    assert 500_000 <= before <= 1_500_000
    for _ in range(5):
        await a_turn()
    assert tube.read == 2_000_000


async def test_a_carrier_whose_messages_are_not_read_as_fast_as_they_come_is_cut() -> None:
    tube, _ = await opened()
    credit = tube.carriers.session.streams.credit_bytes
    long = bytes(MAX_MESSAGE_BYTES)
    for message, most in (
        (encode_frame(Ping(1)), MAX_SURPLUS_MESSAGES + credit // BYTES_A_MESSAGE),
        (long, (MAX_SURPLUS_BYTES + credit) // (len(long) + MESSAGE_OVERHEAD_BYTES)),
    ):
        tube, _ = await opened()
        tube.carriers.carrier_message(1, bytes_one_by_one(0))
        for _ in range(most):
            tube.carriers.carrier_message(1, message)
        assert tube.gone == []
        tube.carriers.carrier_message(1, message)
        assert tube.gone == ["the peer sends faster than is read here"]
        assert not tube.carriers.session.is_resumed


async def test_the_last_words_of_a_peer_are_read_before_its_carriers_loss() -> None:
    tube, peer = await opened()
    tube.carriers.carrier_message(1, bytes_one_by_one(0))
    peer.close(CloseCode.DONE, "bye")
    peer.close_now()
    tube.hear(peer)
    tube.carriers.carrier_lost(1, LossReason.CHANNEL_CLOSED, "")
    assert tube.gone == []
    await eventually(lambda: tube.gone == ["the peer closed the data channel"])
    assert tube.carriers.session.next_message(0.0) is None, "the session has ended"


async def test_what_waited_for_a_carrier_that_was_replaced_is_gone() -> None:
    tube, _ = await opened()
    tube.carriers.carrier_message(1, bytes_one_by_one(0))
    tube.carriers.carrier_message(1, bytes_one_by_one(MAX_MESSAGE_FRAMES))
    tube.carriers.close_carrier(1)
    for _ in range(3):
        await a_turn()
    assert tube.read == MAX_MESSAGE_FRAMES
    assert tube.carriers.held.current is None


# Carriers.


async def test_the_core_hears_of_each_carrier_whether_its_engine_restarts_ice() -> None:
    tube = Tube()
    tube.carriers.close_carrier(1)
    tube.can_restart = False
    tube.answer()
    assert tube.heard == [CarrierMade(1, can_restart=True), CarrierMade(1, can_restart=False)]


async def test_who_waits_for_the_end_waits_until_every_carrier_is_closed_and_the_next_one_does_not() -> None:
    tube = Tube()
    closed = [asyncio.Event(), asyncio.Event()]
    for event in closed:
        tube.closing = as_none(event.wait())
        tube.carriers.close_carrier(1)
        tube.answer()
    assert tube.carriers.held.current is not None
    waiting = asyncio.ensure_future(tube.carriers.held.wait_closed())
    closed[1].set()
    for _ in range(5):
        await a_turn()
    assert not waiting.done()
    closed[0].set()
    await waiting


async def test_a_carrier_that_cannot_be_closed_is_told_and_keeps_nobody_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tube = Tube()
    tube.closing = as_none(broken())
    tube.carriers.close_carrier(1)
    await tube.carriers.held.wait_closed()
    assert "carrier-not-closed" in caplog.text
    assert tube.gone == [], "it was closed here, and is no loss"


async def test_the_core_hears_once_that_an_answer_is_due_and_again_where_it_believes_that_none_is() -> None:
    tube, _ = await opened()
    tube.carriers.session.accept(1)

    def evidence_of_a_message() -> list[Event]:
        tube.heard.clear()
        tube.carriers.session.write(1, b"x")
        tube.carriers.carrier_writable(1)
        return [event for event in tube.heard if isinstance(event, PathEvidence)]

    evidence_of_a_message()
    assert tube.core.liveness.awaiting_since is not None
    assert evidence_of_a_message() == [], "it is known"
    tube.core.liveness.start(0.0)
    assert len(evidence_of_a_message()) == 1


async def as_none(awaitable: Awaitable[object]) -> None:
    await awaitable


async def broken() -> None:
    raise OSError("the engine is stuck")
