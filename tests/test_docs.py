"""What the documentation says, held against the code: worked examples are replayed, names and links exist, the README's
program runs."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

import pytest

from perdure.config import RestartPolicy, SessionLimits
from perdure.configfile import read_file
from perdure.core.actions import (
    Action,
    AnswerRestart,
    ApplyAnswer,
    CloseCarrier,
    KeepAlive,
    MakeAnswer,
    MakeOffer,
    MeasureHealth,
    Probe,
    RestartIce,
    SayGoodbye,
    StateChanged,
    WarnOfTimeout,
)
from perdure.core.connection import Connection
from perdure.core.decision import Decision, DecisionReason, Rung, Trigger
from perdure.core.events import (
    AnswerReceived,
    CarrierLost,
    CloseRequested,
    CloseSent,
    Event,
    Extended,
    HealthMeasured,
    IceUnhealthy,
    NetworkChanged,
    OfferReceived,
    PathEvidence,
    PeerLeft,
    PeerRestarted,
    RecoveryRequested,
    RttMeasured,
    SessionEnded,
    SessionResumed,
    SignalingChanged,
    Started,
    Used,
)
from perdure.core.state import CLOSE_REASONS, Reason, State
from perdure.eventlog import KeyValueFormatter
from perdure.fields import defaults_of
from perdure.tube import Link, StreamSink
from perdure.tube.log import log_decision
from perdure.wire import ResetCode

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "connection-management.md"
STREAMS = ROOT / "docs" / "streams.md"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# Tables.

EXAMPLE_COLUMNS = ["at", "what happens", "decision", "what is done", "state"]
LADDER_COLUMNS = ["trigger", "situation", "rung", "reason"]


def tables(text: str) -> Iterator[tuple[str, int, list[list[str]]]]:
    """Each table with the heading that it stands under and the number of its first line; cells without their marks."""
    heading, rows, first = "", list[list[str]](), 0
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if line.startswith("|"):
            first = first or number
            rows.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
        elif rows:
            yield heading, first, [rows[0], *rows[2:]]
            rows, first = [], 0


# A tube whose surroundings are told in words.

ROUND_TRIP = 0.05
"""Seconds that the peer's answers take in the examples."""

START = re.compile(r"(?P<role>client|gateway) (?P<stage>connected|begins)(?:, (?P<settings>.+))?")

SUFFICIENTLY_NEAR = 0.0005
"""Seconds: the examples round their times to milliseconds."""


class NoJitter(Random):
    def random(self) -> float:
        return 0.0


def description(ufrag: str) -> str:
    return f"v=0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:x\r\n"


def seconds(at: float) -> str:
    return f"{at:.3f}".rstrip("0").rstrip(".")


