"""Two cores, the signaling between them and the path under them, stepped in virtual time.

The path knows one thing: which network it was agreed in. When an end's network moves, what was agreed before carries
nothing any more, until both ends agree again: by a restart of the same carrier, or by a new one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Literal

from core.cores import sdp
from perdure.config import RestartPolicy, SessionLimits
from perdure.core.actions import (
    AnswerRestart,
    ApplyAnswer,
    CloseCarrier,
    KeepAlive,
    MakeAnswer,
    MakeOffer,
    Probe,
    RestartIce,
    WithdrawOffer,
)
from perdure.core.connection import Connection
from perdure.core.decision import Decision
from perdure.core.events import (
    AnswerReceived,
    CarrierLost,
    CarrierMade,
    NetworkChanged,
    OfferReceived,
    OfferWithdrawn,
    PathEvidence,
    PeerSwitched,
    RttMeasured,
    SessionResumed,
    SignalingChanged,
    SpareOpened,
    Started,
)
from perdure.core.state import State

if TYPE_CHECKING:
    from perdure.core.actions import Action
    from perdure.core.events import Event

PATH_DELAY = 0.02
"""Seconds that a message takes over the path."""

CHECKS_DELAY = 0.05
"""Seconds from an applied answer until ICE and the session's handshake are through."""

SEND_INTERVAL = 0.1

MAX_TURNS = 200_000


@dataclass
class Signaling:
    """Delivers in order, each message after `delay` to `delay + jitter`, and loses some; one for each world."""

    delay: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    losses_left: int = 0
    random: Random = field(default_factory=lambda: Random(1))

    def fate(self) -> float | None:
        """Seconds until it arrives; `None`: never."""
        if self.losses_left and self.random.random() < self.loss:
            self.losses_left -= 1
            return None
        return self.delay + self.jitter * self.random.random()


