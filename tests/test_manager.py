"""Two managers on the real engine: what their users notice when carriers come and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from perdure.config import RestartPolicy
from perdure.core.state import Reason, State
from perdure.signaling.messages import Answer, Bye, Candidate, Offer
from perdure.wire import ResetCode
from support.carriers import carrier_of, on_another_carrier
from support.manager_pair import ManagerPair
from support.recorder import REFUSED, TARGET, TIMEOUT, Recorder
from support.session_pair import position_coded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perdure.signaling.messages import Message
    from perdure.streams.target import Target
    from perdure.streams.transport import StreamTransport


class Streams:
    """A pair of tubes whose gateway accepts every stream but those to `REFUSED`."""

    def __init__(self, pair: ManagerPair) -> None:
        self.pair = pair
        self.there: asyncio.Queue[Recorder] = asyncio.Queue()
        pair.gateway_end.incoming = self._opened

    def _opened(self, stream: StreamTransport) -> None:
        if stream.target == REFUSED:
            stream.refuse(ResetCode.NOT_ALLOWED)
            return
        recorder = Recorder()
        stream.start(recorder)
        stream.accept()
        self.there.put_nowait(recorder)

    def open(self, target: Target = TARGET) -> Recorder:
        return Recorder.open(self.pair.client, target)

    async def both(self) -> tuple[Recorder, Recorder]:
        here = self.open()
        async with asyncio.timeout(TIMEOUT):
            return here, await self.there.get()


@pytest.fixture
async def pair() -> AsyncIterator[ManagerPair]:
    pair = ManagerPair(RestartPolicy(restart_backoff_base=0.05))
    yield pair
    await pair.close()


@pytest.fixture
async def streams(pair: ManagerPair) -> Streams:
    await pair.connect()
    return Streams(pair)


async def test_bytes_that_come_with_the_open_reach_the_protocol(streams: Streams) -> None:
    here = streams.open()
    here.write(b"first words")
    there = await streams.there.get()
    assert await there.received(11) == b"first words"


async def test_a_stream_opened_before_there_is_a_carrier_waits_for_it(pair: ManagerPair) -> None:
    streams = Streams(pair)
    here = streams.open()
    here.write(b"early")
    await pair.connect()
    there = await streams.there.get()
    assert await there.received(5) == b"early"


@pytest.mark.parametrize("side", ["client", "gateway"])
async def test_a_killed_carrier_is_replaced_and_no_byte_is_lost_or_doubled(streams: Streams, side: str) -> None:
    here, there = await streams.both()
    client, gateway = streams.pair.client, streams.pair.gateway
    total, step = 3_000_000, 50_000
    kills = 0
    for start in range(0, total, step):
        here.write(position_coded(start, step))
        there.write(position_coded(start, step))
        if start % 600_000 == 0:
            before = carrier_of(client)
            (client if side == "client" else gateway).tube.kill_carrier()
            kills += 1
            await on_another_carrier(client, gateway, than=before)
        await asyncio.sleep(0)
    expected = position_coded(0, total)
    assert await there.received(total) == expected
    assert await here.received(total) == expected
    assert kills == 5
    assert not here.reset.done()
    assert not there.reset.done()


async def test_each_new_carrier_has_a_generation_and_credentials_of_its_own(streams: Streams) -> None:
    pair = streams.pair
    for _ in range(2):
        before = carrier_of(pair.client)
        pair.client.rebuild()
        await on_another_carrier(pair.client, pair.gateway, than=before)
    offers = [message for message in pair.client_end.signaling.sent if isinstance(message, Offer)]
    answers = [message for message in pair.gateway_end.signaling.sent if isinstance(message, Answer)]
    assert len({offer.generation for offer in offers}) == len(offers) == 3
    assert [answer.generation for answer in answers] == [offer.generation for offer in offers]
    ufrags = {line for offer in offers for line in offer.sdp.splitlines() if line.startswith("a=ice-ufrag")}
    assert len(ufrags) == 3


async def test_streams_flow_on_while_signaling_is_away(streams: Streams) -> None:
    for signaling in (streams.pair.client_end.signaling, streams.pair.gateway_end.signaling):
        signaling.set_available(False)
    here, there = await streams.both()
    here.write(b"still here")
    assert await there.received(10) == b"still here"


async def test_a_carrier_lost_while_signaling_is_away_is_replaced_when_it_is_back(streams: Streams) -> None:
    pair = streams.pair
    here, there = await streams.both()
    for signaling in (pair.client_end.signaling, pair.gateway_end.signaling):
        signaling.set_available(False)
    lost = asyncio.ensure_future(pair.gateway_end.next(State.RECONNECTING))
    back = asyncio.ensure_future(pair.client_end.next(State.CONNECTED))
    await asyncio.sleep(0)
    pair.client.tube.kill_carrier()
    await lost
    here.write(b"kept")
    assert pair.client.state is State.RECONNECTING
    for signaling in (pair.client_end.signaling, pair.gateway_end.signaling):
        signaling.set_available(True)
    await back
    assert await there.received(4) == b"kept"


async def test_a_refused_target_resets_the_stream(streams: Streams) -> None:
    here = streams.open(REFUSED)
    async with asyncio.timeout(TIMEOUT):
        assert await here.reset is ResetCode.NOT_ALLOWED


async def test_a_reader_that_stops_reading_stops_the_writer(streams: Streams) -> None:
    here, there = await streams.both()
    there.transport.pause_reading()
    written = 0
    async with asyncio.timeout(TIMEOUT):
        while here.has_room:
            here.write(bytes(65536))
            written += 65536
            await asyncio.sleep(0)
    assert written < 8 * 1024 * 1024
    there.transport.resume_reading()
    async with asyncio.timeout(TIMEOUT):
        await here.writable.wait()


async def test_closing_tells_the_peer_and_ends_its_streams(streams: Streams) -> None:
    _, there = await streams.both()
    await streams.pair.client.shutdown(detail="enough")
    async with asyncio.timeout(TIMEOUT):
        end = await streams.pair.gateway.wait_ended()
        assert await there.reset is ResetCode.SESSION_LOST
    assert end.reason is Reason.CLOSED_BY_PEER
    assert end.detail == "enough"
    assert any(isinstance(message, Bye) for message in streams.pair.client_end.signaling.sent)


async def test_closing_twice_or_using_a_closed_tube_harms_nobody(streams: Streams) -> None:
    here, _ = await streams.both()
    client = streams.pair.client
    await client.shutdown()
    await client.shutdown()
    here.write(b"late")
    here.finish()
    here.transport.reset()
    here.transport.abort()
    here.transport.close()
    client.rebuild()
    client.tube.kill_carrier()
    with pytest.raises(RuntimeError, match="closed"):
        client.tube.open_stream(TARGET)


async def test_a_restarted_gateway_is_recognised_by_its_answer(streams: Streams) -> None:
    here, _ = await streams.both()
    pair = streams.pair
    restarted = pair.restart_gateway()
    restarted.start()
    pair.client.tube.kill_carrier()
    async with asyncio.timeout(TIMEOUT):
        end = await pair.client.wait_ended()
        assert await here.reset is ResetCode.SESSION_LOST
    assert end.reason is Reason.UNKNOWN_SESSION


async def test_a_peer_said_to_be_restarted_ends_the_tube_at_once(streams: Streams) -> None:
    here, _ = await streams.both()
    streams.pair.client_end.signaling.tell_peer_restarted()
    async with asyncio.timeout(TIMEOUT):
        assert (await streams.pair.client.wait_ended()).reason is Reason.PEER_RESTARTED
        assert await here.reset is ResetCode.SESSION_LOST


@pytest.mark.parametrize(
    "message",
    [
        Offer(99999, "this is no description"),
        Offer(1, "stale"),
        Answer(3, "this is no description"),
        Candidate(3, "this is no candidate", "0", 0),
        Candidate(77, "candidate:1 1 udp 1 127.0.0.1 9 typ host", None, None),
    ],
    ids=lambda message: f"{type(message).__name__}-{message.generation}",
)
async def test_nonsense_through_signaling_never_ends_a_tube(streams: Streams, message: Message) -> None:
    here, there = await streams.both()
    streams.pair.client_end.signaling.deliver(message)
    streams.pair.gateway_end.signaling.deliver(message)
    here.write(b"still here")
    assert await there.received(10) == b"still here"


async def test_a_peer_that_cannot_be_reached_fails_the_tube_and_is_told() -> None:
    # Found by review: the gateway kept what nobody would come back for, for an hour.
    policy = RestartPolicy(max_restart_attempts=2, restart_backoff_base=0.05, attempt_timeout=0.2)
    pair = ManagerPair(policy)
    pair.client_end.signaling.other = None
    pair.client.start()
    async with asyncio.timeout(TIMEOUT):
        end = await pair.client.wait_ended()
    assert end.after is State.FAILED
    assert end.reason is Reason.ATTEMPTS_EXHAUSTED
    assert isinstance(pair.client_end.signaling.sent[-1], Bye)
    await pair.close()


async def test_an_offer_that_came_before_the_tube_was_started_is_answered(pair: ManagerPair) -> None:
    pair.client.start()
    async with asyncio.timeout(TIMEOUT):
        await pair.client_end.signaling.said(Offer)
        ready = asyncio.ensure_future(pair.gateway_end.next(State.CONNECTED))
        await asyncio.sleep(0)
        pair.gateway.start()
        await ready


async def test_a_handler_may_end_the_tube_while_it_is_told_of_a_loss(streams: Streams) -> None:
    # Found by review: the actions of the end ran inside those of the loss, and a carrier was built for nobody.
    client = streams.pair.client
    said = len(streams.pair.client_end.signaling.sent)
    streams.pair.client_end.on_loss = streams.pair.client_end.signaling.tell_peer_restarted
    client.tube.kill_carrier()
    assert client.state is State.FAILED
    async with asyncio.timeout(TIMEOUT):
        assert (await streams.pair.gateway.wait_ended()).reason is Reason.CLOSED_BY_PEER
    assert not any(isinstance(message, Offer) for message in streams.pair.client_end.signaling.sent[said:])


async def test_a_reason_of_any_length_and_language_is_carried(streams: Streams) -> None:
    await streams.pair.client.shutdown(detail="ä€😀" * 100)
    async with asyncio.timeout(TIMEOUT):
        assert (await streams.pair.gateway.wait_ended()).detail.startswith("ä€😀")
