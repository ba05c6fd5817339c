"""Two registries in one process, joined as an application joins its own: by what signals say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from perdure import (
    ConnectionStateChanged,
    IceCandidate,
    IceRestartOffer,
    ProtocolError,
    State,
    TransportConfig,
    TubeRegistry,
)
from support.recorder import TIMEOUT, accept_echo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from perdure import ResourceLimits, RestartPolicy, SessionLimits, Signal, TunnelConnectionManager
    from perdure.core.actions import StateChanged
    from perdure.delivery import SignalHandler
    from perdure.streams.streams import Incoming
    from perdure.transport.base import Transport


SignalT = TypeVar("SignalT", bound="Signal")


class ApplicationEnd:
    """One registry, one of its tubes, and what the tube said."""

    def __init__(self, registry: TubeRegistry, tube_id: str, conversation_id: str | None = None) -> None:
        self.registry = registry
        self.tube_id = tube_id
        self.conversation_id = conversation_id
        self.other: ApplicationEnd | None = None
        self.signals: list[Signal] = []
        self.changes: list[StateChanged] = []
        self.answers: list[str] = []
        """What this end answered, in order."""
        self.refused: list[str] = []
        """Why descriptions were refused, such as that of an offer which gave way to the other end's."""
        self.on_signal: Callable[[Signal], Awaitable[None] | None] = lambda signal: None
        """Called after each signal was carried to the other end."""
        self.manager: TunnelConnectionManager
        self._heard = asyncio.Event()
        self._changed = asyncio.Event()

    def create(self, offer: str | None = None, handler: SignalHandler | None = None) -> None:
        """Create the tube; with a `handler` of its own, nothing that it says is carried to the other end."""
        self.manager = self.registry.create_tube(
            self.tube_id, self.conversation_id, offer=offer, signal_handler=handler or self._hear
        )
        self.manager.add_state_change_callback(self._note)

    async def reached(self, state: State, since: int = 0) -> StateChanged:
        """Wait for a change to `state` after the first `since` changes."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                for change in self.changes[since:]:
                    if change.after is state:
                        return change
                self._changed.clear()
                await self._changed.wait()

    async def heard(
        self, kind: type[SignalT], since: int = 0, *, where: Callable[[SignalT], bool] = lambda signal: True
    ) -> SignalT:
        """Wait for a signal of `kind` after the first `since` signals."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                for signal in self.signals[since:]:
                    if isinstance(signal, kind) and where(signal):
                        return signal
                self._heard.clear()
                await self._heard.wait()

    def states(self) -> list[str]:
        """The states that signals told, in order."""
        return [signal.after for signal in self.signals if isinstance(signal, ConnectionStateChanged)]

    def _note(self, change: StateChanged) -> None:
        self.changes.append(change)
        self._changed.set()

    async def _hear(self, signal: Signal) -> None:
        self.signals.append(signal)
        self._heard.set()
        await self._carry(signal)
        if (result := self.on_signal(signal)) is not None:
            await result

    async def _carry(self, signal: Signal) -> None:
        other = self.other
        if other is None or other.tube_id not in other.registry:
            return
        try:
            match signal:
                case IceCandidate():
                    other.manager.signaling.add_ice_candidate(signal.data)
                case IceRestartOffer(sdp=sdp):
                    answer = await other.manager.signaling.set_remote_description(sdp, "offer")
                    assert answer is not None
                    other.answers.append(answer)
                    await self.manager.signaling.set_remote_description(answer, "answer")
                case _:
                    pass
        except (ProtocolError, RuntimeError) as error:
            self.refused.append(str(error))


class ApplicationPair:
    """`here` begins a tube, `there` accepts it; each in a registry of its own, which echoes every stream."""

    def __init__(
        self,
        policy: RestartPolicy | None = None,
        session_limits: SessionLimits | None = None,
        limits: ResourceLimits | None = None,
        *,
        transport: Transport | None = None,
        incoming: Incoming | None = accept_echo,
    ) -> None:
        """`transport`: of the registry `here`."""
        self.registries = [
            TubeRegistry(
                policy, session_limits, limits, transport=each or TransportConfig(loopback=True), incoming=incoming
            )
            for each in (transport, None)
        ]
        self.here, self.there = self.ends("tube")

    def ends(self, name: str) -> tuple[ApplicationEnd, ApplicationEnd]:
        """The ends of one more tube."""
        here = ApplicationEnd(self.registries[0], name, f"conversation of {name}")
        there = ApplicationEnd(self.registries[1], name)
        here.other, there.other = there, here
        return here, there

    async def connect(
        self,
        here: ApplicationEnd | None = None,
        there: ApplicationEnd | None = None,
        *,
        handler: SignalHandler | None = None,
    ) -> None:
        """As an application does it: offer, answer, and both ends are connected. `handler`: instead of `here`'s."""
        here, there = here or self.here, there or self.there
        here.create(handler=handler)
        await self.join(here, there)

    async def join(self, here: ApplicationEnd, there: ApplicationEnd) -> None:
        """The same, where `here` has its tube already."""
        there.create(await here.manager.signaling.create_offer())
        there.answers.append(await there.manager.signaling.create_answer())
        await here.manager.signaling.set_remote_description(there.answers[0], "answer")
        await asyncio.gather(*(end.reached(State.CONNECTED) for end in (here, there)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for registry in self.registries:
            await registry.close_all()
