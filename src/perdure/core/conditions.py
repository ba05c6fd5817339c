"""The facts of a decision, and conditions on them, each with the words in which docs/recovery.md says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from perdure.core.decision import DecisionReason, Situation, Trigger
from perdure.core.restart_limit import UNLIMITED, Allowance

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.core.events import NetworkChanged

SHORT_LIFE_SECONDS = 0.25
"""A carrier that lived less, and on which nothing was acknowledged, was no success."""

SHORT_LIVES_FORGIVEN = 5
"""Short lives in a row that are rebuilt at once; one more counts as a failed attempt, so nothing spins."""

RESUMING_SECONDS = 1.0
"""That a spare on which RESUME was said has until something else is begun: the peer answers within a round trip, or two
where a packet is lost."""

PADDED_SECONDS = 4.0
"""The same while the path works: the session may stay there until the spare is padded, for 3 s at most
(`session.spare_padding`), and the peer does not wait for that."""

RESTART_USEFUL_SECONDS = 0.3
"""Silence beyond which SCTP's retransmission timer has backed off (0.4, 0.8, 1.6 s …): after an outage of 0.3 s a
restarted carrier carries data as soon as a rebuilt one, after one of 0.5 s 0.7 s later (measured, docs/design.md)."""

MAX_RESTARTS_OF_CARRIER = 8
"""The engine keeps the sockets of each ICE generation as long as the carrier lives (measured: 4 descriptors a restart
with 4 local addresses, and `get_stats` four times as dear after 7): after so many a new carrier is cheaper."""

LONG_SLEEP_SECONDS = 60.0
"""A nap below leaves NAT mappings and SCTP's state alive (Tailscale: no rebind on a 55 s nap); a probe tells."""

GLARE_DELAY = 0.1
"""Seconds that the acceptor leaves the first word to the other one after a loss which both of them see: more than a
local rendezvous needs, and little beside an outage that only the acceptor has noticed."""

_PLANNED = (Trigger.REQUEST, Trigger.QUALITY_DEGRADATION)
_READS_NETWORKS = (Trigger.IP_ADDRESS_CHANGE, Trigger.WAKE_UP)
"""After these the engine has to read the networks anew, which it does only without a carrier."""

UNCOUNTED = (None, Trigger.ICE_FAILURE, Trigger.REQUEST)
"""What the restart limit does not count."""


class Facts(NamedTuple):
    """What a decision depends on: the situation, what happened, and what the policy remembers."""

    situation: Situation
    trigger: Trigger | None
    event: NetworkChanged | None = None
    """The network event that is to be answered."""
    carries_data: bool = False
    asks_for_rebuild: bool = False
    why: DecisionReason = DecisionReason.RETRY
    """Why an attempt or a wait is over, or a new path is wanted."""
    in_grace: bool = False
    """Whether a hand-over began less than `handover_grace` ago."""
    grace_is_for_known: bool = True
    """Whether that was to a network which the engine knew."""
    limit: Allowance = UNLIMITED
    """This minute's restarts."""
    carriers_short_lived: bool = False
    """Whether one carrier too many in a row was lost within `SHORT_LIFE_SECONDS`."""
    is_last_attempt: bool = False
    """Whether one more failure is the last that may be."""
    attempts_spent: bool = False
    quality_tried: bool = False
    """Whether a restart for quality was tried not long ago."""

    @property
    def slept_seconds(self) -> float:
        return 0.0 if self.event is None else self.event.slept_seconds

    @property
    def brings_address(self) -> bool:
        return self.event is not None and self.event.is_new_address

    @property
    def loses_address(self) -> bool:
        """Whether the path's own address is gone."""
        return self.event is not None and bool(self.event.local_address_lost)

    @property
    def leads_elsewhere(self) -> bool:
        """Whether the path works, and only the default route has left its own address."""
        return self.event is not None and self.event.leads_elsewhere and self.situation.is_up

    @property
    def may_lose_address(self) -> bool:
        """The same, or nobody knows while another address comes."""
        event = self.event
        if event is None:
            return False
        return event.is_new_address if event.local_address_lost is None else event.local_address_lost


def resuming_until(situation: Situation) -> float:
    """Until when a spare on which RESUME was said is left alone."""
    return situation.spare_told_at + (PADDED_SECONDS if situation.in_band else RESUMING_SECONDS)


class When(NamedTuple):
    """A condition, and how a page says it."""

    words: str
    holds: Callable[[Facts], bool]

    def __and__(self, other: When) -> When:
        return When(f"{self.words}, and {other.words}", lambda facts: self.holds(facts) and other.holds(facts))


OTHERWISE = When("otherwise", lambda _: True)

