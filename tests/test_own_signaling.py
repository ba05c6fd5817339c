"""`run_signaling`: an application's own link carries all of a tube's signaling, may be lost, and comes back."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from perdure import (
    ChannelClosed,
    ConnectionStateChanged,
    IceCandidate,
    IceRestartOffer,
    PeerError,
    Reason,
    RestartPolicy,
    State,
)
from perdure.application_links import MAX_UNSENT_TEXTS
from perdure.eventlog import LoggedEvent, tell_left_out
from perdure.line_limit import MAX_LINES_OF_TUBE
from perdure.signaling.application import MAX_TEXT_LENGTH
from perdure.signaling.messages import Candidate
from perdure.signaling.reliable_channel import WINDOW
from support.application_pair import ApplicationPair
from support.manager_pair import ManagerPair
from support.own_signaling import ApplicationLink, OwnEnds, Way
from support.recorder import TIMEOUT, Recorder
from support.signaling import eventually, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perdure import Signal, TunnelConnectionManager

IMPATIENT = RestartPolicy(attempt_timeout=0.3, restart_backoff_base=0.01, max_restarts_per_minute=100)
"""For the tests in which an attempt is in vain."""


@pytest.fixture
async def ends() -> AsyncIterator[OwnEnds]:
    async with OwnEnds() as ends:
        yield ends


async def still_carries(manager: TunnelConnectionManager) -> None:
    stream = Recorder.open(manager)
    stream.write(b"still here")
    assert await stream.received(10) == b"still here"


def events(caplog: pytest.LogCaptureFixture) -> list[LoggedEvent]:
    return [record.msg for record in caplog.records if isinstance(record.msg, LoggedEvent)]


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Why texts were refused, as the log says."""
    return [str(event.fields["why"]) for event in events(caplog) if event.name == "signaling-text-refused"]


