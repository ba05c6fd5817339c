"""A tube's core, fed with events that a script names: what the worked examples of docs/ are replayed with.

A script's first line says where it begins, each further one what happens when:

    client connected max_restart_attempts=2
    10 network INTERFACE_CHANGE is_new_address=true
    10.2 peer-answers-offer
"""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from perdure.config import RestartPolicy, SessionLimits
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
    StandbyTask,
    StateChanged,
    TendStandby,
    WarnOfTimeout,
    WithdrawOffer,
)
from perdure.core.connection import Connection
from perdure.core.decision import Decision, RecoveryAction, Trigger
from perdure.core.events import (
    AnswerReceived,
    CarrierLost,
    CarrierMade,
    CloseRequested,
    CloseSent,
    Described,
    Event,
    Extended,
    HealthMeasured,
    IceUnhealthy,
    NetworkChanged,
    OfferReceived,
    OfferWithdrawn,
    PathEvidence,
    PeerSwitched,
    RecoveryRequested,
    RelaysRenewed,
    RttMeasured,
    SessionResumed,
    SignalingChanged,
    SpareOpened,
    StandbyAnswered,
    StandbyReady,
    Started,
    Used,
)
from perdure.fields import defaults_of

if TYPE_CHECKING:
    from collections.abc import Callable

ROUND_TRIP = 0.05
"""Seconds that the peer's answers take."""

NEAR = 0.0005
"""Seconds: scripts round their times to milliseconds."""


class NoJitter(Random):
    def random(self) -> float:
        return 0.0


