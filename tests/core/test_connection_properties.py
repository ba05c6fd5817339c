"""The core's contracts, whatever happens in whatever order."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.config import RestartPolicy
from perdure.core.actions import Action, ChangeState, CloseCarrier, MakeAnswer, MakeOffer
from perdure.core.connection import Connection
from perdure.core.events import (
    AnswerReceived,
    CandidateReceived,
    CarrierLost,
    CloseRequested,
    Event,
    OfferReceived,
    PathDoubted,
    PathEvidence,
    PeerLeft,
    PeerRestarted,
    RebuildRequested,
    SessionEnded,
    SessionResumed,
    SignalingChanged,
    Started,
)
from perdure.core.state import TRANSITIONS, Reason

GENERATIONS = st.integers(0, 12)
TIMES = st.none() | st.floats(0, 1e5)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.just(Started()),
    st.builds(SignalingChanged, st.booleans()),
    st.builds(OfferReceived, GENERATIONS, st.just("sdp")),
    st.builds(AnswerReceived, GENERATIONS, st.just("sdp")),
    st.builds(CandidateReceived, GENERATIONS, st.just("c"), st.none(), st.none()),
    st.builds(CarrierLost, GENERATIONS, st.just("")),
    st.builds(PathDoubted, GENERATIONS),
    st.builds(SessionResumed, GENERATIONS),
    st.builds(PathEvidence, GENERATIONS, TIMES, TIMES),
    st.builds(RebuildRequested),
)
ENDS: st.SearchStrategy[Event] = st.one_of(
    st.just(PeerRestarted()),
    st.builds(PeerLeft, st.just("")),
    st.builds(SessionEnded, st.sampled_from(Reason), st.just("")),
    st.just(CloseRequested()),
)
STEPS = st.lists(
    st.tuples(
        st.one_of(EVENTS, EVENTS, EVENTS, EVENTS, st.just("current-lost"), st.just("current-resumed"), ENDS),
        st.sampled_from([0.0, 0.01, 0.6, 2.0, 12.0, 400.0, 4000.0]),
    ),
    max_size=40,
)


@settings(max_examples=400, deadline=None)
@given(STEPS, st.booleans(), st.integers(0, 3))
def test_the_contracts_hold_for_any_order_of_events(
    steps: list[tuple[Event | str, float]], polite: bool, seed: int
) -> None:
    core = Connection(RestartPolicy(), polite=polite, random=Random(seed), now=0.0)
    now, carriers = 0.0, 0
    for step, pause in steps:
        event: Event
        match step:
            case "current-lost":
                event = CarrierLost(core.generation, "")
            case "current-resumed":
                event = SessionResumed(core.generation)
            case str():
                raise AssertionError(step)
            case _:
                event = step
        was_final, before = core.state.is_final, core.state
        actions = core.handle_event(event, now)
        now += pause
        actions += core.handle_timeout(now)

        deadline = core.next_deadline()
        assert deadline is None or deadline > now, "a deadline that has passed would spin"
        assert not (was_final and actions), "something came after the end"
        for action in actions:
            carriers += carrier_delta(action)
            assert 0 <= carriers <= 1, "a carrier was left behind, or closed twice"
            if isinstance(action, ChangeState):
                assert action.before is before
                assert action.after in TRANSITIONS[before]
                before = action.after
        assert core.state is before
        assert not (core.state.is_final and carriers), "a carrier outlived its tube"


def carrier_delta(action: Action) -> int:
    match action:
        case MakeOffer() | MakeAnswer():
            return 1
        case CloseCarrier():
            return -1
        case _:
            return 0


@settings(max_examples=100, deadline=None)
@given(STEPS, st.booleans(), st.integers(0, 3))
def test_the_same_events_and_seed_give_the_same_actions(
    steps: list[tuple[Event | str, float]], polite: bool, seed: int
) -> None:
    runs = []
    for _ in range(2):
        core = Connection(RestartPolicy(), polite=polite, random=Random(seed), now=0.0)
        now, actions = 0.0, list[Action]()
        for step, pause in steps:
            if not isinstance(step, str):
                actions += core.handle_event(step, now)
            now += pause
            actions += core.handle_timeout(now)
        runs.append(actions)
    assert runs[0] == runs[1]
