"""The manager of one tube: what an application does with it, asks it, and is told by it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import replace
from types import NoneType
from typing import TYPE_CHECKING

from perdure.core.actions import StateChanged
from perdure.core.decision import Decision, Trigger
from perdure.core.events import Extended, RecoveryRequested, Used
from perdure.core.state import Reason, State
from perdure.delivery import SignalIterator
from perdure.streams.local_ports import LocalPorts
from perdure.streams.opener import StreamOpener
from perdure.tube import ConnectionMetrics
from perdure.tube.arguments import check_callable, check_type
from perdure.tube.metrics import metrics
from perdure.tube.reports import network_changed

if TYPE_CHECKING:
    from perdure.application_links import SendText
    from perdure.application_signaling import ApplicationSignaling
    from perdure.managed_tube import ManagedTube
    from perdure.streams.opener import ServerT
    from perdure.streams.target import AnyTarget
    from perdure.streams.tcp import TcpConnections
    from perdure.streams.transport import StreamTransport
    from perdure.transport.base import Path


class TunnelConnectionManager(StreamOpener):
    """Keeps one tube connected. `TubeRegistry.create_tube` makes it; its methods belong on the event loop's thread.

    Attributes:
        tube: its parts, for perdure's own code.
    """

    __slots__ = ("__weakref__", "_tcp_connections", "tube")

    def __init__(self, tube: ManagedTube, tcp_connections: TcpConnections) -> None:
        self.tube = tube
        self._tcp_connections = tcp_connections
        """Those of `listen`."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.tube_id!r} {self.state.value}>"

    @property
    def tube_id(self) -> str:
        return self.tube.tube_id

    @property
    def conversation_id(self) -> str | None:
        return self.tube.publisher.conversation_id

    @property
    def state(self) -> State:
        return self.tube.state

    @property
    def is_initiator(self) -> bool:
        """Whether this end began the session."""
        return self.tube.driver.carriers.session.is_initiator

    @property
    def is_open(self) -> bool:
        """Whether it has neither ended, nor begun to."""
        return self.tube.is_open

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What the policy decided last, the oldest first, at most 64; "nothing" included."""
        return self.tube.driver.core.decisions

    @property
    def end(self) -> StateChanged | None:
        """The last change, where the tube has FAILED or is CLOSED."""
        return self.tube.driver.end

    @property
    def metrics(self) -> ConnectionMetrics:
        """The tube's figures now."""
        return metrics(self.tube.driver, self.tube.publisher, self.tube.established_at)

    @property
    def path(self) -> Path | None:
        """The path in use: direct or relayed, its protocol, both addresses, and the round trip; `None` without one."""
        driver = self.tube.driver
        path = driver.carriers.path if self.state.is_up else None
        rtt = driver.core.liveness.rtt.srtt
        return path if path is None or rtt is None else replace(path, rtt=rtt)

    # For StreamOpener.

    async def _open_stream(self, target: AnyTarget) -> StreamTransport:
        self.tube.check_loop()
        if self.tube.driver.carriers.session.is_over:  # the peer has said so, and the tube is about to end
            await self.tube.wait_ended()
        return self.tube.open_stream(target)

    async def _listening(self, listen: Callable[[LocalPorts], Awaitable[ServerT]]) -> ServerT:
        self.tube.check_loop()
        return await listen(LocalPorts(self.tube.open_stream, self._tcp_connections, self.tube.tube_id))

    # Connecting.

    async def run_signaling(self, send: SendText, messages: AsyncIterable[str | bytes]) -> None:
        """Connect, and carry the tube's signaling over a link of the application, until that or the tube ends. The same
        call at both ends, and once more for each renewed link; the second call ends the first.

        Args:
            send: an async function that sends one text (JSON, at most some 17 KiB) to the other end.
            messages: an async iterator of the texts that the other end's `send` sent, in order. The link must
                authenticate both ends: somebody who can alter the texts can take the tube over.

        Raises:
            TypeError: `send` is no async function, or `messages` no async iterator.
            Exception: whatever `send` or `messages` raised.
        """
        self.tube.check_loop()
        await self.signaling.run(send, messages)

    @property
    def signaling(self) -> ApplicationSignaling:
        """The application's signaling, step by step.

        Raises:
            RuntimeError: the tube has perdure's own.
        """
        if (signaling := self.tube.signaling) is None:
            raise RuntimeError(f"tube {self.tube_id!r} has perdure's own signaling")
        return signaling

    def start(self) -> None:
        """Let the policy's timers run; with perdure's own signaling, also connect. Twice is fine. Raises `RuntimeError`
        where the tube has ended."""
        self.tube.driver.check_open()
        self.tube.driver.run(connect=self.tube.signaling is None)

    async def wait_connected(self) -> None:
        """Wait until streams flow. Cancelling this changes nothing.

        Raises:
            PeerError: the tube ended instead; `reason` is the name of its `Reason`.
        """
        self.tube.check_loop()
        while not self.state.is_up:
            if (end := self.end) is not None:
                raise self.tube.ended_error(end)
            await self.tube.changes.next()

    async def wait_ended(self) -> StateChanged:
        """Wait until the tube has FAILED or is CLOSED; the last change, with its reason."""
        return await self.tube.wait_ended()

    # Recovering.

    def report_network_change(self, change: Trigger, data: Mapping[str, object] | None = None) -> Decision | None:
        """Say that the network changed, or that somebody thinks so; what was decided, `None` where the tube has ended.

        Args:
            data: what is known: `has_address` (bool: whether there is a usable local address now; without it there
                is one), `is_new_address` (bool: it appeared within the last 2 s, so the engine cannot know it yet),
                `local_address_lost` (bool: the path's own address is gone, or leads elsewhere now; without it, it
                may), `slept_seconds` (for WAKE_UP), `detail` (a word for the log).

        Raises:
            ValueError: no change of a network, an unknown key, or a value of another type or out of its range.
        """
        return self.tube.driver.network_changed(network_changed(change, data or {}))

    async def restart_ice(self) -> str:
        """Recover the path now, or join the recovery that is under way; the offer. With the application's own signaling
        that is the JSON text for the peer, as of `signaling.create_offer`. Otherwise it is SDP, to be looked at: the
        tube has sent it.

        An ICE restart where there is a carrier, otherwise a new carrier. With the application's own signaling, step by
        step, the same offer comes as the signal `ice_restart_offer`: send it once. Cancelling this leaves the recovery
        running.

        Raises:
            RuntimeError: the tube has ended.
            PeerError: nothing can be offered now (no signaling, no address, or the other end makes the offer).
            CarrierError: the engine made no offer.
        """
        self.start()
        decided = self.tube.driver.feed(RecoveryRequested())
        if self.tube.signaling is not None:
            return await self.tube.signaling.offer(decided)
        return (await self.tube.driver.offer(decided)).sdp

    def rebuild(self) -> Decision | None:
        """Build a new carrier now, where one works; what was decided, `None` where the tube has ended. Streams go on.
        Where it cannot be (no signaling, no address, an attempt is under way) nothing is done; the decision says why.
        """
        return self.tube.driver.feed(RecoveryRequested(rebuild=True))

    # Its life.

    def update_activity(self) -> None:
        """Say that the tube is in use: the session timeout counts from now."""
        self.tube.driver.feed(Used())

    def relay_credentials_renewed(self) -> None:
        """Say that there are new TURN credentials, which are set already: a path through a TURN server of this end gets
        an allocation with them, on a carrier beside the one in use. Other paths go on as they are. A warm spare with
        such a path is closed, and another one takes its place."""
        self.tube.check_loop()
        self.tube.relay_credentials_renewed()

    def extend(self, seconds: float | None = None) -> None:
        """Let the tube live at least `seconds` from now, used or not; by default another `session_timeout`.

        Raises:
            TypeError, ValueError: `seconds` is no number, or not between 0 and 30 days.
        """
        check_type("seconds", seconds, (int, float, NoneType), "a number, or None")
        self.tube.driver.feed(Extended(seconds))

    async def shutdown(self, reason: Reason = Reason.CLOSED_LOCALLY, detail: str = "") -> None:
        """End the tube behind what was written: the peer is told, streams are reset, the carrier is closed. Twice is
        fine. Cancelling this leaves the tube ending by itself.

        Args:
            detail: a text for the peer and the log.

        Raises:
            TypeError, ValueError: `reason` is none of `CLOSE_REASONS`, or `detail` no text.
        """
        self.tube.begin_to_end(reason, detail)
        await self.tube.wait_ended()

    # What is told.

    def events(self) -> SignalIterator:
        """The tube's signals from now on, as an async iterator that ends with the tube. A reader that falls behind by
        more than 256 gets a `SignalsDropped` in their place."""
        iterator = SignalIterator()
        if self.end is not None:
            iterator.end()
        else:
            self.tube.publisher.add_iterator(iterator)
        return iterator

    def add_state_change_callback(self, callback: Callable[[StateChanged], object]) -> Callable[[], None]:
        """Call `callback`, plain or async, with each change of state; what is returned removes it."""
        check_callable("a callback", callback)
        return self.tube.publisher.add_state_callback(callback)

    def add_network_change_callback(self, callback: Callable[[Decision], object]) -> Callable[[], None]:
        """Call `callback`, plain or async, with each decision of the policy; what is returned removes it."""
        check_callable("a callback", callback)
        return self.tube.publisher.add_decision_callback(callback)