class End:
    """A core with what a driver and a session do for it."""

    def __init__(
        self, world: World, *, initiator: bool, policy: RestartPolicy, restarts_ice: bool, can_restart: bool
    ) -> None:
        self.core = Connection(policy, SessionLimits(), initiator=initiator, random=Random(not initiator), now=0.0)
        self.negotiations = 0
        """Offers of this end."""
        self.decisions: list[Decision] = []
        self.peer: End
        self._world = world
        self._restarts_ice = restarts_ice
        self._can_restart = can_restart
        self._ufrag = f"{'initiator' if initiator else 'acceptor'}0"
        self._arrives_at = 0.0
        self._has_signaling = True
        self._waiting: list[OfferReceived | AnswerReceived | OfferWithdrawn] = []
        self.carrier = 0
        self.spare = 0
        self.old = 0
        self.retired = 0
        """The one before that."""
        self.has_said_resume_on = 0
        """The spare on which the peer may go on."""
        self.has_address = True
        self._last_heard_at: float | None = None
        self._awaiting_since: float | None = None

    def feed(self, event: Event) -> None:
        self._carry_out(self.core.handle_event(event, self._world.now))

    def serve(self) -> None:
        if self.carrier:
            self.feed(self._evidence())
        self._carry_out(self.core.handle_timeout(self._world.now))

    def send(self) -> None:
        """A message that waits for its acknowledgement."""
        if not self.carrier or self.core.state is State.CONNECTING:
            return
        if self._awaiting_since is None:
            self._awaiting_since = self._world.now
        sent_at, carrier = self._world.now, self.carrier
        if self._world.carries(carrier):
            self._world.after(PATH_DELAY, lambda: self._arrive(carrier, sent_at))
        self.feed(self._evidence())

    def _arrive(self, carrier: int, sent_at: float) -> None:
        if not self._world.carries(carrier):
            return
        self.peer._hear(carrier)
        self._world.after(PATH_DELAY, lambda: self._acknowledged(carrier, sent_at))

    def _acknowledged(self, carrier: int, sent_at: float) -> None:
        if self._world.carries(carrier) and self.carrier == carrier:
            self._awaiting_since = None
            self.feed(RttMeasured(carrier, self._world.now - sent_at))
            self._hear(carrier)

    def _hear(self, carrier: int) -> None:
        if self.carrier == carrier:
            self._last_heard_at = self._world.now
            self.feed(self._evidence())

    def _evidence(self) -> PathEvidence:
        return PathEvidence(self.carrier, self._last_heard_at, self._awaiting_since)

    def opened(self, carrier: int) -> None:
        """Both ends can use it; on a spare each hears the other's RESUME a moment later."""
        if self.carrier == carrier:
            self.feed(SessionResumed(carrier))
        elif self.spare == carrier:
            self.has_said_resume_on = carrier
            self.feed(SpareOpened(carrier))
            if self.spare == carrier:
                self._world.after(PATH_DELAY, lambda: self._switch(carrier))

    def _switch(self, carrier: int) -> None:
        if self.spare != carrier or not self._world.carries(carrier):
            return
        self._retire(self.carrier)
        self.carrier, self.spare = carrier, 0
        self._last_heard_at = self._awaiting_since = None
        self.feed(SessionResumed(carrier))
        if self.old:
            old = self.old
            self._world.after(PATH_DELAY, lambda: self.feed(PeerSwitched(old)))

    def _carry_out(self, actions: list[Action]) -> None:
        world = self._world
        for action in actions:
            match action:
                case MakeOffer(generation, cause, is_spare):
                    self._open(generation, is_spare)
                    self._offer(OfferReceived(generation, self._describe(), 0, cause.value if cause else ""))
                case RestartIce(generation, carrier, cause):
                    assert self._can_restart
                    self._offer(OfferReceived(generation, self._describe(), carrier, cause.value))
                case MakeAnswer(generation, _, is_spare):
                    self._open(generation, is_spare)
                    self._say(AnswerReceived(generation, self._describe()))
                case AnswerRestart(generation):
                    assert self._can_restart
                    self._say(AnswerReceived(generation, self._describe() if self._restarts_ice else sdp(self._ufrag)))
                case ApplyAnswer(generation):
                    carrier = generation if generation == self.spare else self.carrier
                    world.after(CHECKS_DELAY, lambda carrier=carrier: world.agreed(carrier))  # type: ignore[misc]
                case CloseCarrier(generation):
                    self._close(generation)
                case WithdrawOffer(generation):
                    self._say(OfferWithdrawn(generation))
                case Probe() | KeepAlive():
                    world.after(0.0, self.send)
                case Decision():
                    self.decisions.append(action)
                case _:
                    pass

    def _open(self, carrier: int, is_spare: bool) -> None:
        if is_spare:
            assert self.carrier, "beside what?"
            if self.spare:  # it gave way, and is read like the one before
                assert self.has_said_resume_on == self.spare, "a spare is left open"
                self._retire(self.spare)
            self.spare = carrier
        else:
            assert not self.carrier, "a carrier is left open"
            self.carrier = carrier
            self._last_heard_at = self._awaiting_since = None
        self.feed(CarrierMade(carrier, self._can_restart))

    def _retire(self, carrier: int) -> None:
        """It is read on. The one before is closed, as the core says a moment later."""
        self.retired, self.old = self.old, carrier

    def _close(self, gone: int) -> None:
        assert gone in (self.carrier, self.spare, self.old, self.retired), "it closes what there is not"
        if gone == self.carrier:
            self.carrier = 0
        elif gone == self.spare:
            self.spare = 0
        elif gone == self.old:
            self.old = 0
        if self._world.carries(gone):
            self._world.after(PATH_DELAY, lambda: self.peer.feed(CarrierLost(gone, "closed there")))

    def _describe(self) -> str:
        self._ufrag += "x"
        return sdp(self._ufrag)

    def _offer(self, offer: OfferReceived) -> None:
        self.negotiations += 1
        self._say(offer)

    def lose_signaling(self, seconds: float) -> None:
        """What either end says meanwhile arrives afterwards."""
        self._has_signaling = False
        self.feed(SignalingChanged(False))
        self._world.after(seconds, self._regain_signaling)

    def _regain_signaling(self) -> None:
        self._has_signaling = True
        self.feed(SignalingChanged(True))
        self.deliver_waiting()
        self.peer.deliver_waiting()

    def _say(self, message: OfferReceived | AnswerReceived | OfferWithdrawn) -> None:
        delay = self._world.signaling.fate()
        if delay is not None:
            self._arrives_at = max(self._arrives_at, self._world.now + delay)
            self._world.after(self._arrives_at - self._world.now, lambda: self._deliver(message))

    def _deliver(self, message: OfferReceived | AnswerReceived | OfferWithdrawn) -> None:
        self._waiting.append(message)
        self.deliver_waiting()

    def deliver_waiting(self) -> None:
        while self._waiting and self._has_signaling and self.peer._has_signaling:
            self.peer.feed(self._waiting.pop(0))