class Tube:
    """A core, and as much of a session around it as scripts tell of: what waits for the peer's answer.

    Args:
        start: `client` or `gateway`, `connected` or `begins`, and settings as `NAME=VALUE`.
    """

    def __init__(self, start: str) -> None:
        role, stage, *settings = start.split()
        policy, limits = _configured(settings)
        self.is_acceptor = {"gateway": True, "client": False}[role]
        self.core = Connection(policy, limits, initiator=not self.is_acceptor, random=NoJitter(), now=0.0)
        self.now = 0.0
        self.told: list[Action] = []
        self.heard_at: float | None = None
        self.data_at: float | None = None
        self.unacknowledged = False
        self.data_since: float | None = None
        self.ping_since: float | None = None
        self.is_watched = False
        """Whether the core knows that an answer is due."""
        self.carrier = self.spare = self.old = 0
        """The carriers that there were before the core was told last; `old`: the one before the current one."""
        self.closed: dict[int, str] = {}
        """What a table says of each carrier that was closed."""
        self.peer_ufrags = 0
        self.checks_sent = self.checks_answered = 0
        self.feed(SignalingChanged(True))
        self.feed(Started())
        assert stage in {"connected", "begins"}
        if stage == "connected":
            if self.is_acceptor:
                self.peer_offers("")
            else:
                self.peer_answers_offer()
            self.carrier_works()
            for _ in range(30):
                self.feed(RttMeasured(self.core.carrier, ROUND_TRIP))
            self.told.clear()

    # Time.

    def wait(self, until: float) -> None:
        """Serve each deadline up to then in its time, as the driver does: evidence first."""
        for _ in range(1000):
            due_at = self.core.next_deadline()
            if due_at is None or due_at > until + NEAR:
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
        """Tell the core of one event, as a script names it: a word of `EVENTS`, and its arguments."""
        word, *arguments = event.split()
        EVENTS[word][1](self, *arguments)

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
                case CloseCarrier(generation) if generation == self.old:
                    self.closed[generation] = "closes the old carrier"
                case CloseCarrier(generation) if generation == self.spare:
                    self.closed[generation] = "closes the spare"
                case CloseCarrier(generation):
                    self.closed[generation] = "closes the carrier"
                    self.forget_path()
                case SayGoodbye():
                    self.feed(CloseSent())  # nothing is held
                case _:
                    pass
        if any(isinstance(action, MakeOffer | MakeAnswer | RestartIce | AnswerRestart) for action in actions):
            self.feed(Described(self.core.generation))
        self.carrier, self.spare = self.core.carrier, self.core.spare
        if self.ping_since == self.now and not self.is_watched:
            self.feed_evidence()  # the driver tells when it begins to wait for an answer

    def forget_path(self) -> None:
        """Another carrier is used from now on, or none."""
        self.data_since = self.ping_since = self.heard_at = None
        self.checks_sent = self.checks_answered = 0

    def peer_answers(self, delay: str = f"{ROUND_TRIP}") -> None:
        """What waits is answered, after `delay` seconds."""
        if self.data_since is not None or self.ping_since is not None:
            self.feed(RttMeasured(self.core.carrier, float(delay)))
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
        if self.core.spare:
            self.forget_path()
            self.old = self.core.carrier
        self.data_since = self.ping_since = None
        self.feed(SessionResumed(self.core.spare or self.core.carrier))
        if self.unacknowledged:
            self.data_is_sent()
            self.peer_answers()

    def peer_offers(self, cause: str, *, restarts: int = 0) -> None:
        """`cause`: a trigger's name, or nothing."""
        self.peer_ufrags += 1
        generation = self.core.generation + 1
        while generation % 2 != self.is_acceptor:
            generation += 1
        text = Trigger[cause].value if cause else ""
        self.feed(OfferReceived(generation, _description(f"peer{self.peer_ufrags}"), restarts, text))

    def peer_offers_warm_spare(self) -> None:
        generation = self.core.generation + 1 + (self.core.generation + 1) % 2 * (not self.is_acceptor)
        self.feed(OfferReceived(generation, _description("warm"), stands_by=True))

    def warm_spare_answers(self) -> None:
        self.feed_evidence()
        self.feed(StandbyAnswered(self.core.spare))

    def peer_answers_offer(self, credentials: str = "new-credentials") -> None:
        self.peer_ufrags += credentials == "new-credentials"
        self.feed(AnswerReceived(self.core.generation, _description(f"peer{self.peer_ufrags}")))

    def checks_counted(self, sent: str, answered: str) -> None:
        self.checks_sent += int(sent)
        self.checks_answered += int(answered)
        self.feed(HealthMeasured(self.core.carrier, None, self.checks_sent, self.checks_answered))

    def network_changed(self, trigger: str, *known: str) -> None:
        self.feed(replace(NetworkChanged(Trigger[trigger]), **_values(known)))  # type: ignore[arg-type]


def _fed(event: Event) -> Callable[[Tube], None]:
    return lambda tube: tube.feed(event)


