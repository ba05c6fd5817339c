"""perdure's own engine with a tap on each carrier: the tube proves its session, and somebody else speaks on it.

Of what the tube says only HELLO, RESUME and CLOSE go out. Of what the gateway says the tube hears RESUME and CLOSE, and
the speaker everything else. The tube's own PING is answered here, so that it takes the carrier for alive.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from perdure.wire import Close, Hello, Ping, Pong, Resume, decode_message, encode_frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from perdure.ice_server import IceServer
    from perdure.transport.base import (
        Carrier,
        CarrierListener,
        IceState,
        LossReason,
        OpenChannel,
        Path,
        PathStatistics,
        Transport,
    )
    from perdure.wire import Frame


class Speaker(Protocol):
    """Who speaks on the carriers."""

    def described(self, sdp: str) -> None:
        """A carrier's offer is ready."""

    def begun(self, carrier: Tap, hello: bytes, greeting: bytes) -> None:
        """The session is proved on `carrier`. `hello`: empty where none was said on it."""

    def heard(self, frame: Frame) -> None:
        """The gateway said it on a carrier that is proved."""

    def writable(self) -> None:
        """A carrier has room again."""

    def gone(self, carrier: Tap) -> None:
        """The carrier was lost, or closed."""


class TappedTransport:
    """A `Transport`: `engine`'s carriers, on which `speaker` speaks."""

    def __init__(self, engine: Transport, speaker: Speaker) -> None:
        self._engine = engine
        self._speaker = speaker

    def offer(self, generation: int, listener: CarrierListener) -> Tap:
        tap = Tap(listener, self._speaker)
        tap.carrier = self._engine.offer(generation, tap)
        return tap

    def answer(self, generation: int, sdp: str, listener: CarrierListener) -> Tap:
        tap = Tap(listener, self._speaker)
        tap.carrier = self._engine.answer(generation, sdp, tap)
        return tap

    def set_ice_servers(self, servers: Sequence[IceServer]) -> None:
        self._engine.set_ice_servers(servers)

    def renew(self) -> None:
        self._engine.renew()


class Tap:
    """A `Carrier` to the tube, and a `CarrierListener` to the engine's carrier."""

    carrier: Carrier

    def __init__(self, listener: CarrierListener, speaker: Speaker) -> None:
        self._listener = listener
        self._speaker = speaker
        self._hello = b""
        self._greeting = b""
        self._peer_is_proved = False
        self.is_proved = False
        """Whether both ends have proved themselves on it."""
        self.is_gone = False

    def say(self, message: bytes) -> None:
        """Send it as it is."""
        self.carrier.send(message)

    # Carrier.

    @property
    def generation(self) -> int:
        return self.carrier.generation

    @property
    def can_restart(self) -> bool:
        return self.carrier.can_restart

    @property
    def has_room(self) -> bool:
        return self.carrier.has_room

    @property
    def local_address(self) -> str | None:
        return self.carrier.local_address

    def path(self) -> Path | None:
        return self.carrier.path()

    def limit_buffer(self, size: int) -> None:
        """The speaker's messages are longer than the tube's: the engine's own limit holds."""

    def apply_answer(self, sdp: str) -> None:
        self.carrier.apply_answer(sdp)

    def restart(self, generation: int) -> None:
        self.carrier.restart(generation)

    def answer_restart(self, generation: int, sdp: str) -> None:
        self.carrier.answer_restart(generation, sdp)

    def measure(self) -> None:
        self.carrier.measure()

    def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self.carrier.add_candidate(candidate, sdp_mid, sdp_mline)

    def send(self, message: bytes) -> None:
        passed = []
        for frame in decode_message(message):
            match frame:
                case Hello():
                    self._hello = encode_frame(frame)
                    passed.append(self._hello)
                case Resume() | Close():
                    passed.append(encode_frame(frame))
                case Ping(token):
                    answer = encode_frame(Pong(token))
                    asyncio.get_running_loop().call_soon(self._tell, answer)
                case _:
                    pass
        if passed:
            self._greeting = self._greeting or b"".join(passed)
            self.carrier.send(b"".join(passed))
            self._judge()

    def kill(self) -> None:
        self.carrier.kill()

    def close(self) -> Awaitable[None] | None:
        self._end()
        return self.carrier.close()

    # CarrierListener.

    def carrier_description(self, generation: int, sdp: str) -> None:
        self._speaker.described(sdp)
        self._listener.carrier_description(generation, sdp)

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self._listener.carrier_candidate(generation, candidate, sdp_mid, sdp_mline)

    def carrier_opened(self, generation: int, channel: OpenChannel) -> None:
        self._listener.carrier_opened(generation, channel)

    def carrier_message(self, generation: int, message: bytes) -> None:
        for frame in decode_message(message):
            match frame:
                case Resume():
                    self._peer_is_proved = True
                    self._tell(encode_frame(replace(frame, positions=())))
                    self._judge()
                case Close():
                    self._tell(encode_frame(frame))
                case _ if self.is_proved:
                    self._speaker.heard(frame)
                case _:
                    pass

    def carrier_writable(self, generation: int) -> None:
        self._listener.carrier_writable(generation)
        self._speaker.writable()

    def carrier_ice_state(self, generation: int, state: IceState) -> None:
        self._listener.carrier_ice_state(generation, state)

    def carrier_measured(self, generation: int, statistics: PathStatistics) -> None:
        self._listener.carrier_measured(generation, statistics)

    def carrier_lost(self, generation: int, reason: LossReason, detail: str) -> None:
        self._end()
        self._listener.carrier_lost(generation, reason, detail)

    def _tell(self, message: bytes) -> None:
        if not self.is_gone:
            self._listener.carrier_message(self.generation, message)

    def _judge(self) -> None:
        if self._greeting and self._peer_is_proved and not self.is_proved and not self.is_gone:
            self.is_proved = True
            self._speaker.begun(self, self._hello, self._greeting)

    def _end(self) -> None:
        if not self.is_gone:
            self.is_gone = True
            self._speaker.gone(self)