class Tube:
    """A core, and as much of a session around it as the examples tell of: what waits for the peer's answer."""

    def __init__(self, start: str) -> None:
        found = START.fullmatch(start)
        assert found is not None, f"an example begins with `client connected` or the like, not with {start!r}"
        policy, limits = configured(found["settings"] or "")
        self.core = Connection(policy, limits, initiator=found["role"] != "gateway", random=NoJitter(), now=0.0)
        self.is_acceptor = found["role"] == "gateway"
        self.now = 0.0
        self.told: list[Action] = []
        self.heard_at: float | None = None
        self.data_at: float | None = None
        self.unacknowledged = False
        self.data_since: float | None = None
        self.ping_since: float | None = None
        self.is_watched = False
        """Whether the core knows that an answer is due."""
        self.peer_ufrags = 0
        self.checks_sent = self.checks_answered = 0
        self.feed(SignalingChanged(True))
        self.feed(Started())
        if found["stage"] == "connected":
            if self.is_acceptor:
                self.peer_offers("")
            else:
                self.happens("the peer answers the offer")
            self.happens("the new carrier works")
            for _ in range(30):
                self.feed(RttMeasured(self.core.carrier, ROUND_TRIP))
            self.told.clear()

    # Time.

    def wait(self, until: float) -> None:
        """Serve each deadline up to then in its time, as the driver does: evidence first."""
        for _ in range(1000):
            due_at = self.core.next_deadline()
            if due_at is None or due_at > until + SUFFICIENTLY_NEAR:
                self.now = max(self.now, until)
                return
            self.now = max(self.now, due_at)
            self.serve_timeout()
        raise AssertionError("the core spins")

    def serve_timeout(self) -> None:
        self.feed_evidence()
        self.take(self.core.handle_timeout(self.now))

    # What happens.

    def happens(self, event: str) -> None:
        """Tell the core of one cell of the column "what happens"."""
        for pattern, method in EVENTS.items():
            found = re.fullmatch(pattern, event)
            if found is not None:
                method(self, *found.groups())
                return
        raise AssertionError(f"no example knows what {event!r} means")

    def feed(self, event: Event) -> None:
        self.take(self.core.handle_event(event, self.now))

    def feed_evidence(self) -> None:
        since = [at for at in (self.data_since, self.ping_since) if at is not None]
        is_only_ping = self.data_since is None and self.ping_since is not None
        evidence = PathEvidence(self.core.carrier, self.heard_at, min(since, default=None), is_only_ping, self.data_at)
        self.is_watched = bool(since)
        self.feed(evidence)

    def take(self, actions: list[Action]) -> None:
        for action in actions:
            self.told.append(action)
            match action:
                case Probe() | KeepAlive() if self.ping_since is None:
                    self.ping_since = self.now
                case CloseCarrier():
                    self.data_since = self.ping_since = self.heard_at = None
                    self.checks_sent = self.checks_answered = 0
                case SayGoodbye():
                    self.feed(CloseSent())  # nothing is held
                case _:
                    pass
        if self.ping_since == self.now and not self.is_watched:
            self.feed_evidence()  # the driver tells when it begins to wait for an answer

    def peer_answers(self, delay: str | None) -> None:
        """What waits is answered, after `delay` seconds."""
        if self.data_since is not None or self.ping_since is not None:
            self.feed(RttMeasured(self.core.carrier, float(delay or ROUND_TRIP)))
        self.data_since = self.ping_since = None
        self.unacknowledged = False
        self.heard_at = self.now
        self.feed_evidence()

    def data_is_sent(self) -> None:
        self.unacknowledged = True
        self.data_at = self.now
        if self.data_since is None:
            self.data_since = self.now
        self.feed_evidence()

    def carrier_works(self) -> None:
        """The session resumes, sends again what was not acknowledged, and the peer answers."""
        self.data_since = self.ping_since = None
        self.feed(SessionResumed(self.core.carrier))
        if self.unacknowledged:
            self.data_is_sent()
            self.peer_answers(None)

    def peer_offers(self, cause: str, *, restarts: int = 0) -> None:
        self.peer_ufrags += 1
        generation = self.core.generation + 1
        while generation % 2 != self.is_acceptor:
            generation += 1
        self.feed(OfferReceived(generation, description(f"peer{self.peer_ufrags}"), restarts, cause))

    def peer_answers_offer(self, with_old: str | None) -> None:
        self.peer_ufrags += not with_old
        self.feed(AnswerReceived(self.core.generation, description(f"peer{self.peer_ufrags}")))

    def checks_counted(self, sent: str, answered: str) -> None:
        self.checks_sent += int(sent)
        self.checks_answered += int(answered)
        self.feed(HealthMeasured(self.core.carrier, None, self.checks_sent, self.checks_answered))


def network_event(trigger: Trigger, **known: object) -> Callable[[Tube], None]:
    event = replace(NetworkChanged(trigger), **known)  # type: ignore[arg-type]
    return lambda tube: tube.feed(event)


def fed(event: Event) -> Callable[[Tube], None]:
    return lambda tube: tube.feed(event)