NOT_BEGUN = When(
    "the tube has not begun, or its first offer has not come",
    lambda f: not f.situation.has_begun and f.trigger is not Trigger.REQUEST,
)
NO_ADDRESS = When("there is no usable address", lambda f: not f.situation.has_address)
NO_SIGNALING = When(
    "signaling is away and needed",
    lambda f: (
        not f.situation.signaling
        and (f.leads_elsewhere or not f.may_lose_address)
        and not (f.situation.in_band and f.trigger in _PLANNED)
    ),
)
ATTEMPTING = When("an attempt is under way", lambda f: f.situation.is_attempting)
BUSY = When(
    "an attempt is under way or not needed",
    lambda f: f.situation.is_attempting or (f.situation.is_up and f.trigger in _PLANNED),
)
"""A request does not wait while the path is up, as the user hears the answer. Quality is judged again by itself.
docs/recovery.md says what the words mean, of this and of `NO_SIGNALING`."""
HAS_SPARE = When("a spare is under way", lambda f: f.situation.has_spare)
RESUMING = When(
    f"a spare opened less than {RESUMING_SECONDS:.0f} s ago ({PADDED_SECONDS:.0f} s while the path works), "
    "and the peer may go on there",
    lambda f: f.situation.now < resuming_until(f.situation),
)
HAS_STANDBY = When("a warm spare is ready", lambda f: f.situation.has_standby)
AT_GATEWAY = When("this is the gateway", lambda f: not f.situation.is_initiator)

LIMIT_REACHED = When("`max_restarts_per_minute` is spent", lambda f: f.limit.spent_until is not None)
LIMIT_RESERVED = When(
    "one or two of them are left, and the network has not settled",
    lambda f: f.limit.reserved_until is not None,
)

SLEPT_SHORTLY = When(
    f"the machine slept for less than {LONG_SLEEP_SECONDS:.0f} s, and a carrier is open",
    lambda f: f.trigger is Trigger.WAKE_UP and f.situation.is_open and f.slept_seconds < LONG_SLEEP_SECONDS,
)
SLEPT_LONG = When(
    "the machine slept longer, and a carrier is open", lambda f: f.trigger is Trigger.WAKE_UP and f.situation.is_open
)
UNTOUCHED = When(
    "the path works, and the network monitor says that its own address was not touched",
    lambda f: (
        f.situation.is_up
        and f.trigger is not Trigger.WAKE_UP
        and f.event is not None
        and f.event.local_address_lost is False
    ),
)
IN_GRACE = When("a hand-over began less than `handover_grace` ago", lambda f: f.in_grace)
NO_NEWS = When(
    "the event neither brings the first new address since, nor takes the address of a path that works",
    lambda f: not (f.brings_address and f.grace_is_for_known) and not (f.loses_address and f.situation.is_up),
)
NEW_ADDRESS = When("there is a new address", lambda f: f.brings_address)
ADDRESS_LOST = When("the path's own address is gone, or off the default route", lambda f: f.loses_address)
STANDBY_LEADS_ON = When(
    "the default route leads by its address now, or signaling is away and its address is as it was",
    lambda f: (
        f.event is not None
        and f.trigger is not Trigger.WAKE_UP
        and (f.event.standby_leads_on or (f.event.standby_untouched and not f.situation.signaling))
    ),
)

NOT_OPEN = When("no carrier is open", lambda f: not f.situation.is_open)
SILENT = When(
    f"the path has been silent for {RESTART_USEFUL_SECONDS} s or more",
    lambda f: f.situation.silent_for >= RESTART_USEFUL_SECONDS,
)
CANNOT_RESTART = When(
    "this end's engine cannot restart ICE (perdure's own can; a `transport` of yours may not)",
    lambda f: not f.situation.can_restart,
)
WORN = When(
    f"this carrier's ICE was restarted {MAX_RESTARTS_OF_CARRIER} times already",
    lambda f: f.situation.restarts >= MAX_RESTARTS_OF_CARRIER,
)

TAKES_NO_SPARE = When("the peer has one carrier at a time", lambda f: not f.situation.peer_takes_spare)
LIMIT_HALVED = When("half of this minute's restarts are spent", lambda f: f.limit.is_halved)
SHORT_LIVES = When(
    f"{SHORT_LIVES_FORGIVEN + 1} carriers in a row were lost within {SHORT_LIFE_SECONDS} s of their success",
    lambda f: f.carriers_short_lived,
)
ATTEMPTS_LEFT = When("attempts are left", lambda f: not f.is_last_attempt)
ATTEMPTS_SPENT = When("the attempts are spent", lambda f: f.attempts_spent)
ICE_FAILED = When("ICE has given up", lambda f: f.trigger is Trigger.ICE_FAILURE)
CARRIES_DATA = When("the path carries data", lambda f: f.carries_data)
QUALITY_TRIED = When("a restart for quality was tried less than 5 s, then 10 s … 60 s ago", lambda f: f.quality_tried)
ASKS_FOR_REBUILD = When("`rebuild()` was called", lambda f: f.asks_for_rebuild)


def because(why: DecisionReason, words: str) -> When:
    return When(words, lambda f: f.why is why)


WAIT_IS_OVER = because(DecisionReason.RETRY, "the wait is over")
READS_NETWORKS = When("the trigger was IP_ADDRESS_CHANGE or WAKE_UP", lambda f: f.trigger in _READS_NETWORKS)