EVENTS: dict[str, tuple[str, Callable[..., None]]] = {
    "sends": ("a program sends data", Tube.data_is_sent),
    "peer-answers": ("the peer answers", Tube.peer_answers),
    "peer-answers-offer": ("the peer answers the offer", Tube.peer_answers_offer),
    "carrier-works": ("the new carrier works", Tube.carrier_works),
    "carrier-lost": (
        "the engine gives the carrier up",
        lambda tube: tube.feed(CarrierLost(tube.core.carrier, "gone")),
    ),
    "spare-opens": ("the spare is open", lambda tube: tube.feed(SpareOpened(tube.core.spare))),
    "spare-lost": ("the engine gives the spare up", lambda tube: tube.feed(CarrierLost(tube.core.spare, "gone"))),
    "peer-offers-warm-spare": ("the peer offers a warm spare", Tube.peer_offers_warm_spare),
    "warm-spare-ready": ("it is ready", lambda tube: tube.feed(StandbyReady(tube.core.spare))),
    "warm-spare-answers": ("the peer answers there", Tube.warm_spare_answers),
    "peer-switched": ("the peer goes on over it too", lambda tube: tube.feed(PeerSwitched(tube.old))),
    "peer-withdraws": ("the peer withdraws its offer", lambda tube: tube.feed(OfferWithdrawn(tube.core.spare))),
    "cannot-restart": (
        "the engine says that it cannot restart ICE",
        lambda tube: tube.feed(CarrierMade(tube.core.carrier, can_restart=False)),
    ),
    "network": ("", Tube.network_changed),
    "ice-failed": (
        "ICE says failed",
        lambda tube: tube.feed(IceUnhealthy(tube.core.carrier, has_failed=True)),
    ),
    "ice-disconnected": ("ICE says disconnected", lambda tube: tube.feed(IceUnhealthy(tube.core.carrier))),
    "checks": ("ICE checks", Tube.checks_counted),
    "signaling-away": ("signaling is away", _fed(SignalingChanged(False))),
    "signaling-back": ("signaling is back", _fed(SignalingChanged(True))),
    "peer-offers": ("the peer offers a new carrier", lambda tube, cause="": tube.peer_offers(cause)),
    "peer-restarts-ice": (
        "the peer restarts ICE",
        lambda tube, cause: tube.peer_offers(cause, restarts=tube.core.carrier),
    ),
    "peer-restarts-another": (
        "the peer restarts a carrier that is gone",
        lambda tube, cause: tube.peer_offers(cause, restarts=1),
    ),
    "restart-ice": ("restart_ice() is called", _fed(RecoveryRequested())),
    "rebuild": ("rebuild() is called", _fed(RecoveryRequested(rebuild=True))),
    "relays-renewed": ("there are new TURN credentials", _fed(RelaysRenewed())),
    "relayed": (
        "the statistics show a relay",
        lambda tube: tube.feed(HealthMeasured(tube.core.carrier, None, None, None, is_relayed=True)),
    ),
    "used": ("the user is active", _fed(Used())),
    "extend": ("the user extends it", lambda tube, more: tube.feed(Extended(float(more)))),
    "close": ("the user closes it", _fed(CloseRequested())),
}
"""Each event's word, what a table says of it, and how the core is told."""


def label(event: str) -> str:
    """What the column "what happens" says of a script's event."""
    word, *arguments = event.split()
    match word, arguments:
        case "wait", []:
            return "wait"
        case "sleeps", []:
            return "sleeps until now"
        case "network", [name, *known]:
            said = _KNOWN if "is_new_address=true" not in known else _KNOWN | {"has_address=true": ""}
            return Trigger[name].value + "".join(said[each] for each in known)
        case "checks", [sent, answered]:
            return f"{sent} ICE checks were sent, {answered} answered"
        case "extend", [more]:
            return f"the user extends it by {more} s"
        case "peer-answers", [delay]:
            return f"the peer answers after {delay} s"
        case "peer-answers-offer", ["old-credentials"]:
            return "the peer answers the offer with its old ICE credentials"
        case (("peer-offers" | "peer-restarts-ice" | "peer-restarts-another"), [cause]):
            return f"{EVENTS[word][0]}, for {Trigger[cause].value}"
        case _, []:
            return EVENTS[word][0]
        case _:
            raise AssertionError(f"no script has an event {event!r}")


_KNOWN = {
    "local_address_lost=true": ", which takes the path's own address",
    "local_address_lost=false": " elsewhere",
    "is_new_address=true": ", to a new address",
    "has_address=true": ": there is an address again",
    "has_address=false": ": none is left",
    "standby_leads_on=true": ", and the default route leads by the warm spare's",
    "slept_seconds=20": " after 20 s",
    "slept_seconds=7200": " after 7200 s",
}
"""What a table says of what is known of a change of the network."""


def _description(ufrag: str) -> str:
    return f"v=0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:x\r\n"


def _values(pairs: list[str] | tuple[str, ...]) -> dict[str, object]:
    """`NAME=VALUE`, the value as JSON has it."""
    return {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in pairs)}