EVENTS: dict[str, Callable[..., None]] = {
    "a program sends data": Tube.data_is_sent,
    r"the peer answers(?: after ([\d.]+) s)?": Tube.peer_answers,
    r"the peer answers the offer( with its old ICE credentials)?": Tube.peer_answers_offer,
    "the new carrier works": Tube.carrier_works,
    "interface change": network_event(Trigger.INTERFACE_CHANGE),
    "interface change, here": network_event(Trigger.INTERFACE_CHANGE, local_address_lost=True),
    "address change, here": network_event(Trigger.IP_ADDRESS_CHANGE, local_address_lost=True),
    "interface change, elsewhere": network_event(Trigger.INTERFACE_CHANGE, local_address_lost=False),
    "address change, elsewhere": network_event(Trigger.IP_ADDRESS_CHANGE, local_address_lost=False),
    "interface change, to a new address": network_event(Trigger.INTERFACE_CHANGE, is_new_address=True),
    "address change": network_event(Trigger.IP_ADDRESS_CHANGE),
    "address change, to a new address": network_event(Trigger.IP_ADDRESS_CHANGE, is_new_address=True, has_address=True),
    "address change: none is left": network_event(Trigger.IP_ADDRESS_CHANGE, has_address=False),
    "address change: one is back": network_event(Trigger.IP_ADDRESS_CHANGE, has_address=True),
    "wake-up, to a new address": network_event(Trigger.WAKE_UP, is_new_address=True, slept_seconds=300.0),
    r"wake-up after ([\d.]+) s": lambda tube, slept: tube.feed(
        NetworkChanged(Trigger.WAKE_UP, slept_seconds=float(slept))
    ),
    r"(\w+) is reported": lambda tube, name: tube.feed(NetworkChanged(Trigger[name])),
    "ICE says disconnected": lambda tube: tube.feed(IceUnhealthy(tube.core.carrier)),
    "the engine gives the carrier up": lambda tube: tube.feed(CarrierLost(tube.core.carrier, "gone")),
    r"(\d+) ICE checks were sent, (\d+) answered": Tube.checks_counted,
    "signaling is away": fed(SignalingChanged(False)),
    "signaling is back": fed(SignalingChanged(True)),
    r"the peer offers a new carrier(?:, for (.+))?": lambda tube, cause: tube.peer_offers(cause or ""),
    r"the peer restarts ICE, for (.+)": lambda tube, cause: tube.peer_offers(cause, restarts=tube.core.carrier),
    r"the peer restarts a carrier that is gone, for (.+)": lambda tube, cause: tube.peer_offers(cause, restarts=1),
    "a restart is asked for": fed(RecoveryRequested()),
    "a new carrier is asked for": fed(RecoveryRequested(rebuild=True)),
    "the user is active": fed(Used()),
    r"the user extends it by (\d+) s": lambda tube, more: tube.feed(Extended(float(more))),
    "the user closes it": fed(CloseRequested()),
    "the peer closes it": fed(SessionEnded(Reason.CLOSED_BY_PEER, "")),
    "the peer says good-bye": fed(PeerLeft("")),
    "the peer's process is another": fed(PeerRestarted()),
}


def configured(settings: str) -> tuple[RestartPolicy, SessionLimits]:
    """`with NAME = VALUE, NAME = VALUE` as settings."""
    policy, limits = RestartPolicy(), SessionLimits()
    for setting in filter(None, settings.removeprefix("with ").split(", ")):
        name, _, text = setting.partition(" = ")
        value: object = {"true": True, "false": False}.get(text, text)
        if value is text:
            value = float(text) if "." in text else int(text)
        if name in defaults_of(RestartPolicy):
            policy = replace(policy, **{name: value})  # type: ignore[arg-type]
        else:
            limits = replace(limits, **{name: value})  # type: ignore[arg-type]
    return policy, limits


# How the examples say what the core does.


def done(action: Action) -> str | None:
    """What the column "what is done" says of `action`; `None`: it has a column of its own, or is routine."""
    match action:
        case MakeOffer():
            return "offers a new carrier"
        case MakeAnswer():
            return "answers with a new carrier"
        case RestartIce():
            return "offers an ICE restart"
        case AnswerRestart():
            return "answers the ICE restart"
        case ApplyAnswer():
            return "takes the answer"
        case CloseCarrier():
            return "closes the carrier"
        case Probe():
            return "asks the peer"
        case KeepAlive():
            return "asks the idle peer"
        case WarnOfTimeout(_, remaining_seconds):
            return f"warns: {seconds(remaining_seconds)} s are left"
        case SayGoodbye():
            return "says good-bye"
        case MeasureHealth():
            return "reads the statistics"
        case _:
            return None