class World:
    """Both ends, CONNECTED at the beginning.

    Args:
        restarts_ice: `False`: both ends answer an ICE restart with their old credentials.
        unable: the ends whose engine cannot restart ICE, and says so.
    """

    def __init__(
        self,
        signaling: Signaling | None = None,
        *,
        policy: RestartPolicy | None = None,
        restarts_ice: bool = True,
        unable: Sequence[Literal["acceptor", "initiator"]] = (),
    ) -> None:
        self.now = 0.0
        self.network = 0
        """Counts the moves of either end's network."""
        self.signaling = Signaling()
        self._agreed_in: dict[int, int] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._turn = 0
        policy = policy or RestartPolicy()
        self.acceptor, self.initiator = (
            End(
                self,
                initiator=name == "initiator",
                policy=policy,
                restarts_ice=restarts_ice,
                can_restart=name not in unable,
            )
            for name in ("acceptor", "initiator")
        )
        self.ends = (self.acceptor, self.initiator)
        self.acceptor.peer, self.initiator.peer = self.initiator, self.acceptor
        for end in self.ends:
            end.feed(SignalingChanged(True))
            end.feed(Started())
        self.after(SEND_INTERVAL, self._send)
        self.run(1.0)
        assert self.is_well, "the first set-up did not work"
        for end in self.ends:
            end.negotiations = 0
            end.decisions.clear()
        self.signaling = signaling or self.signaling

    @property
    def is_well(self) -> bool:
        """Both ends CONNECTED on the same carrier, which carries data."""
        cores = [end.core for end in self.ends]
        return (
            all(core.state is State.CONNECTED for core in cores)
            and cores[0].carrier == cores[1].carrier
            and self.carries(cores[0].carrier)
        )

    @property
    def negotiations(self) -> int:
        """Offers of both ends since the beginning."""
        return sum(end.negotiations for end in self.ends)

    @property
    def states(self) -> list[State]:
        return [end.core.state for end in self.ends]

    def move(self, event: Event, *ends: Literal["acceptor", "initiator"], apart: float = 0.0) -> None:
        """The network moves, and the ends learn of it, each that long after the one before."""
        self.network += 1
        self.tell(event, *ends, apart=apart)

    def tell(self, event: Event, *ends: Literal["acceptor", "initiator"], apart: float = 0.0) -> None:
        for place, name in enumerate(ends):
            end = self.acceptor if name == "acceptor" else self.initiator
            if isinstance(event, NetworkChanged) and event.has_address is not None:
                end.has_address = event.has_address
            self.after(place * apart, lambda end=end: end.feed(event))  # type: ignore[misc]

    def carries(self, carrier: int) -> bool:
        is_online = all(end.has_address for end in self.ends)
        return carrier != 0 and is_online and self._agreed_in.get(carrier) == self.network

    def agreed(self, carrier: int) -> None:
        """Both ends know each other's candidates for the network as it is now."""
        if carrier and all(carrier in (end.carrier, end.spare) and end.has_address for end in self.ends):
            self._agreed_in[carrier] = self.network
            for end in self.ends:
                end.opened(carrier)

    def after(self, delay: float, call: Callable[[], None]) -> None:
        self._turn += 1
        heapq.heappush(self._due, (self.now + delay, self._turn, call))

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(MAX_TURNS):
            deadlines = [(at, end) for end in self.ends if (at := end.core.next_deadline()) is not None]
            at, end = min(deadlines, key=lambda pair: pair[0], default=(float("inf"), None))
            if min(at, self._due[0][0]) > until:
                self.now = until
                return
            if self._due[0][0] <= at:
                self.now, _, call = heapq.heappop(self._due)
                call()
            elif end is not None:
                self.now = max(self.now, at)
                end.serve()
        raise AssertionError("the world spins")

    def run_until_well(self, seconds: float, *, settled: float = 10.0) -> float:
        """Seconds until both ends are well, and stay so for `settled`; at most `seconds`, or it fails."""
        began_at, well_since = self.now, None
        while self.now < began_at + seconds + settled:
            if not self.is_well:
                well_since = None
            elif well_since is None:
                well_since = self.now
            elif self.now >= well_since + settled:
                return well_since - began_at
            self.run(0.05)
        raise AssertionError(f"{self.states} on {[end.core.carrier for end in self.ends]}")

    def _send(self) -> None:
        for end in self.ends:
            end.send()
        self.after(SEND_INTERVAL, self._send)