def _configured(settings: list[str]) -> tuple[RestartPolicy, SessionLimits]:
    policy, limits = RestartPolicy(), SessionLimits()
    for name, value in _values(settings).items():
        if name in defaults_of(RestartPolicy):
            policy = replace(policy, **{name: value})  # type: ignore[arg-type]
        else:
            limits = replace(limits, **{name: value})  # type: ignore[arg-type]
    return policy, limits


# A script as a table.

COLUMNS = ("at", "what happens", "decision", "what is done", "state")

Row = tuple[str, str, str, str, str]

_ROUTINE = {"asks the peer", "reads the statistics"}
"""What a table may leave out between two of its rows."""


def played(script: str) -> list[Row]:
    """The rows of a script's table; one more for whatever the core does between two lines, beyond routine."""
    start, *lines = script.strip().splitlines()
    tube = Tube(start)
    role, stage, *settings = start.split()
    begin = f"{role} {stage}" + (", with " + ", ".join(settings) if settings else "")
    rows: list[Row] = [("0", begin, *_said(tube))]
    for line in lines:
        at_text, _, event = line.strip().partition(" ")
        at = float(at_text)
        if event == "sleeps":
            tube.now = at
            tube.serve_timeout()
        else:
            tube.wait(at - 2 * NEAR)
            decisions, done, state = _said(tube)
            if decisions or ":" in state or not set(filter(None, done.split(", "))) <= _ROUTINE:
                rows.append((f"before {at_text}", "nothing that the script tells", decisions, done, state))
            if event == "wait":
                tube.wait(at)
            else:
                tube.now = at
                tube.happens(event)
        rows.append((at_text, label(event), *_said(tube)))
    return rows


def _said(tube: Tube) -> tuple[str, str, str]:
    """What the core did since it was asked last, as a table's last three columns."""
    actions, tube.told = tube.told, []
    decisions = [_decided(action) for action in actions if isinstance(action, Decision)]
    performed = list(dict.fromkeys(filter(None, (_done(action, tube.closed) for action in actions))))
    changes = [f"{a.after.name}: {a.reason.value}" for a in actions if isinstance(a, StateChanged)]
    return "<br>".join(decisions), ", ".join(performed), "<br>".join(changes) or tube.core.state.name


def _done(action: Action, closed: dict[int, str]) -> str | None:
    """`None`: it has a column of its own, or is routine."""
    match action:
        case MakeAnswer(stands_by=True):
            return "answers with a warm spare"
        case TendStandby(StandbyTask.ASK):
            return "asks on the warm spare"
        case TendStandby(StandbyTask.USE):
            return "goes on on the warm spare"
        case MakeOffer(is_spare=True):
            return "offers a spare"
        case MakeAnswer(is_spare=True):
            return "answers with a spare"
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
        case CloseCarrier(generation):
            return closed[generation]
        case WithdrawOffer():
            return "withdraws its offer"
        case Probe():
            return "asks the peer"
        case KeepAlive():
            return "asks the idle peer"
        case WarnOfTimeout(_, remaining_seconds):
            return f"warns: {_seconds(remaining_seconds)} s are left"
        case SayGoodbye():
            return "says good-bye"
        case MeasureHealth():
            return "reads the statistics"
        case _:
            return None


def _decided(decision: Decision) -> str:
    """`interface change → ICE restart 1: the network moved …`; `… → wait until 15: …`; `… → spare: …`, no attempt."""
    trigger = "set-up" if decision.trigger is None else decision.trigger.value
    is_attempt = (
        decision.action in (RecoveryAction.ICE_RESTART, RecoveryAction.REBUILD, RecoveryAction.SPARE)
        and decision.attempt
    )
    number = f" {decision.attempt}" if is_attempt else ""
    until = "" if decision.next_attempt_at is None else f" until {_seconds(decision.next_attempt_at)}"
    return f"{trigger} → {decision.action.value}{number}{until}: {decision.reason.value}"


def _seconds(at: float) -> str:
    return f"{at:.3f}".rstrip("0").rstrip(".")