def decided(decision: Decision) -> str:
    """`interface change → ICE restart 1: the network moved …`; `… → wait until 15: …`."""
    trigger = "set-up" if decision.trigger is None else decision.trigger.value
    number = f" {decision.attempt}" if decision.rung in (Rung.ICE_RESTART, Rung.REBUILD) else ""
    until = "" if decision.next_attempt_at is None else f" until {seconds(decision.next_attempt_at)}"
    return f"{trigger} → {decision.rung.value}{number}{until}: {decision.reason.value}"


def said(tube: Tube) -> tuple[str, str, str]:
    """What the core did since it was asked last, as an example's last three columns say it."""
    actions, tube.told = tube.told, []
    decisions = [decided(action) for action in actions if isinstance(action, Decision)]
    performed = list(dict.fromkeys(filter(None, map(done, actions))))
    changes = [f"{a.after.name}: {a.reason.value}" for a in actions if isinstance(a, StateChanged)]
    return "<br>".join(decisions), ", ".join(performed), "<br>".join(changes) or tube.core.state.name


ROUTINE = {"asks the peer", "reads the statistics"}
"""What an example may leave out between two of its rows."""


def replayed(rows: list[list[str]]) -> list[list[str]]:
    """`rows` as the core would write them, and one more for whatever else it does between two of them."""
    tube = Tube(rows[0][1])
    written = [[*rows[0][:2], *said(tube)]]
    for at_text, event, *_ in rows[1:]:
        at = float(at_text)
        if event == "sleeps until now":
            tube.now = at
            tube.serve_timeout()
        else:
            tube.wait(at - 2 * SUFFICIENTLY_NEAR)
            decisions, performed, state = said(tube)
            if decisions or ":" in state or not set(filter(None, performed.split(", "))) <= ROUTINE:
                written.append([f"before {at_text}", "what the example does not tell", decisions, performed, state])
            if event == "wait":
                tube.wait(at)
            else:
                tube.now = at
                tube.happens(event)
        written.append([at_text, event, *said(tube)])
    return written


EXAMPLES = [
    pytest.param(rows, id=f"{heading}, line {line}")
    for heading, line, rows in tables(PAGE.read_text())
    if rows[0] == EXAMPLE_COLUMNS
]


@pytest.mark.parametrize("table", EXAMPLES)
def test_a_worked_example_is_what_the_core_does(table: list[list[str]]) -> None:
    assert replayed(table[1:]) == table[1:]


def test_each_trigger_has_a_worked_example_of_its_own() -> None:
    headings = [str(example.id).partition(",")[0] for example in EXAMPLES]
    for trigger in Trigger:
        assert trigger.name in headings
    for heading, _, rows in tables(PAGE.read_text()):
        if rows[0] == EXAMPLE_COLUMNS and heading in Trigger.__members__:
            example = " ".join(cell for row in rows for cell in row)
            said_of_it = f"{Trigger[heading].value} →", f"for {Trigger[heading].value}"
            assert any(words in example for words in said_of_it), f"an example of {heading} is about something else"


# The ladder's tables.


def ladder() -> list[tuple[set[Trigger | None], bool, set[Rung], DecisionReason]]:
    """Each row: its triggers, whether each of them must occur, its rungs, its reason."""
    text = PAGE.read_text().partition("<!-- ladder -->")[2].partition("<!-- end of ladder -->")[0]
    return [
        (*read_triggers(triggers), {Rung(rung) for rung in rungs.split(", ")}, DecisionReason(reason))
        for _, _, rows in tables(text)
        if rows[0] == LADDER_COLUMNS
        for triggers, _, rungs, reason in rows[1:]
    ]


def read_triggers(cell: str) -> tuple[set[Trigger | None], bool]:
    if cell == "any":
        return {None, *Trigger}, False
    if cell == "first set-up":
        return {None}, True
    names = cell.replace("network event", "INTERFACE_CHANGE, IP_ADDRESS_CHANGE, WAKE_UP").split(", ")
    return {Trigger[name] for name in names}, True


