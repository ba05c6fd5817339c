"""When a path is recovered and an idle one kept, and what an ICE restart is.

What takes time is asked of the pure core, which is told the time; what the engine has to do is asked of the engine.
"""

from __future__ import annotations

import asyncio
import json
import re
from functools import partial
from typing import TYPE_CHECKING

import pytest

from core.cores import NEW_ADDRESS, OFFLINE, ONLINE, ROAM, closes, connected, decided, decisions, lose, sdp, states
from perdure import (
    DecisionReason,
    IceCandidate,
    IceRestartOffer,
    Reason,
    RecoveryAction,
    ResourceLimits,
    RestartPolicy,
    SessionLimits,
    State,
    TransportConfig,
    TubeRegistry,
)
from perdure.core.actions import (
    AnswerRestart,
    KeepAlive,
    MakeOffer,
    MeasureHealth,
    Probe,
    RestartIce,
    SayGoodbye,
    StateChanged,
    WarnOfTimeout,
)
from perdure.core.closing import FAREWELL_SECONDS
from perdure.core.decision import Trigger
from perdure.core.events import (
    AnswerReceived,
    CandidateReceived,
    CloseRequested,
    CloseSent,
    Extended,
    HealthMeasured,
    IceUnhealthy,
    NetworkChanged,
    OfferReceived,
    PathEvidence,
    RecoveryRequested,
    RttMeasured,
    SessionResumed,
    SignalingChanged,
    Used,
)
from perdure.core.recovery_policy import JITTER
from support.application_pair import ApplicationPair
from support.carriers import carrier_of, on_another_carrier
from support.faulty_subject import FaultyTransport, LosesSignals
from support.recorder import TIMEOUT, Recorder
from support.targets import positions

if TYPE_CHECKING:
    from perdure.core.actions import Action
    from perdure.core.events import Event

POLICY = RestartPolicy()
LIMITS = SessionLimits()
FOREVER = SessionLimits(session_timeout=0)
HOUR = 3600.0


class Tube:
    """A core that is served in time, what its peer does, and all that it asked for, each with its instant."""

    def __init__(
        self, *, policy: RestartPolicy = POLICY, limits: SessionLimits = FOREVER, initiator: bool = True
    ) -> None:
        self.core = connected(policy=policy, limits=limits, initiator=initiator)
        self.now = 0.0
        self.log: list[tuple[float, Action]] = []
        self.peer_answers = True
        """Whether the peer answers what it is asked over the path."""
        self.peer_builds = False
        """Whether a new carrier comes about."""
        self._heard_at = 0.0
        self._asked_at: float | None = None

    def tell(self, event: Event, at: float | None = None) -> list[Action]:
        """Let time pass until `at`, then tell `event`; what that led to at once."""
        if at is not None:
            self.until(at)
        return self._note(self.core.handle_event(event, self.now))

    def until(self, at: float) -> None:
        """Serve every deadline up to `at`, each in time, after what the session knows."""
        for _ in range(10_000):
            deadline = self.core.next_deadline()
            if deadline is None or deadline > at:
                self.now = max(self.now, at)
                return
            self.now = deadline
            self._tell_evidence()
            self._note(self.core.handle_timeout(self.now))
        raise AssertionError("the core spins")

    def carry(self, at: float) -> None:
        """A byte goes, or comes, and all is well."""
        self.until(at)
        self._heard_at = at
        self.core.handle_event(PathEvidence(self.core.carrier, at, None, last_data_at=at), at)

    def instants(self, kind: type[Action]) -> list[float]:
        """When it asked for `kind`."""
        return [at for at, action in self.log if isinstance(action, kind)]

    def changes(self) -> list[tuple[float, State, Reason]]:
        return [(at, action.after, action.reason) for at, action in self.log if isinstance(action, StateChanged)]

    def _tell_evidence(self) -> None:
        is_ping = self._asked_at is not None
        self._note(
            self.core.handle_event(PathEvidence(self.core.carrier, self._heard_at, self._asked_at, is_ping), self.now)
        )

    def _note(self, actions: list[Action]) -> list[Action]:
        self.log += [(self.now, action) for action in actions]
        for action in actions:
            if isinstance(action, Probe | KeepAlive):
                if self.peer_answers:
                    self._heard_at, self._asked_at = self.now, None
                elif self._asked_at is None:
                    self._asked_at = self.now
                self._tell_evidence()
            if isinstance(action, SayGoodbye):
                self._note(self.core.handle_event(CloseSent(), self.now))
            if isinstance(action, MakeOffer):
                self._asked_at = None
                if self.peer_builds:
                    self._note(self.core.handle_event(SessionResumed(action.generation), self.now))
        return actions


