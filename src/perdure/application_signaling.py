"""Signaling that the application carries itself: `manager.signaling`.

Two ways to use it, one of them a tube:

1. `manager.run_signaling(send, messages)`: texts in both directions, all of it in one call at each end.
2. Step by step: `create_offer`, `create_answer`, `set_remote_description`, `add_ice_candidate`; the signals
   `ice_restart_offer` and `icecandidate` say what is to be sent.

Towards the tube it is a `SignalingChannel` like any other.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Literal, assert_never

from perdure.application_links import ApplicationLinks, SendText
from perdure.core.breaker import CircuitBreaker
from perdure.core.decision import RecoveryAction
from perdure.core.events import Started
from perdure.errors import CarrierError, PeerError, ProtocolError
from perdure.signaling.application import ApplicationChannel, describe, is_offer, read_candidate, read_description
from perdure.signaling.messages import Answer, Bye, Candidate, Message, Offer, Withdraw
from perdure.tube.arguments import check_callable, check_methods, check_type
from perdure.tube.clock import clock
from perdure.tube.environment import Endpoint
from perdure.wire import SESSION_ID_BYTES, SESSION_KEY_BYTES

if TYPE_CHECKING:
    from perdure.core.decision import Decision
    from perdure.tube import Driver, EventPublisher

MAX_UNSETTLED_MESSAGES = 64
"""A description and its candidates; beyond it the oldest goes."""

MAX_EARLY_CANDIDATES = 64
"""The peer's candidates that wait for their description; beyond it the oldest goes. A machine with 4 addresses has 8,
and a few more for each STUN and TURN server."""


class ApplicationSignaling:
    """One tube's, on the event loop's thread: `begin` it, make the tube with what that returns, and `bind` them."""

    __slots__ = (
        "_breaker",
        "_driver",
        "_early",
        "_first_offer",
        "_links",
        "_publisher",
        "_taken",
        "_unsettled",
        "_was_connected",
        "channel",
    )

    def __init__(self) -> None:
        self.channel = ApplicationChannel(self)
        """What the tube says goes in here."""
        self._driver: Driver
        self._publisher: EventPublisher
        self._first_offer: Offer | None = None
        self._was_connected = False
        self._taken = 0
        """The generation of the peer's last description that was taken; 0 before the first."""
        self._early: tuple[Candidate, ...] = ()
        self._breaker: CircuitBreaker | None = None
        """Since the engine failed, until it works."""
        self._unsettled: tuple[Message, ...] = ()
        """What was said in signals of the last negotiation: a link that comes later carries it too."""
        self._links: ApplicationLinks | None = None
        """From the first `run` on. While there is a link, what the tube says goes there instead of into signals."""

    def begin(self, *, is_initiator: bool, offer: str | None) -> Endpoint:
        """This end of a new session.

        Args:
            is_initiator: whether this end begins the session and makes the first offer.
            offer: the peer's first offer, where this end is given it at once. Then it is the acceptor.

        Raises:
            TypeError: an argument is of another type.
            ProtocolError: the offer is not one of perdure.
        """
        check_type("initiator", is_initiator, bool, "True or False")
        check_type("offer", offer, (str, NoneType), "a text, or None")
        if offer is not None:
            session_id, message = read_description(offer, "offer")
            self._first_offer = message if isinstance(message, Offer) else None
            return Endpoint(session_id, None, self.channel)
        if is_initiator:
            return Endpoint(os.urandom(SESSION_ID_BYTES), os.urandom(SESSION_KEY_BYTES), self.channel)
        return Endpoint(b"", None, self.channel)

    def bind(self, driver: Driver, publisher: EventPublisher) -> None:
        """Name the tube's other parts; before anything else."""
        self._driver, self._publisher = driver, publisher

    # All in one call.

    async def run(self, send: SendText, messages: AsyncIterable[str | bytes]) -> None:
        """Carry the tube's signaling over one link of the application, until that or the tube ends.

        The same call at both ends. A link that was lost and renewed is a second call: the tunnel lives on meanwhile.
        Often one end has not noticed the loss yet: there the second call ends the first, which returns. For a tube that
        has ended, or is closing, it returns at once.

        Args:
            send: sends one text, at most some 17 KiB, to the other end.
            messages: yields the texts that the other end's `send` sent, in order. The link must authenticate both ends:
                somebody who can alter the texts can take the tube over.

        Raises:
            TypeError: `send` is no async function, or `messages` no async iterator.
            Exception: whatever `send` or `messages` raised.
        """
        check_callable("send", send)
        check_methods("messages", messages, ("__aiter__",))
        if self._driver.end is not None or self._driver.is_closing:
            return
        if self._links is None:
            self._links = ApplicationLinks(self._driver, self.channel)
        for message in self._unsettled:
            self._links.send(message)
        self._unsettled = ()
        await self._links.run(send, messages, begin=self._begin_over_link)

    def _begin_over_link(self) -> None:
        """There is a link; the tube begins with the first one."""
        driver, first = self._driver, self._first_offer
        driver.run(connect=True)
        driver.feed(Started())
        if first is not None and first.generation > driver.core.generation:
            self._take_description(first)

    # Step by step.

    async def create_offer(self) -> str:
        """Begin to connect; the first offer, as a JSON text for the peer.

        Raises:
            RuntimeError: the tube is connected, is closing or has ended.
            PeerError: the other end makes the offer; or the engine failed again and again, and rests for a while.
            CarrierError: the engine made none: an ICE server's URL is bad, …
        """
        driver = self._driver
        driver.check_open()
        if driver.core.state.is_up:
            why = "it is connected; restart_ice() recovers its path"
            raise RuntimeError(f"tube {driver.tube_id!r} needs no first offer: {why}")
        driver.run(connect=False)
        return await self.offer(driver.feed(Started()))

    async def offer(self, decided: Decision | None) -> str:
        """The text of this end's offer, after the core `decided`. Raises as `create_offer`."""
        return await self._guarded(lambda: self._driver.offer(decided))

    async def create_answer(self) -> str:
        """Take the offer that this tube was created with; the answer, as a JSON text for the peer. Cancelling loses
        nothing.

        Raises:
            RuntimeError: the tube is closing or has ended, was created without an offer, or is connected.
            ProtocolError: the offer gave way to a later one.
            PeerError: the engine failed again and again, and is left alone for a while.
            CarrierError: the engine made no answer: it cannot read the offer, …
        """
        self._driver.check_open()
        tube_id = self._driver.tube_id
        if self._first_offer is None:
            if self._was_connected:
                raise RuntimeError(f"tube {tube_id!r} is connected, or was: its first offer is answered")
            raise RuntimeError(f"tube {tube_id!r} was created without an offer: there is nothing to answer")
        return await self._answer(self._first_offer)

    async def set_remote_description(self, sdp: str, kind: Literal["offer", "answer"]) -> str | None:
        """Take what the peer described: `kind` "answer" returns nothing, "offer" the answer, as a JSON text for the
        peer.

        Args:
            sdp: the JSON text that the peer's `create_offer`, `restart_ice` or `create_answer` returned, or this did.

        The same description twice is fine. Cancelling this loses nothing: the same offer gets the same answer.

        Raises:
            ValueError: `kind` is neither "offer" nor "answer".
            ProtocolError: no such text, not of this tube, of a negotiation that does not count any more, or an offer of
                this end where the answer to it is wanted.
            PeerError: the answer gave way to a newer negotiation.
            CarrierError: the engine made no answer: it cannot read the offer, …
            RuntimeError: the tube has ended.
        """
        self._driver.check_open()
        session_id, message = read_description(sdp, kind)
        if session_id != self._session_id and not (isinstance(message, Offer) and self._learn_session(session_id)):
            raise ProtocolError(f"the {kind} belongs to another tube")
        if isinstance(message, Offer):
            return await self._answer(message)
        core = self._driver.core
        if message.generation != core.generation or not core.carriers.negotiation.offered_here:
            raise ProtocolError(f"an answer to offer {message.generation}; the one that counts is {core.generation}")
        if is_offer(message.sdp) or self._is_own(message):
            raise ProtocolError("this is the offer of this end; the answer is what the other end makes of it")
        if self._taken != message.generation:
            self._take_description(message)
        return None

    def add_ice_candidate(self, candidate: Mapping[str, object] | str) -> bool:
        """Take a candidate of the peer, as its `icecandidate` signal's `data`; whether it may be of use still. One of
        a gone generation is no error: candidates come late. One that comes before its description waits for it.

        Raises:
            ProtocolError: it is not a candidate.
            RuntimeError: the tube has ended.
        """
        self._driver.check_open()
        message = read_candidate(candidate)
        generation = self._driver.core.generation
        if message.generation < generation:
            return False
        if message.generation == self._taken == generation:
            self._driver.signaling_message(message)
        else:
            self._early = (*self._early, message)[-MAX_EARLY_CANDIDATES:]
        return True

    def set_available(self, available: bool) -> None:
        """Say whether the peer can be told something now. While it cannot, no attempt is made, nor spent; but what is
        asked for goes through the tunnel itself while its path works."""
        self._driver.check_open()
        self.channel.set_available(available)

    # What the tube says.

    def said(self, message: Message) -> None:
        """For `ApplicationChannel`."""
        if self._links is not None and self._links.has_link:
            self._links.send(message)
            return
        earlier = () if isinstance(message, Offer | Answer) else self._unsettled
        self._unsettled = (*earlier, message)[-MAX_UNSETTLED_MESSAGES:]
        match message:
            case Offer(generation, _, restarts):
                if self._was_connected or not self._driver.descriptions.offer_is_awaited:
                    action = RecoveryAction.ICE_RESTART if restarts else RecoveryAction.REBUILD
                    self._publisher.offered(describe(self._session_id, message), generation, action)
            case Candidate():
                self._publisher.candidate_found(message)
            case Answer() | Withdraw() | Bye():
                pass  # who set the offer awaits the answer; a spare has a time limit; `channel_closed` says good-bye
            case _:
                assert_never(message)

    def connected(self) -> None:
        """The path works: nothing of its negotiation is needed any more."""
        self._was_connected = True
        self._first_offer = None
        self._unsettled = ()

    def ended(self) -> None:
        """The tube has ended: the link may end behind its last word."""
        self._first_offer = None
        self._early = ()
        self._unsettled = ()
        if self._links is not None:
            self._links.end()

    # Parts.

    @property
    def _session_id(self) -> bytes:
        return self._driver.carriers.session.session_id

    def _learn_session(self, session_id: bytes) -> bool:
        """Whether this end had no session yet, and this is it."""
        if self._session_id:
            return False
        self._driver.carriers.session.learn_id(session_id)
        return True

    async def _answer(self, offer: Offer) -> str:
        driver, generation = self._driver, offer.generation
        core = driver.core
        driver.run(connect=False)
        driver.feed(Started())
        if generation > core.generation:
            self._take_description(offer)
        if generation != core.generation or core.carriers.negotiation.offered_here:
            raise ProtocolError(f"offer {generation} gives way to {core.generation}")
        if core.state.is_up and generation != core.spare and not driver.descriptions.has(generation):
            raise ProtocolError(f"offer {generation} was answered, and the path works")
        return await self._guarded(lambda: driver.descriptions.wait(generation, for_offer=False))

    def _take_description(self, message: Offer | Answer) -> None:
        self._driver.signaling_message(message)
        if message.generation != self._driver.core.generation:
            return
        self._taken = message.generation
        early = self._early
        self._early = tuple(each for each in early if each.generation > message.generation)
        for candidate in early:
            if candidate.generation == message.generation:
                self._driver.signaling_message(candidate)

    def _is_own(self, message: Answer) -> bool:
        """Whether this end made what is in `message`."""
        last = self._driver.descriptions.last
        return last is not None and last.sdp == message.sdp

    async def _guarded(self, description: Callable[[], Awaitable[Offer | Answer]]) -> str:
        """The text of a description, unless this tube's engine has failed again and again: then it rests a while.

        Nothing else counts: not what a peer or the application said wrong, nor a network that is away.
        """
        breaker = self._breaker
        if breaker is not None and not breaker.allows(clock()):
            left = (breaker.open_until or clock()) - clock()
            text = f"tube {self._driver.tube_id!r} failed again and again; it is left alone for another {left:.0f} s"
            raise PeerError(text, reason="circuit open")
        try:
            made = await description()
        except CarrierError:
            self._breaker = self._breaker or CircuitBreaker()
            self._breaker.failed(clock())
            raise
        self._breaker = None
        return describe(self._session_id, made)