WANDERED = (
    ["a program sends data", "the peer answers", "the peer answers the offer"] * 2
    + ["the new carrier works", "the engine gives the carrier up", "address change, to a new address"] * 2
    + ["the peer answers after 0.4 s", "the peer answers after 2 s", "30 ICE checks were sent, 20 answered"]
    + ["the peer answers the offer with its old ICE credentials", "the new carrier works", "signaling is back"]
    + ["interface change, elsewhere", "interface change, here"]
    + ["interface change", "interface change, to a new address", "address change", "address change: none is left"]
    + ["wake-up after 20 s", "wake-up after 300 s", "wake-up, to a new address", "sleeps", "signaling is away"]
    + ["ICE says disconnected", *(f"{trigger.name} is reported" for trigger in Trigger), "signaling is back"]
    + ["the peer offers a new carrier, for interface change", "the peer restarts ICE, for wake-up"]
    + ["the peer restarts a carrier that is gone, for interface change"]
    + ["a restart is asked for", "a new carrier is asked for"]
)
"""What may happen to a tube; what leads further, more often."""


def wander(random: Random, steps: int) -> Iterator[Decision]:
    """Decisions of a tube to which anything happens in any order."""
    role, stage = random.choice(["client", "gateway"]), random.choice(["connected", "begins"])
    tube = Tube(f"{role} {stage}, with max_restart_attempts = 2, max_restarts_per_minute = 4")
    for _ in range(steps):
        yield from (action for action in tube.told if isinstance(action, Decision))
        tube.told.clear()
        event = random.choice(WANDERED)
        tube.wait(tube.now + random.choice([0.0, 0.05, 0.3, 1.0, 6.0, 20.0]))
        if tube.core.state.is_final:
            return
        if event == "sleeps":
            tube.now += 100.0
            tube.serve_timeout()
        else:
            tube.happens(event)


SHORT_LIVES = [
    ("0", "client connected"),
    *[
        (f"{10 + life / 10}", "the engine gives the carrier up" if life % 2 else "the new carrier works")
        for life in range(1, 19)
    ],
]
"""Carriers that are lost as soon as they work, which no random walk comes upon."""


QUALITY_AGAIN = [
    ("0", "client connected, with connection_health_check_interval = 8"),
    ("8.1", "24 ICE checks were sent, 12 answered"),
    ("9.2", "6 ICE checks were sent, 3 answered"),
    ("9.3", "the peer answers the offer"),
    ("9.4", "the peer answers"),
    ("17.5", "24 ICE checks were sent, 12 answered"),
    ("18.6", "24 ICE checks were sent, 12 answered"),
    ("19.7", "6 ICE checks were sent, 3 answered"),
    ("19.8", "the peer answers the offer"),
    ("19.9", "the peer answers"),
    ("20", "24 ICE checks were sent, 12 answered"),
    ("21.1", "24 ICE checks were sent, 12 answered"),
    ("22.2", "6 ICE checks were sent, 3 answered"),
    ("26", "wait"),
]
"""A path that is poor again soon after a restart."""


POOR_AND_SILENT = [
    ("0", "client begins"),
    ("0.1", "the peer answers the offer"),
    ("0.2", "the new carrier works"),
    ("9", "24 ICE checks were sent, 12 answered"),
    ("10", "a program sends data"),
    ("11", "wait"),
]
"""A path that is found poor while its first answer, which has a second, is overdue."""


MOVED = [("0", "client connected"), ("10", "address change, elsewhere"), ("20", "address change, here")]


POOR_AT_THE_LIMIT = [
    ("0", "client connected"),
    *[
        (f"{second + part}", event)
        for second in range(10, 28, 3)
        for part, event in (
            (0, "the peer restarts ICE, for interface change"),
            (0.2, "the peer answers"),
        )
    ],
    ("30", "24 ICE checks were sent, 12 answered"),
    ("32", "48 ICE checks were sent, 24 answered"),
    ("34", "72 ICE checks were sent, 36 answered"),
    ("50", "wait"),
]


POOR_WHILE_UNSETTLED = [
    *POOR_AT_THE_LIMIT[:11],
    *POOR_AT_THE_LIMIT[13:15],
    ("33.9", "interface change"),
    *POOR_AT_THE_LIMIT[15:],
]
"""One restart is left, and the network moves just before."""