def link_tasks() -> list[str]:
    """Tasks that a call has begun; those of carriers outlive it."""
    names = (getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
    return [name for name in names if "ApplicationLinks" in name]


# Connecting.


async def test_one_call_at_each_end_connects_them_and_carries_their_recoveries(ends: OwnEnds) -> None:
    calls = ends.run(ApplicationLink())
    await ends.connected()
    await still_carries(ends.here)
    await still_carries(ends.there)
    for manager in (ends.here, ends.there):
        await manager.restart_ice()
        await within(manager.wait_connected(), seconds=TIMEOUT)
    ends.here.rebuild()
    await ends.connected()
    await still_carries(ends.here)
    assert not any(call.done() for call in calls)


async def test_it_does_not_matter_which_end_calls_first_or_how_late_the_other_is(ends: OwnEnds) -> None:
    for first, second in ((ends.here, ends.there), (ends.there, ends.here)):
        link = ApplicationLink()
        ways = {ends.here: link.there_wards, ends.there: link.here_wards}
        calls = []
        for manager, other in ((first, second), (second, first)):
            calls.append(asyncio.ensure_future(manager.run_signaling(ways[manager].send, ways[other].messages())))
            await asyncio.sleep(0.05)
        await ends.connected()
        await link.lose(calls)


async def test_messages_of_a_later_version_and_a_gateways_are_acknowledged_and_skipped(
    ends: OwnEnds, caplog: pytest.LogCaptureFixture
) -> None:
    link = ApplicationLink()
    call = asyncio.ensure_future(ends.here.run_signaling(link.there_wards.send, link.here_wards.messages()))
    await eventually(lambda: bool(link.there_wards.sent))
    offer = json.loads(link.there_wards.sent[0])
    whose = {"session": offer["session"], "sender": "0" * 32, "receiver": offer["sender"]}
    for seq, message in enumerate(
        ({"type": "later", "sdp": []}, {"type": "ice-servers", "iceServers": [{"urls": "stun:a.example"}]}), 1
    ):
        await link.here_wards.send(json.dumps({**whose, "seq": seq, "first": 1, "message": message}))
    await eventually(lambda: any(json.loads(text).get("ack") == 2 for text in link.there_wards.sent))
    assert not call.done()
    assert not refusals(caplog)
    await link.lose([call])


async def test_texts_are_json_that_names_the_session_and_is_as_short_as_said(ends: OwnEnds) -> None:
    link = ApplicationLink()
    ends.run(link)
    await ends.connected()
    texts = link.there_wards.sent + link.here_wards.sent
    assert {message["type"] for text in texts if (message := json.loads(text).get("message"))} == {
        "offer",
        "answer",
        "candidate",
    }
    assert len({json.loads(text)["session"] for text in texts}) == 1
    assert max(map(len, texts)) <= 17 * 1024


async def test_nothing_of_it_comes_as_a_signal() -> None:
    signals: list[Signal] = []

    async def handler(signal: Signal) -> None:
        signals.append(signal)

    async with OwnEnds() as ends:
        manager = ends.registries[0].create_tube("told", signal_handler=handler)
        other = ends.registries[1].create_tube("told", initiator=False)
        link = ApplicationLink()
        calls = link.run(manager, other)
        await within(manager.wait_connected(), seconds=TIMEOUT)
        await manager.restart_ice()
        await within(manager.wait_connected(), seconds=TIMEOUT)
        await link.lose(calls)
        await manager.shutdown()
        await eventually(lambda: any(isinstance(signal, ChannelClosed) for signal in signals))
    assert not [signal for signal in signals if isinstance(signal, IceCandidate | IceRestartOffer)]


# A link that is lost.


async def test_a_stream_outlives_its_link_and_its_carrier(ends: OwnEnds) -> None:
    link = ApplicationLink()
    calls = ends.run(link)
    await ends.connected()
    stream = Recorder.open(ends.here)
    stream.write(b"before, ")
    await stream.received(8)
    await link.lose(calls)
    await still_carries(ends.here)  # the link is not needed
    ends.here.tube.kill_carrier()
    ends.there.tube.kill_carrier()
    await ends.lost()
    stream.write(b"meanwhile, ")
    ends.run(ApplicationLink())
    await ends.connected()
    stream.write(b"and after")
    assert await stream.received(28) == b"before, meanwhile, and after"
    assert not stream.reset.done()


async def test_while_there_is_no_link_no_attempt_is_spent(ends: OwnEnds) -> None:
    link = ApplicationLink()
    calls = ends.run(link)
    await ends.connected()
    await link.lose(calls)
    ends.here.tube.kill_carrier()
    await eventually(lambda: ends.here.state is State.RECONNECTING)
    for _ in range(10):
        with pytest.raises(PeerError, match="cannot be reached through signaling now"):
            await ends.here.restart_ice()
    assert ends.here.metrics.reconnection_attempts == 0
    ends.run(ApplicationLink())
    await ends.connected()
    assert ends.here.metrics.reconnection_attempts == 1


@pytest.mark.parametrize("lost", ["offer", "answer", "candidates"])
async def test_what_was_lost_with_the_link_is_sent_again_over_the_next(ends: OwnEnds, lost: str) -> None:
    link = ApplicationLink()
    calls = ends.run(link)
    match lost:
        case "offer":
            link.there_wards.loses = True
            await link.there_wards.said("offer")
        case "answer":
            link.here_wards.loses = True
            await link.here_wards.said("answer")
        case _:
            await link.here_wards.said("answer")
            link.there_wards.loses = link.here_wards.loses = True
    await link.lose(calls)
    generations = ends.here.decisions
    ends.run(ApplicationLink())
    await ends.connected()
    assert len(ends.here.decisions) == len(generations)  # the same negotiation, not another attempt
    await still_carries(ends.here)


async def test_a_link_that_is_lost_again_and_again_while_connecting_connects_in_the_end(ends: OwnEnds) -> None:
    for turns in range(0, 40, 2):
        link = ApplicationLink()
        calls = ends.run(link)
        for _ in range(turns):
            await asyncio.sleep(0)
        await link.lose(calls)
    ends.run(ApplicationLink())
    await ends.connected()
    await still_carries(ends.there)


@pytest.mark.parametrize("turns", range(6))
async def test_a_renewed_link_may_follow_a_cancelled_call_at_once(ends: OwnEnds, turns: int) -> None:
    # Found by review: the end of the first call said that signaling is away, although the second ran already.
    async def run_when_free(manager: TunnelConnectionManager, way: Way, other: Way) -> None:
        while True:
            try:
                return await manager.run_signaling(way.send, other.messages())
            except RuntimeError:
                await asyncio.sleep(0)

    calls = ends.run(ApplicationLink())
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    for _ in range(turns):
        await asyncio.sleep(0)
    link = ApplicationLink()
    here, there = link.there_wards, link.here_wards
    calls = [
        asyncio.ensure_future(run_when_free(ends.here, here, there)),
        asyncio.ensure_future(run_when_free(ends.there, there, here)),
    ]
    await ends.connected()
    await ends.here.restart_ice()
    await ends.connected()
    await link.lose(calls)


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_second_call_ends_the_first_whose_link_is_lost_unnoticed(ends: OwnEnds, hangs: bool) -> None:
    async def hang(text: str) -> None:
        await asyncio.Event().wait()

    lost, first = ApplicationLink(), list[asyncio.Future[None]]()
    if hangs:
        first += [
            asyncio.ensure_future(ends.here.run_signaling(hang, lost.here_wards.messages())),
            asyncio.ensure_future(ends.there.run_signaling(hang, lost.there_wards.messages())),
        ]
        await asyncio.sleep(0)
    else:
        first += ends.run(lost)
        await ends.connected()
        lost.here_wards.loses = lost.there_wards.loses = True
    second = ends.run(ApplicationLink())
    await within(asyncio.gather(*first), seconds=TIMEOUT)
    await ends.connected()
    ends.here.tube.kill_carrier()
    await ends.lost()
    await ends.connected()
    assert not any(call.done() for call in second)


# Who calls wrongly.


@pytest.mark.parametrize(
    ("send", "messages", "why"),
    [
        (None, Way.messages, "send is a function"),
        (print, None, "messages has the methods __aiter__; NoneType"),
        (print, ["text"], "messages has the methods __aiter__; list"),
    ],
)
async def test_a_call_of_wrong_things_is_refused_and_nothing_begins(
    ends: OwnEnds, send: Any, messages: Any, why: str
) -> None:
    given = messages(Way()) if messages is Way.messages else messages
    with pytest.raises(TypeError, match=why):
        await ends.here.run_signaling(send, given)
    assert ends.here.state is State.INITIALIZING
    ends.run(ApplicationLink())
    await ends.connected()


async def test_a_plain_function_that_returns_nothing_to_await_is_named(ends: OwnEnds) -> None:
    wrong: Any = len
    with pytest.raises(TypeError, match="send is an async function; what it returned is int"):
        await ends.here.run_signaling(wrong, Way().messages())


async def test_a_tube_with_perdures_own_signaling_refuses_a_link() -> None:
    pair = ManagerPair()
    with pytest.raises(RuntimeError, match="perdure's own signaling"):
        await pair.client.run_signaling(Way().send, Way().messages())
    await pair.close()


async def test_a_call_for_a_tube_that_is_closing_or_has_ended_returns_at_once(ends: OwnEnds) -> None:
    link = ApplicationLink()
    calls = ends.run(link)
    await ends.connected()
    await link.lose(calls)
    ends.here.tube.begin_to_end(Reason.SHUT_DOWN)
    for _ in range(2):
        await within(ends.here.run_signaling(Way().send, Way().messages()), seconds=TIMEOUT)
        await within(ends.here.wait_ended(), seconds=TIMEOUT)


# A link that fails.


async def test_a_send_that_raises_ends_the_call_with_its_exception_and_the_tube_lives(ends: OwnEnds) -> None:
    async def send(text: str) -> None:
        raise BrokenPipeError(f"{len(text)} characters")

    with pytest.raises(BrokenPipeError):
        await within(ends.here.run_signaling(send, Way().messages()))
    assert ends.here.state is State.CONNECTING
    ends.run(ApplicationLink())
    await ends.connected()


async def test_messages_that_raise_end_the_call_with_their_exception_and_the_tube_lives(ends: OwnEnds) -> None:
    async def messages() -> AsyncIterator[str]:
        yield "nonsense"
        raise ConnectionResetError("by peer")

    with pytest.raises(ConnectionResetError):
        await within(ends.here.run_signaling(Way().send, messages()))
    assert ends.here.state is State.CONNECTING
    ends.run(ApplicationLink())
    await ends.connected()


async def test_a_send_that_is_cancelled_by_itself_is_a_link_that_ended(ends: OwnEnds) -> None:
    async def send(text: str) -> None:
        raise asyncio.CancelledError

    await within(ends.here.run_signaling(send, Way().messages()))
    assert ends.here.state is State.CONNECTING


async def test_a_send_that_hangs_holds_up_neither_the_tube_nor_its_end(ends: OwnEnds) -> None:
    link = ApplicationLink()
    calls = ends.run(link)
    await ends.connected()
    await link.lose(calls)
    hanging = asyncio.Event()

    async def send(text: str) -> None:
        hanging.set()
        await asyncio.Event().wait()

    call = asyncio.ensure_future(ends.here.run_signaling(send, Way().messages()))
    await asyncio.sleep(0)
    await ends.here.restart_ice()
    await within(hanging.wait())
    await still_carries(ends.here)
    await within(ends.here.shutdown(), seconds=TIMEOUT)
    await within(call)  # a second later


async def test_behind_a_send_that_hangs_a_bounded_number_of_texts_waits(ends: OwnEnds) -> None:
    hanging, released = asyncio.Event(), asyncio.Event()
    sent: list[str] = []

    async def send(text: str) -> None:
        hanging.set()
        await released.wait()
        sent.append(text)

    way = Way()
    call = asyncio.ensure_future(ends.here.run_signaling(send, way.messages()))
    await within(hanging.wait())
    for number in range(2 * MAX_UNSENT_TEXTS):
        ends.here.signaling.channel.send(Candidate(3, f"candidate:{number}", "0", 0))
    released.set()
    await eventually(lambda: len(sent) >= WINDOW)
    assert len(sent) <= MAX_UNSENT_TEXTS + WINDOW
    way.cut()
    await within(call)


@pytest.mark.parametrize("turns", [*range(12), 20, 40])
async def test_cancelling_a_call_at_any_moment_leaks_no_task_and_the_next_one_connects(
    ends: OwnEnds, turns: int
) -> None:
    calls = ends.run(ApplicationLink())
    for _ in range(turns):
        await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    for call in calls:
        with pytest.raises(asyncio.CancelledError):
            await within(call)
    assert link_tasks() == []
    assert not any(manager.state.is_final for manager in (ends.here, ends.there))
    ends.run(ApplicationLink())
    await ends.connected()


async def test_cancelling_a_connected_call_leaves_the_tunnel_and_no_task(ends: OwnEnds) -> None:
    calls = ends.run(ApplicationLink())
    await ends.connected()
    for call in calls:
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(call)
    assert link_tasks() == []
    await still_carries(ends.here)


async def test_two_ends_whose_calls_have_returned_leave_no_task(ends: OwnEnds) -> None:
    link = ApplicationLink()
    calls = ends.run(link)
    await ends.connected()
    assert link_tasks()
    await link.lose(calls)
    assert link_tasks() == []


# Texts that are none.


GARBAGE: list[Any] = [
    "",
    "nonsense",
    "null",
    "[]",
    "{}",
    '{"session": "00", "message": {"type": "bye", "reason": ""}}',
    '{"session": "zz", "message": {"type": "bye", "reason": ""}}',
    '{"session": "' + "0" * 32 + '", "message": {"type": "' + "x" * 5000 + '"}}',
    '{"session": "' + "0" * 32 + '", "message": {"type": "offer", "generation": -1, "sdp": "", "restarts": 0}}',
    '{"session": "' + "0" * 32 + '", "message": {"type": "bye", "reason": "' + "x" * 5000 + '"}}',
    '{"session": "' + "0" * 32 + '", "message": {"type": "bye", "reason": "\\ud800"}}',
    '{"a": ' + "[" * 20_000,
    "\ud800",
    b"\xff\xfe",
    b"\x00",
    None,
    7,
    {"session": "0" * 32},
]


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
async def test_what_is_no_text_of_perdure_is_logged_and_ignored(
    ends: OwnEnds, text: Any, caplog: pytest.LogCaptureFixture
) -> None:
    link = ApplicationLink()
    link.there_wards.put(text)
    link.here_wards.put(text)
    ends.run(link)
    await ends.connected()
    link.there_wards.put(text)
    await still_carries(ends.here)
    await eventually(lambda: len(refusals(caplog)) == 3)
    assert max(map(len, refusals(caplog))) <= 200


async def test_a_text_that_is_too_long_is_ignored_unread(ends: OwnEnds, caplog: pytest.LogCaptureFixture) -> None:
    link = ApplicationLink()
    link.here_wards.put(" " * (MAX_TEXT_LENGTH + 1), " " * 10_000_000)
    ends.run(link)
    await ends.connected()
    assert refusals(caplog) == [
        f"a signaling message of {length} characters is over {MAX_TEXT_LENGTH}"
        for length in (MAX_TEXT_LENGTH + 1, 10_000_000)
    ]


async def test_refusals_without_end_are_logged_a_few_times_then_counted_and_hold_up_nothing(
    ends: OwnEnds, caplog: pytest.LogCaptureFixture
) -> None:
    link = ApplicationLink()
    for way in (link.there_wards, link.here_wards):
        way.put(*["nonsense"] * 2000)
    ends.run(link)
    await ends.connected()
    await eventually(lambda: link.there_wards.is_read and link.here_wards.is_read)
    tell_left_out()
    left_out = [event.fields for event in events(caplog) if event.name == "lines-left-out"]
    assert len(refusals(caplog)) <= MAX_LINES_OF_TUBE * len(left_out)
    assert len(refusals(caplog)) + sum(int(str(fields["count"])) for fields in left_out) == 4000


async def test_a_link_that_always_has_a_text_lets_the_loop_go_round(ends: OwnEnds) -> None:
    async def flood() -> AsyncIterator[str]:
        while True:
            yield "nonsense"

    call = asyncio.ensure_future(ends.here.run_signaling(Way().send, flood()))
    for _ in range(100):
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(call)


@pytest.mark.parametrize("kind", ["offer", "answer", "candidate", "bye"])
async def test_another_sessions_texts_are_logged_and_ignored(
    ends: OwnEnds, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with OwnEnds() as others:
        other_link = ApplicationLink()
        others.run(other_link)
        await others.connected()
        others.here.tube.begin_to_end(Reason.SHUT_DOWN)
        others.there.tube.begin_to_end(Reason.SHUT_DOWN)
        await within(asyncio.gather(others.here.wait_ended(), others.there.wait_ended()), seconds=TIMEOUT)
        texts = other_link.there_wards.sent + other_link.here_wards.sent
    strays = [text for text in texts if f'"type":"{kind}"' in text]
    assert strays
    link = ApplicationLink()
    ends.run(link)
    await ends.connected()
    link.here_wards.put(*strays)
    if kind != "offer":
        link.there_wards.put(*strays)
    await eventually(lambda: link.there_wards.is_read and link.here_wards.is_read)
    await still_carries(ends.here)
    assert set(refusals(caplog)) == {"this message belongs to another session"}


async def test_a_text_that_comes_twice_or_late_harms_nobody(ends: OwnEnds) -> None:
    link = ApplicationLink()
    ends.run(link)
    await ends.connected()
    first = [list(way.sent) for way in (link.there_wards, link.here_wards)]
    ends.here.rebuild()
    await ends.connected()
    for way, texts in zip((link.there_wards, link.here_wards), first, strict=True):
        way.put(*texts, *way.sent, *texts)
    await eventually(lambda: link.there_wards.is_read and link.here_wards.is_read)
    await still_carries(ends.here)
    assert ends.here.state is ends.there.state is State.CONNECTED


# The end.


@pytest.mark.parametrize("end", ["here", "there"])
async def test_the_end_of_the_tube_ends_both_calls_behind_the_goodbye(ends: OwnEnds, end: str) -> None:
    link = ApplicationLink()
    calls = ends.run(link)
    await ends.connected()
    ending, other = (ends.here, ends.there) if end == "here" else (ends.there, ends.here)
    await within(ending.shutdown(detail="enough"), seconds=TIMEOUT)
    await within(asyncio.gather(*calls), seconds=TIMEOUT)
    assert other.end is not None
    assert (other.end.after, other.end.reason, other.end.detail) == (
        State.CLOSED,
        Reason.CLOSED_BY_PEER,
        "enough",
    )


async def test_a_tube_that_ends_while_it_connects_tells_the_other_end_over_the_link(ends: OwnEnds) -> None:
    link = ApplicationLink()
    link.here_wards.loses = True  # no answer comes
    calls = ends.run(link)
    await link.there_wards.said("offer")
    await eventually(lambda: link.there_wards.is_read)
    await ends.here.shutdown(Reason.SHUT_DOWN, "never mind")
    assert '"type":"bye"' in link.there_wards.sent[-1] or await link.there_wards.said('"bye"')
    await within(asyncio.gather(*calls), seconds=TIMEOUT)
    assert ends.there.end is not None
    assert (ends.there.end.reason, ends.there.end.detail) == (Reason.CLOSED_BY_PEER, "never mind")


async def test_an_acceptor_that_heard_nothing_yet_says_nothing_when_it_ends(ends: OwnEnds) -> None:
    way = Way()
    call = asyncio.ensure_future(ends.there.run_signaling(way.send, Way().messages()))
    await asyncio.sleep(0)
    await ends.there.shutdown()
    await within(call)
    assert way.sent == []


async def test_a_callback_may_end_the_tube_while_its_call_begins(ends: OwnEnds) -> None:
    ends.here.add_state_change_callback(lambda change: ends.here.tube.begin_to_end(Reason.SHUT_DOWN))
    await within(ends.here.run_signaling(Way().send, Way().messages()))
    assert ends.here.end is not None
    assert ends.here.end.reason is Reason.SHUT_DOWN


# Beginning again.


async def begun_again(ends: OwnEnds, link: ApplicationLink) -> list[asyncio.Future[None]]:
    ends.here = await ends.registries[0].begin_again(ends.here)
    ends.there = await ends.registries[1].begin_again(ends.there)
    return ends.run(link)


async def test_an_acceptor_that_was_restarted_fails_the_tube_and_both_begin_again() -> None:
    async with OwnEnds(IMPATIENT) as ends:
        link = ApplicationLink()
        calls = ends.run(link)
        await ends.connected()
        stream = Recorder.open(ends.here)
        # Its process is gone: no good-bye comes, and what takes its place knows nothing.
        await link.lose(calls)
        ends.here.tube.kill_carrier()
        ends.there.tube.kill_carrier()
        former = ends.there
        ends.restart_acceptor()
        calls = ends.run(ApplicationLink())
        await within(asyncio.gather(*calls), seconds=TIMEOUT)
        end = await within(ends.here.wait_ended(), seconds=TIMEOUT)
        assert (end.after, end.reason) == (State.FAILED, Reason.PEER_RESTARTED)
        assert (await within(stream.reset)).name == "SESSION_LOST"
        assert (await within(ends.there.wait_ended(), seconds=TIMEOUT)).after.is_final
        assert ends.there is not former
        await begun_again(ends, ApplicationLink())
        await ends.connected()
        await still_carries(ends.here)
        await still_carries(ends.there)


async def test_an_initiator_that_was_restarted_fails_the_acceptors_tube_and_it_begins_again() -> None:
    async with OwnEnds(IMPATIENT) as ends:
        link = ApplicationLink()
        calls = ends.run(link)
        await ends.connected()
        await link.lose(calls)
        ends.there.tube.kill_carrier()
        ends.restart_initiator()
        link = ApplicationLink()
        first = ends.there
        here_call, there_call = ends.run(link)
        await within(there_call, seconds=TIMEOUT)
        assert first.end is not None
        assert (first.end.after, first.end.reason) == (State.FAILED, Reason.PEER_RESTARTED)
        ends.there = await ends.registries[1].begin_again(first)
        assert not here_call.done()
        again = asyncio.ensure_future(ends.there.run_signaling(link.here_wards.send, link.there_wards.messages()))
        await ends.connected()
        await still_carries(ends.here)
        again.cancel()


async def test_a_tube_begins_again_with_its_id_conversation_and_handlers() -> None:
    signals: list[Signal] = []

    async def handler(signal: Signal) -> None:
        signals.append(signal)

    taken: list[str] = []
    async with OwnEnds() as ends:
        registry = ends.registries[1]
        first = registry.create_tube(
            "again", "talk", initiator=False, signal_handler=handler, incoming=lambda stream: taken.append("x")
        )
        await first.shutdown()
        second = await registry.begin_again(first)
        assert second is not first
        assert registry.manager("again") is second
        assert (second.tube_id, second.conversation_id, second.is_initiator) == ("again", "talk", False)
        initiator = ends.registries[0].create_tube("again")
        link = ApplicationLink()
        calls = link.run(initiator, second)
        await within(second.wait_connected(), seconds=TIMEOUT)
        initiator_stream = Recorder.open(initiator)
        initiator_stream.write(b"x")
        await eventually(lambda: taken == ["x"])
        await link.lose(calls)
    assert [signal.after for signal in signals if isinstance(signal, ConnectionStateChanged)] == [
        "closed",
        "connecting",
        "connected",
        "closed",
    ]


async def test_what_has_not_ended_is_not_begun_again(ends: OwnEnds) -> None:
    with pytest.raises(RuntimeError, match="has not ended"):
        await ends.registries[0].begin_again(ends.here)
    await ends.here.shutdown()
    await ends.registries[0].begin_again(ends.here)
    with pytest.raises(ValueError, match="there is a tube 'tube' already"):
        await ends.registries[0].begin_again(ends.here)


async def test_a_tube_with_perdures_own_signaling_is_not_begun_again() -> None:
    pair = ManagerPair()
    await pair.client.shutdown()
    with pytest.raises(RuntimeError, match="perdure's own signaling"):
        await pair.client_end.registry.begin_again(pair.client)
    await pair.close()


# Both ways to signal.


async def test_the_low_level_methods_work_beside_a_call(ends: OwnEnds) -> None:
    link = ApplicationLink()
    ends.run(link)
    offer = await ends.here.signaling.create_offer()
    await ends.connected()
    sdp = await ends.here.restart_ice()
    assert sdp != offer
    await ends.connected()
    await still_carries(ends.here)
    signaling = ends.here.signaling
    signaling.set_available(False)
    await ends.here.restart_ice()
    await ends.connected()
    signaling.set_available(True)
    await ends.here.restart_ice()
    await ends.connected()


async def test_a_tube_that_was_set_up_step_by_step_goes_on_over_a_link() -> None:
    async with ApplicationPair() as pair:
        await pair.connect()
        here, there = pair.here.manager, pair.there.manager
        link = ApplicationLink()
        calls = link.run(here, there)
        await here.restart_ice()
        await link.there_wards.said("offer")
        await pair.here.reached(State.CONNECTED, since=3)
        assert not [signal for signal in pair.here.signals if isinstance(signal, IceRestartOffer)]
        await still_carries(here)
        await link.lose(calls)


async def test_an_offer_that_was_given_at_creation_is_answered_over_the_link() -> None:
    # Found by test: it was never taken, and the tube connected with the next attempt only.
    async with OwnEnds() as ends:
        here = ends.here
        there = ends.registries[1].create_tube("from an offer", offer=await here.signaling.create_offer())
        link = ApplicationLink()
        calls = link.run(here, there)
        await within(asyncio.gather(here.wait_connected(), there.wait_connected()), seconds=TIMEOUT)
        assert '"generation":3' in await link.here_wards.said("answer")
        await still_carries(here)
        await link.lose(calls)


async def test_a_link_that_comes_after_the_first_steps_gets_what_they_said(ends: OwnEnds) -> None:
    # Found by test: the offer was told to the caller alone, and the other end waited for the next one.
    await ends.here.signaling.create_offer()
    link = ApplicationLink()
    ends.run(link)
    await ends.connected()
    assert '"generation":3' in await link.here_wards.said("answer")


async def test_after_a_link_a_tube_goes_on_step_by_step() -> None:
    # Found by test: no signal said what was to be sent any more.
    signals: list[Signal] = []

    async def handler(signal: Signal) -> None:
        signals.append(signal)

    async with OwnEnds() as ends:
        here = ends.registries[0].create_tube("steps", signal_handler=handler)
        there = ends.registries[1].create_tube("steps", initiator=False)
        link = ApplicationLink()
        calls = link.run(here, there)
        await within(asyncio.gather(here.wait_connected(), there.wait_connected()), seconds=TIMEOUT)
        await link.lose(calls)
        here.signaling.set_available(True)
        there.signaling.set_available(True)
        offer = await here.restart_ice()
        answer = await there.signaling.set_remote_description(offer, "offer")
        assert answer is not None
        await here.signaling.set_remote_description(answer, "answer")
        await within(here.wait_connected(), seconds=TIMEOUT)
        await eventually(lambda: any(isinstance(signal, IceCandidate) for signal in signals))
        assert [signal.sdp for signal in signals if isinstance(signal, IceRestartOffer)] == [offer]
        await still_carries(here)