# Which trigger leads to what.


@pytest.mark.parametrize(
    ("event", "action", "reason"),
    [
        (ROAM, RecoveryAction.ICE_RESTART, DecisionReason.NETWORK_MOVED),
        (NetworkChanged(Trigger.IP_ADDRESS_CHANGE), RecoveryAction.ICE_RESTART, DecisionReason.NETWORK_MOVED),
        (NEW_ADDRESS, RecoveryAction.REBUILD, DecisionReason.NEW_ADDRESS),
        (OFFLINE, RecoveryAction.WAIT, DecisionReason.NO_ADDRESS),
        (NetworkChanged(Trigger.WAKE_UP, slept_seconds=30), RecoveryAction.HOLD, DecisionReason.SHORT_SLEEP),
        (NetworkChanged(Trigger.WAKE_UP, slept_seconds=90), RecoveryAction.REBUILD, DecisionReason.LONG_SLEEP),
        (NetworkChanged(Trigger.CONNECTION_TIMEOUT), RecoveryAction.HOLD, DecisionReason.DOUBTED),
        (NetworkChanged(Trigger.QUALITY_DEGRADATION), RecoveryAction.HOLD, DecisionReason.DOUBTED),
        (IceUnhealthy(3), RecoveryAction.HOLD, DecisionReason.DOUBTED),
        (RecoveryRequested(), RecoveryAction.ICE_RESTART, DecisionReason.ASKED),
        (RecoveryRequested(rebuild=True), RecoveryAction.SPARE, DecisionReason.ASKED),
    ],
)
def test_each_trigger_has_its_rung(event: Event, action: RecoveryAction, reason: DecisionReason) -> None:
    actions = Tube().tell(event, at=10.0)
    assert decided(actions) == [(action.name, reason.name)]
    assert bool([action for action in actions if isinstance(action, RestartIce)]) is (
        action is RecoveryAction.ICE_RESTART
    )
    assert bool([action for action in actions if isinstance(action, MakeOffer)]) is (
        action in (RecoveryAction.REBUILD, RecoveryAction.SPARE)
    )


def test_silence_while_an_answer_is_due_begins_another_carrier_and_keeps_the_silent_one() -> None:
    tube = Tube()
    tube.peer_answers = False
    tube.tell(IceUnhealthy(3), at=10.0)
    tube.until(12.0)
    assert [(decision.trigger, decision.action) for decision in decisions([action for _, action in tube.log])] == [
        (Trigger.ICE_FAILURE, RecoveryAction.HOLD),
        (Trigger.CONNECTION_TIMEOUT, RecoveryAction.SPARE),
    ]
    assert tube.core.spare
    assert not closes([action for _, action in tube.log])


def test_poor_quality_is_shown_and_restarts_nothing_that_carries_data() -> None:
    tube = Tube()
    for second in range(1, 20):
        tube.carry(float(second))
        tube.tell(RttMeasured(3, 2.0))
    assert tube.core.state is State.DEGRADED
    assert tube.instants(RestartIce) == tube.instants(MakeOffer) == []
    assert tube.core.quality < POLICY.quality_threshold