RESTARTED_OFTEN = [
    ("0", "client connected"),
    *[
        (f"{second + part}", event)
        for second in range(20, 200, 20)
        for part, event in (
            (0, "interface change"),
            (0.1, "the peer answers the offer"),
            (0.2, "the peer answers"),
        )
    ],
]
"""A carrier whose ICE is restarted until it is worn, which no random walk comes to."""


@cache
def met() -> dict[tuple[Trigger | None, Rung, DecisionReason], int]:
    """The decisions that occur, and how often each did."""
    found: list[Decision] = []
    for seed in range(300):
        found += wander(Random(seed), 150)
    for script in (
        SHORT_LIVES,
        QUALITY_AGAIN,
        POOR_AND_SILENT,
        POOR_AT_THE_LIMIT,
        POOR_WHILE_UNSETTLED,
        MOVED,
        RESTARTED_OFTEN,
    ):
        tube = Tube(script[0][1])
        for at, event in script[1:]:
            tube.wait(float(at))
            if event != "wait":
                tube.happens(event)
        found += (action for action in tube.told if isinstance(action, Decision))
    return Counter((decision.trigger, decision.rung, decision.reason) for decision in found)


def test_every_decision_that_occurs_is_in_the_ladders_tables() -> None:
    named = {
        (trigger, rung, reason) for triggers, _, rungs, reason in ladder() for trigger in triggers for rung in rungs
    }
    assert met().keys() - named == set()


def test_everything_in_the_ladders_tables_occurs() -> None:
    occurs = met().keys()
    for triggers, each, rungs, reason in ladder():
        for rung in rungs:
            assert any((trigger, rung, reason) in occurs for trigger in triggers), f"no {rung} because {reason}"
        if each:
            for trigger in triggers:
                assert any((trigger, rung, reason) in occurs for rung in rungs), f"no {trigger} because {reason}"


# Names and numbers.


def test_the_page_names_every_trigger_rung_state_and_reason() -> None:
    words = PAGE.read_text()
    for name in [*Trigger.__members__, *Rung.__members__, *State.__members__]:
        assert re.search(rf"\b{name}\b", words), name
    for reason in DecisionReason:
        assert reason.value in words, reason


def test_the_page_names_every_end_and_no_other() -> None:
    text = PAGE.read_text().partition("<!-- ends -->")[2].partition("<!-- end of ends -->")[0]
    named = {(State[state], Reason[reason]) for _, _, rows in tables(text) for state, reason, _ in rows[1:]}
    assert named == {*ends()}


def ends() -> Iterator[tuple[State, Reason]]:
    """What the core ends with."""
    events: list[Event] = [CloseRequested(reason) for reason in CLOSE_REASONS]
    events += [
        PeerRestarted(),
        PeerLeft(""),
        SessionEnded(Reason.UNKNOWN_SESSION, ""),
        SessionEnded(Reason.PROTOCOL, ""),
    ]
    for event in events:
        tube = Tube("client connected")
        tube.feed(event)
        tube.wait(1.0)
        yield ended(tube)
    lost = Tube("client connected")
    lost.happens("the engine gives the carrier up")
    lost.wait(100.0)
    yield ended(lost)
    forgotten = Tube("gateway begins")
    forgotten.wait(100.0)
    yield ended(forgotten)
    stalled = Tube("client connected")
    stalled.happens("a program sends data")
    for tenth in range(1, 400):
        stalled.wait(tenth / 10)
        stalled.heard_at = stalled.now
        stalled.feed(RttMeasured(stalled.core.carrier, ROUND_TRIP))
    yield ended(stalled)


def ended(tube: Tube) -> tuple[State, Reason]:
    change = [action for action in tube.told if isinstance(action, StateChanged)][-1]
    assert change.after.is_final
    return change.after, change.reason


def test_the_page_names_every_setting_of_a_tube_and_its_default() -> None:
    words = PAGE.read_text()
    for kind in (RestartPolicy, SessionLimits):
        for name, default in defaults_of(kind).items():
            assert f"`{name}`" in words or f"`{name} =" in words, name
            for value, unit in re.findall(rf"`{name}` \(([\d.]+) ?(ms|s)?[;:)]", words):
                assert float(value) / (1000 if unit == "ms" else 1) == default, f"{name} is {default}"


def test_the_pages_log_line_is_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "perdure.tube"):
        decision = Decision(Trigger.CONNECTION_TIMEOUT, Rung.WAIT, DecisionReason.BACKOFF, 1, 105.2, at=100.0)
        log_decision("my_tube", decision)
    line = KeyValueFormatter().format(caplog.records[0])
    assert line.partition(" ")[2] in PAGE.read_text()


def test_the_pages_toml_is_taken(tmp_path: Path) -> None:
    (toml,) = blocks(PAGE, "toml")
    file = tmp_path / "perdure.toml"
    file.write_text(toml)
    assert read_file(file).values["restart.max_restart_attempts"] == 10


# Links.


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_relative_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path) if path else document
        assert there.is_file(), f"{document.name} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{document.name} links to {target}"


def anchors(document: Path) -> set[str]:
    """The headings' names in a link, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Programs.


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def output_of(program: str) -> str:
    """What `program` prints, run as written by a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-"], input=program, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_readmes_program_runs() -> None:
    (program,) = (block for block in blocks(ROOT / "README.md", "python") if "TubeRegistry" in block)
    printed = output_of(program)
    assert "b'hello'" in printed
    assert "CONNECTED" in printed


def test_the_pages_programs_run_and_print_what_it_says() -> None:
    configured, program = blocks(PAGE, "python")
    assert output_of(configured) == ""
    assert [output_of(program)] == blocks(PAGE, "text")


def test_the_streams_programs_forward_tcp_and_echo() -> None:
    echo, forwarding = blocks(STREAMS, "python")
    assert output_of(f"{forwarding}\n{FORWARDING_AT_WORK}").splitlines() == ["b'through the tube'", "b''"]
    assert output_of(f"{echo}\n{ECHO_AT_WORK}").splitlines() == [
        "write 1 b'a'",
        "write 1 b'bc'",
        "consume 1 3",
        "finish 1",
    ]


ECHO_AT_WORK = """
class Streams:
    def write(self, stream_id, data):
        print("write", stream_id, data)

    def consume(self, stream_id, count):
        print("consume", stream_id, count)

    def finish(self, stream_id):
        print("finish", stream_id)


user = Echo(Streams(), 1)
user.stream_data(memoryview(b"a"))
user.stream_data(memoryview(b"bc"))
user.stream_writable()
user.stream_finished()
"""

FORWARDING_AT_WORK = """
from perdure import TransportConfig, TubeRegistry


async def echo(reader, writer):
    writer.write(await reader.read())
    writer.close()


async def main():
    transport = TransportConfig(loopback=True)
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    target = Target("127.0.0.1", server.sockets[0].getsockname()[1])
    there = TubeRegistry(transport=transport, on_stream=Dialler(AllowList(frozenset({target}))))

    async def to_there(signal):
        if signal.kind == "icecandidate":
            there.add_ice_candidate("there", signal.data)

    async def to_here(signal):
        if signal.kind == "icecandidate":
            here.add_ice_candidate("here", signal.data)

    async with TubeRegistry(transport=transport) as here, there, server:
        manager = here.create_tube("here", signal_handler=to_there)
        there.create_tube("there", offer=await here.create_offer("here"), signal_handler=to_here)
        await here.set_remote_description("here", await there.create_answer("there"), "answer")
        for wanted in target, Target("127.0.0.1", 1):
            forwarded = await forward(manager, 0, wanted)
            reader, writer = await asyncio.open_connection(*forwarded.sockets[0].getsockname())
            try:
                writer.write(b"through the tube")
                writer.write_eof()
                print(await reader.read())
            except ConnectionError:
                print(b"")
            writer.close()
            forwarded.close()


asyncio.run(main())
"""


# What the page of streams names.


def test_the_page_of_streams_names_each_method_and_each_reset_code() -> None:
    listed = {rows[0][0]: [row[0].partition("(")[0] for row in rows[1:]] for _, _, rows in tables(STREAMS.read_text())}
    assert set(listed["StreamSink"]) == {name for name in vars(StreamSink) if name.startswith("stream_")}
    assert all(hasattr(Link, name) for name in listed["manager.streams."])
    assert set(listed["code"]) == set(ResetCode.__members__)