def test_a_poor_path_that_carries_nothing_is_restarted() -> None:
    tube = Tube()
    checks = 0
    for at in range(60, 400, 15):
        checks += 6
        tube.tell(HealthMeasured(3, 0.05, checks, checks // 3), at=float(at))
    causes = [action.cause for _, action in tube.log if isinstance(action, RestartIce)]
    assert set(causes) == {Trigger.QUALITY_DEGRADATION}
    assert len(causes) <= 8, "it waits longer each time"


@pytest.mark.parametrize("threshold", [0.0, 0.8, 1.0])
def test_the_quality_threshold_is_the_policys(threshold: float) -> None:
    tube = Tube(policy=RestartPolicy(quality_threshold=threshold))
    for second in range(1, 20):
        tube.carry(float(second))
        tube.tell(RttMeasured(3, 0.3))
    assert (tube.core.state is State.DEGRADED) is (tube.core.quality < threshold)


# How often.


def test_failed_attempts_wait_five_ten_twenty_and_at_most_sixty_seconds() -> None:
    tube = Tube(policy=RestartPolicy(max_restart_attempts=8))
    tube.until(100.0)
    lose(tube.core, 100.0)
    tube.until(HOUR)
    waits = [
        decision.next_attempt_at - decision.at
        for decision in decisions([action for _, action in tube.log])
        if decision.next_attempt_at is not None
    ]
    assert (
        waits
        == [pytest.approx(wait * (1 + JITTER / 2), rel=JITTER / 2) for wait in (5, 10, 20, 40)]
        + [pytest.approx(60.0)] * 3
    )
    assert tube.changes()[-1][1:] == (State.FAILED, Reason.ATTEMPTS_EXHAUSTED)


def test_the_first_attempt_is_immediate_and_the_third_the_last() -> None:
    tube = Tube()
    tube.until(100.0)
    assert any(isinstance(action, MakeOffer) for action in lose(tube.core, 100.0))
    tube.until(HOUR)
    assert len(tube.instants(MakeOffer)) == POLICY.max_restart_attempts - 1
    ((failed_at, state, reason),) = tube.changes()
    assert (state, reason) == (State.FAILED, Reason.ATTEMPTS_EXHAUSTED)
    assert failed_at == pytest.approx(100 + 3 * POLICY.attempt_timeout + 5 + 10, abs=1.5)
    assert decisions([action for _, action in tube.log])[-1].action is RecoveryAction.FAIL


def test_a_new_network_event_acts_at_once_and_starts_the_count_over() -> None:
    tube = Tube()
    lose(tube.core, 0.0)
    tube.until(12.0)
    assert tube.core.decisions[-1].reason is DecisionReason.BACKOFF
    assert isinstance(tube.tell(ROAM)[-1], MakeOffer)
    tube.until(12.0 + 3 * POLICY.attempt_timeout)
    assert tube.core.state is State.RECONNECTING
    assert tube.core.decisions[-1].attempt <= 2


@pytest.mark.parametrize("away", [SignalingChanged(False), OFFLINE])
def test_attempts_are_not_spent_while_they_cannot_be_made(away: Event) -> None:
    tube = Tube()
    tube.tell(away, at=5.0)
    tube._note(lose(tube.core, 5.0))
    tube.until(1000.0)
    assert tube.instants(MakeOffer) == []
    tube.tell(SignalingChanged(True) if isinstance(away, SignalingChanged) else ONLINE)
    assert tube.instants(MakeOffer) == [1000.0]


@pytest.mark.parametrize("interval", [0.01, 0.3, 1.5, 4.0])
def test_no_flapping_network_causes_more_than_six_restarts_a_minute(interval: float) -> None:
    tube = Tube()
    tube.peer_builds = True
    count = int(120 / interval) if interval >= 1 else 400
    for number in range(1, count):
        tube.tell(ROAM, at=number * interval)
        generation = tube.core.generation
        is_ours = tube.core.carriers.negotiation.offered_here
        if is_ours and generation != tube.core.carrier:  # the peer answers each restart at once
            tube.tell(AnswerReceived(generation, sdp(f"peer{generation}")))
            tube._heard_at = tube.now + 0.001
            tube.until(tube.now + 0.002)
            tube._tell_evidence()
    begun = sorted(tube.instants(RestartIce) + tube.instants(MakeOffer))
    assert begun
    for first in begun:
        assert len([at for at in begun if first <= at < first + 60]) <= POLICY.max_restarts_per_minute


def test_one_handover_that_is_told_three_times_is_one_restart() -> None:
    tube = Tube()
    for at in (10.0, 10.2, 10.6):
        tube.tell(ROAM, at=at)
    assert tube.instants(RestartIce) == [10.0]


# A restart's course.


def test_a_restart_keeps_the_carrier_and_ends_when_the_peer_is_heard_after_its_answer() -> None:
    tube = Tube()
    actions = tube.tell(ROAM, at=10.0)
    (restart,) = [action for action in actions if isinstance(action, RestartIce)]
    assert (restart.carrier, restart.cause) == (3, Trigger.INTERFACE_CHANGE)
    assert not closes(actions)
    tube.tell(PathEvidence(3, 10.05, None), at=10.1)
    assert tube.core.state is State.RECONNECTING
    tube.tell(AnswerReceived(restart.generation, sdp("another")), at=10.2)
    assert states(tube.tell(PathEvidence(3, 10.25, None), at=10.3)) == [State.CONNECTED]
    assert tube.changes()[-1][2] is Reason.ICE_RESTARTED


@pytest.mark.parametrize("answer", [sdp("peer"), "v=0\r\n"])
def test_a_peer_that_answers_with_its_old_credentials_or_none_is_given_a_new_carrier_at_once(answer: str) -> None:
    tube = Tube()
    tube.tell(ROAM, at=10.0)
    actions = tube.tell(AnswerReceived(tube.core.generation, answer), at=10.2)
    assert decided(actions) == [("SPARE", "PEER_CANNOT_RESTART")]
    assert not closes(actions)


@pytest.mark.parametrize("timeout", [0.1, 3.0, 20.0])
def test_a_peer_that_does_not_answer_in_time_is_given_a_new_carrier(timeout: float) -> None:
    tube = Tube(policy=RestartPolicy(ice_restart_timeout=timeout))
    tube.tell(ROAM, at=10.0)
    tube.until(9.99 + timeout)
    assert tube.instants(MakeOffer) == []
    tube.until(10.0 + timeout)
    assert tube.instants(MakeOffer) == [pytest.approx(10.0 + timeout)]
    assert tube.core.decisions[-1].reason is DecisionReason.RESTART_FAILED


def test_restarts_that_cross_end_in_the_initiator_ends() -> None:
    acceptor, initiator = Tube(initiator=False), Tube()
    for tube in (acceptor, initiator):
        tube.tell(ROAM, at=10.0)
    assert initiator.tell(OfferReceived(acceptor.core.generation, sdp("acceptor"), restarts=3), at=10.1) == []
    actions = acceptor.tell(OfferReceived(initiator.core.generation, sdp("initiator"), restarts=3), at=10.1)
    assert [action.generation for action in actions if isinstance(action, AnswerRestart)] == [initiator.core.generation]
    assert not acceptor.core.carriers.negotiation.offered_here


# Keepalives.


def test_an_idle_path_is_asked_every_five_minutes() -> None:
    tube = Tube()
    tube.until(1510.0)
    assert tube.instants(KeepAlive) == [300.0, 600.0, 900.0, 1200.0, 1500.0]
    assert [action.idle_seconds for _, action in tube.log if isinstance(action, KeepAlive)] == [300.0] * 5
    assert tube.core.state is State.CONNECTED


@pytest.mark.parametrize("interval", [1.0, 20.0, 86400.0])
def test_the_interval_is_the_policys(interval: float) -> None:
    tube = Tube(policy=RestartPolicy(ice_keepalive_interval=interval))
    tube.until(3.5 * interval)
    assert tube.instants(KeepAlive) == [interval, 2 * interval, 3 * interval]


def test_traffic_puts_the_keepalive_off() -> None:
    tube = Tube()
    for at in (100.0, 350.0, 600.0):
        tube.carry(at)
    tube.until(899.0)
    assert tube.instants(KeepAlive) == []
    tube.until(900.0)
    assert tube.instants(KeepAlive) == [900.0]


def test_without_keepalives_nothing_is_asked_and_the_statistics_are_still_read() -> None:
    tube = Tube(policy=RestartPolicy(ice_keepalive_enabled=False))
    tube.until(HOUR)
    assert tube.instants(KeepAlive) == tube.instants(Probe) == []
    assert tube.instants(MeasureHealth) == [POLICY.connection_health_check_interval * n for n in range(1, 31)]


def test_an_idle_peer_that_does_not_answer_is_lost_after_the_threshold() -> None:
    tube = Tube()
    tube.peer_answers = False
    tube.until(300.0 + POLICY.timeout_threshold)
    assert tube.instants(KeepAlive) == [300.0]
    assert tube.changes() == [(330.0, State.RECONNECTING, Reason.PATH_SILENT)]


def test_keepalives_begin_with_the_connection_and_end_with_it() -> None:
    tube = Tube()
    tube.tell(NEW_ADDRESS, at=290.0)
    tube.until(299.5)
    assert tube.core.state is State.RECONNECTING
    tube.tell(SessionResumed(tube.core.carrier))
    tube.until(599.0)
    assert tube.instants(KeepAlive) == []
    tube.until(599.5)
    assert tube.instants(KeepAlive) == [599.5]
    tube.tell(CloseRequested())
    tube.until(10 * HOUR)
    assert tube.instants(KeepAlive) == [599.5]
    assert tube.core.next_deadline() is None


# Activity.


def test_descriptions_candidates_and_data_count_as_activity_each_apart() -> None:
    tube = Tube()
    activity = tube.core.activity
    assert (activity.descriptions, activity.candidates) == (1, 0)
    tube.carry(7.0)
    assert activity.last_at == 7.0
    tube.tell(Used(), at=9.0)
    assert activity.last_at == 9.0


def test_a_recoverys_own_traffic_counts_and_is_not_the_users_activity() -> None:
    tube = Tube()
    tube.carry(5.0)
    tube.tell(ROAM, at=10.0)
    generation = tube.core.generation
    tube.tell(AnswerReceived(generation, sdp("another")), at=10.1)
    tube.tell(CandidateReceived(generation, "candidate", "0", 0))
    activity = tube.core.activity
    assert (activity.recovery_descriptions, activity.recovery_candidates) == (1, 1)
    assert activity.last_at == 5.0


def test_keepalives_and_their_answers_are_nobodys_activity() -> None:
    tube = Tube()
    tube.until(HOUR)
    assert len(tube.instants(KeepAlive)) == 12
    assert tube.core.activity.last_at == 0.0


# How long a session lives that nobody uses.


def test_warnings_come_at_their_stages_each_with_what_is_left_and_then_the_end() -> None:
    tube = Tube(limits=LIMITS)
    tube.until(2 * HOUR)
    warnings = [
        (at, action.idle_seconds, action.remaining_seconds)
        for at, action in tube.log
        if isinstance(action, WarnOfTimeout)
    ]
    assert warnings == [(at, at, HOUR - at) for at in (1140.0, 1800.0, 2700.0, 3300.0, 3540.0)]
    assert tube.instants(SayGoodbye) == [HOUR]
    assert tube.changes() == [(HOUR + FAREWELL_SECONDS, State.CLOSED, Reason.SESSION_TIMEOUT)]


def test_use_begins_the_time_and_its_warnings_anew() -> None:
    tube = Tube(limits=LIMITS)
    tube.tell(Used(), at=2000.0)
    tube.carry(2500.0)
    tube.until(2500.0 + HOUR - 1)
    assert tube.instants(WarnOfTimeout) == [1140.0, 1800.0, 3640.0, 4300.0, 5200.0, 5800.0, 6040.0]
    assert tube.changes() == []
    tube.until(2500.0 + HOUR + 1)
    assert tube.core.state is State.CLOSED


def test_extending_puts_the_end_and_its_warnings_off_however_idle() -> None:
    tube = Tube(limits=LIMITS)
    tube.tell(Extended(2 * HOUR), at=3590.0)
    tube.until(3590.0 + 2 * HOUR - 1)
    assert tube.changes() == []
    end = 3590.0 + 2 * HOUR
    assert tube.instants(WarnOfTimeout)[5:] == [end - before for before in (2460.0, 1800.0, 900.0, 300.0, 60.0)]
    tube.until(end + 1)
    assert tube.core.state is State.CLOSED


def test_the_absolute_limit_ends_a_tube_that_is_used_and_extended() -> None:
    tube = Tube(limits=SessionLimits(session_duration_limit=1000.0))
    for at in range(100, 1000, 100):
        tube.carry(float(at))
    tube.tell(Extended(HOUR))
    tube.until(1001.0)
    assert tube.changes() == [(1000.0 + FAREWELL_SECONDS, State.CLOSED, Reason.SESSION_LIMIT)]


def test_a_tube_without_a_session_timeout_lives_on() -> None:
    tube = Tube(limits=FOREVER)
    tube.until(7 * 24 * HOUR)
    assert tube.instants(WarnOfTimeout) == []
    assert tube.core.state is State.CONNECTED


def test_the_session_timeout_ends_a_tube_that_is_being_recovered() -> None:
    tube = Tube(limits=LIMITS, policy=RestartPolicy(max_restart_attempts=1000))
    tube.until(3000.0)
    lose(tube.core, 3000.0)
    tube.until(HOUR)
    assert tube.changes()[-1] == (HOUR, State.CLOSED, Reason.SESSION_TIMEOUT)


def test_a_timeout_that_was_slept_through_ends_the_tube_on_waking() -> None:
    core = connected(limits=LIMITS)
    actions = core.handle_timeout(5 * HOUR)
    assert SayGoodbye(Reason.SESSION_TIMEOUT, "") in actions
    assert not any(isinstance(action, WarnOfTimeout | MakeOffer | RestartIce) for action in actions)


# What a restart is, on the engine.


def ice(description: str) -> tuple[str, str]:
    """Its ufrag and password."""
    sdp = json.loads(description)["message"]["sdp"]
    (ufrag,) = re.findall(r"^a=ice-ufrag:(\S+)\r?$", sdp, re.MULTILINE)
    (password,) = re.findall(r"^a=ice-pwd:(\S+)\r?$", sdp, re.MULTILINE)
    return ufrag, password


async def test_a_restart_has_new_credentials_at_both_ends_and_gathers_anew() -> None:
    async with ApplicationPair() as pair:
        offers: list[str] = []
        pair.here.create()
        offers.append(await pair.here.manager.signaling.create_offer())
        pair.there.create(offers[0])
        pair.there.answers.append(await pair.there.manager.signaling.create_answer())
        await pair.here.manager.signaling.set_remote_description(pair.there.answers[0], "answer")
        await asyncio.gather(*(end.reached(State.CONNECTED) for end in (pair.here, pair.there)))
        for number in (1, 2):
            offers.append(await pair.here.manager.restart_ice())
            await asyncio.gather(*(end.reached(State.CONNECTED, 2 * number) for end in (pair.here, pair.there)))
            for end, description in ((pair.here, offers[-1]), (pair.there, pair.there.answers[-1])):
                # Under load the last candidates of the generation before may still have come.
                generation = [signal.generation for signal in pair.here.signals if isinstance(signal, IceRestartOffer)][
                    -1
                ]
                candidate = await end.heard(IceCandidate, where=partial(_is_of, generation))
                assert f"ufrag {ice(description)[0]} " in candidate.candidate + " "
        for descriptions in (offers, pair.there.answers):
            assert len(descriptions) == 3
            ufrags, passwords = zip(*map(ice, descriptions), strict=True)
            assert len(set(ufrags)) == len(set(passwords)) == 3
            fingerprints = {re.search(r"a=fingerprint:([^\\]*)", description)[1] for description in descriptions}  # type: ignore[index]
            assert len(fingerprints) == 1
        assert pair.here.manager.metrics.reconnection_attempts == 0


def _is_of(generation: int, candidate: IceCandidate) -> bool:
    return candidate.generation == generation


async def test_streams_go_on_while_ice_restarts_and_lose_no_byte() -> None:
    data = positions(1, 3_000_000)
    async with ApplicationPair() as pair:
        await pair.connect()
        stream = Recorder.open(pair.here.manager)
        sending = asyncio.ensure_future(stream.send(data))
        for number, end in enumerate((pair.here, pair.there)):
            await stream.received((number + 1) * 500_000)
            changes = len(pair.here.changes), len(pair.there.changes)
            await end.manager.restart_ice()
            for each, since in zip((pair.here, pair.there), changes, strict=True):
                assert (await each.reached(State.CONNECTED, since)).reason is Reason.ICE_RESTARTED
        await sending
        assert await stream.received(len(data)) == data
        assert not stream.reset.done()
        assert {end.manager.metrics.reconnection_attempts for end in (pair.here, pair.there)} == {0}


async def test_the_old_pair_carries_on_until_the_new_one_works() -> None:
    """The peer has not heard of the restart yet; what is sent meanwhile arrives."""
    async with ApplicationPair(transport=FaultyTransport(LosesSignals())) as pair:
        await pair.connect()
        pair.here.other = None
        offer = await pair.here.manager.restart_ice()
        stream = Recorder.open(pair.here.manager)
        stream.write(b"on the old pair")
        assert await stream.received(15) == b"on the old pair"
        assert pair.here.manager.state is State.RECONNECTING
        answer = await pair.there.manager.signaling.set_remote_description(offer, "offer")
        assert answer is not None
        pair.here.other = pair.there
        await pair.here.manager.signaling.set_remote_description(answer, "answer")
        assert (await pair.here.reached(State.CONNECTED, since=3)).reason is Reason.ICE_RESTARTED


async def test_a_peer_that_answers_with_its_old_credentials_makes_the_tube_build_a_new_carrier() -> None:
    async with ApplicationPair() as pair:
        await pair.connect()
        stream = Recorder.open(pair.here.manager)
        stream.write(b"before, ")
        await stream.received(8)
        manager = pair.here.manager
        before = carrier_of(manager)
        pair.here.other = None
        offer = await manager.restart_ice()
        answer = await pair.there.manager.signaling.set_remote_description(offer, "offer")
        assert answer is not None
        for new, old in zip(ice(answer), ice(pair.there.answers[0]), strict=True):
            answer = answer.replace(new, old)
        pair.here.other = pair.there
        await manager.signaling.set_remote_description(answer, "answer")
        await on_another_carrier(manager, than=before)
        assert manager.decisions[-1].reason is DecisionReason.PEER_CANNOT_RESTART
        stream.write(b"and after")
        assert await stream.received(17) == b"before, and after"
        assert (manager.metrics.ice_restart_attempts, manager.metrics.reconnection_attempts) == (1, 1)


async def test_a_peer_that_does_not_answer_in_time_makes_the_tube_build_a_new_carrier() -> None:
    async with ApplicationPair(
        RestartPolicy(ice_restart_timeout=0.1), transport=FaultyTransport(LosesSignals())
    ) as pair:
        await pair.connect()
        since, before = len(pair.here.signals), carrier_of(pair.here.manager)
        there, pair.here.other = pair.here.other, None
        await pair.here.manager.restart_ice()
        lost = await pair.here.heard(IceRestartOffer, since)
        pair.here.other = there
        await on_another_carrier(pair.here.manager, pair.there.manager, than=before)
        assert lost.action == RecoveryAction.ICE_RESTART.value
        assert pair.here.manager.decisions[-1].reason is DecisionReason.RESTART_FAILED
        stream = Recorder.open(pair.here.manager)
        stream.write(b"works")
        assert await stream.received(5) == b"works"


async def test_the_other_end_can_restart_too() -> None:
    async with ApplicationPair() as pair:
        await pair.connect()
        offer = await pair.there.manager.restart_ice()
        assert ice(offer)[0] != ice(pair.there.answers[0])[0]
        for end in (pair.here, pair.there):
            await end.reached(State.CONNECTED, since=3)
        assert pair.there.manager.metrics.ice_restart_attempts == 1
        assert pair.here.manager.metrics.ice_restart_attempts == 0


# What a tube may hold.


async def test_streams_are_limited_at_both_ends_and_one_that_ends_makes_room() -> None:
    async with ApplicationPair(limits=ResourceLimits(max_streams=2)) as pair:
        await pair.connect()
        manager = pair.here.manager
        first, second = Recorder.open(manager), Recorder.open(manager)
        with pytest.raises(ConnectionRefusedError, match="as many as it may"):
            Recorder.open(manager)
        first.finish()
        async with asyncio.timeout(TIMEOUT):
            await first.finished.wait()
        for count in (1, 2):  # what acknowledges the end of the first comes with the second's bytes
            second.write(b"x")
            await second.received(count)
        third = Recorder.open(manager)
        third.write(b"there is room")
        assert await third.received(13) == b"there is room"


async def test_a_stream_that_nobody_reads_stops_its_writer_at_its_buffer() -> None:
    kib = 1024
    limits = ResourceLimits(
        stream_buffer_bytes=128 * kib, stream_window_bytes=128 * kib, session_buffer_bytes=128 * kib
    )
    async with ApplicationPair(limits=limits) as pair:
        await pair.connect()
        manager = pair.here.manager
        stream = Recorder.open(manager)
        stream.transport.pause_reading()
        written = 0
        while stream.has_room:
            stream.write(bytes(16 * kib))
            written += 16 * kib
        assert written <= 144 * kib
        assert manager.metrics.bytes_buffered <= 144 * kib


async def test_tubes_are_limited_and_one_that_ends_makes_room() -> None:
    limits = ResourceLimits(max_tubes=3, max_concurrent_creates=2)
    async with TubeRegistry(limits=limits, transport=TransportConfig(loopback=True)) as registry:
        first = registry.create_tube()
        registry.create_tube()
        with pytest.raises(RuntimeError, match="max_concurrent_creates is 2"):
            registry.create_tube()
        registry.configure_resource_limits(max_concurrent_creates=10)
        registry.create_tube()
        with pytest.raises(RuntimeError, match="max_tubes is 3"):
            registry.create_tube()
        await first.shutdown()
        registry.create_tube()
