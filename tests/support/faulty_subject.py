"""perdure with a planted fault, for the conformance peer: `python -m support.faulty_subject FAULT`.

Faults sit between perdure's tube and its engine, or between the tube and the texts: perdure itself is as it is.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from perdure.config import TransportConfig
from perdure.session.handshake import channel_binding, ownership_proof
from perdure.transport.rtc import RtcTransport
from perdure.wire import (
    Ack,
    Close,
    Data,
    Fin,
    Frame,
    Gone,
    Hello,
    Open,
    Pong,
    Resume,
    Signal,
    Unknown,
    decode_message,
    encode_frame,
)
from perdure_lab.conformance.subject import lines, serve, write_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from perdure.ice_server import IceServer
    from perdure.transport.base import Carrier, CarrierListener, OpenChannel

AMPLE = 2**40


class Fault:
    """None: what a fault alters, it overrides."""

    key = b""
    """Of the session, once HELLO has come."""

    def said(self, frame: Frame) -> list[Frame]:
        """What becomes of a frame that perdure says."""
        return [frame]

    def heard(self, frame: Frame, carrier: FaultyCarrier) -> list[Frame]:
        """What becomes of a frame that it is told."""
        return [frame]

    def written(self, text: dict[str, Any]) -> dict[str, Any]:
        return text

    def read(self, line: bytes) -> bytes | None:
        """`None`: it ignores the text."""
        return line


class IgnoresCredit(Fault):
    """Sends as much as it has."""

    def heard(self, frame: Frame, carrier: FaultyCarrier) -> list[Frame]:
        return [replace(frame, window=AMPLE)] if isinstance(frame, Open) else [frame]


class SendsOnce(Fault):
    """Never sends a byte again."""

    def __init__(self) -> None:
        self._sent: dict[int, int] = {}

    def said(self, frame: Frame) -> list[Frame]:
        if not isinstance(frame, Data):
            return [frame]
        sent = self._sent.get(frame.stream_id, 0)
        end = frame.offset + len(frame.payload)
        self._sent[frame.stream_id] = max(sent, end)
        fresh = frame.payload[max(0, sent - frame.offset) :]
        return [Data(frame.stream_id, end - len(fresh), fresh)] if fresh else []


class CountsTwice(Fault):
    """Takes bytes that it has already for new ones."""

    def __init__(self) -> None:
        self._received: dict[int, int] = {}

    def heard(self, frame: Frame, carrier: FaultyCarrier) -> list[Frame]:
        if not isinstance(frame, Data):
            return [frame]
        received = self._received.get(frame.stream_id, 0)
        self._received[frame.stream_id] = received + len(frame.payload)
        return [Data(frame.stream_id, received, frame.payload)]


class TakesWrongProofs(Fault):
    """Lets anybody resume the session."""

    def heard(self, frame: Frame, carrier: FaultyCarrier) -> list[Frame]:
        if not isinstance(frame, Resume) or not self.key:
            return [frame]
        proof = ownership_proof(self.key, frame.session_id, frame.generation, carrier.binding, by_initiator=True)
        return [replace(frame, proof=proof)]


class AnswersNoPing(Fault):
    def said(self, frame: Frame) -> list[Frame]:
        return [] if isinstance(frame, Pong) else [frame]


class AcknowledgesNothing(Fault):
    def said(self, frame: Frame) -> list[Frame]:
        return [] if isinstance(frame, Ack) else [frame]


class SaysNoGone(Fault):
    def said(self, frame: Frame) -> list[Frame]:
        return [] if isinstance(frame, Gone) else [frame]


class SkipsNothing(Fault):
    """Takes frames of later versions for a breach of the protocol."""

    def heard(self, frame: Frame, carrier: FaultyCarrier) -> list[Frame]:
        if isinstance(frame, Unknown):
            carrier.kill()
        return [frame]


class OverlooksBreaches(Fault):
    """Drops what comes behind a FIN, and goes on."""

    def __init__(self) -> None:
        self._ended: set[int] = set()

    def heard(self, frame: Frame, carrier: FaultyCarrier) -> list[Frame]:
        if isinstance(frame, Fin):
            self._ended.add(frame.stream_id)
        return [] if isinstance(frame, Data) and frame.stream_id in self._ended else [frame]


class IgnoresClose(Fault):
    def heard(self, frame: Frame, carrier: FaultyCarrier) -> list[Frame]:
        return [] if isinstance(frame, Close) else [frame]


class LosesSignals(Fault):
    """Nothing of signaling gets through the carrier, either way: what is said so goes by the other way alone."""

    def said(self, frame: Frame) -> list[Frame]:
        return [] if isinstance(frame, Signal) else [frame]

    def heard(self, frame: Frame, carrier: FaultyCarrier) -> list[Frame]:
        return self.said(frame)


class MissesNothing(Fault):
    """Never says that a text is missing."""

    def written(self, text: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in text.items() if name != "missing"}


class TakesNoNumbers(Fault):
    """Acknowledges no text."""

    def written(self, text: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in text.items() if name != "ack"}


class KnowsItsFieldsOnly(Fault):
    """Refuses texts with others."""

    def read(self, line: bytes) -> bytes | None:
        return None if b'"later"' in line else line


class DiesOfNonsense(Fault):
    def read(self, line: bytes) -> bytes | None:
        json.loads(line)
        return line


class OpensStreams(Fault):
    """Opens one of its own."""

    def said(self, frame: Frame) -> list[Frame]:
        return [frame, Open(2, 0, b"echo.test:7")] if isinstance(frame, Ack | Pong) else [frame]


class DiesOfClose(Fault):
    def heard(self, frame: Frame, carrier: FaultyCarrier) -> list[Frame]:
        if isinstance(frame, Close):
            os._exit(3)
        return [frame]


class RestartsNames(Fault):
    """Names the generation of the last offer in RESUME, and not that of the carrier: it counts from 3 again."""

    def said(self, frame: Frame) -> list[Frame]:
        return [replace(frame, generation=3)] if isinstance(frame, Resume) else [frame]


FAULTS: dict[str, type[Fault]] = {
    each.__name__: each
    for each in (
        IgnoresCredit,
        SendsOnce,
        CountsTwice,
        TakesWrongProofs,
        AnswersNoPing,
        AcknowledgesNothing,
        SaysNoGone,
        SkipsNothing,
        OverlooksBreaches,
        IgnoresClose,
        LosesSignals,
        MissesNothing,
        TakesNoNumbers,
        KnowsItsFieldsOnly,
        DiesOfNonsense,
        RestartsNames,
        OpensStreams,
        DiesOfClose,
    )
}


class FaultyTransport:
    """A `Transport`: the engine's carriers, with a fault in each."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._engine = RtcTransport(TransportConfig(loopback=True))

    def offer(self, generation: int, listener: CarrierListener) -> FaultyCarrier:
        carrier = FaultyCarrier(listener, self._fault)
        carrier.carrier = self._engine.offer(generation, carrier)
        return carrier

    def answer(self, generation: int, sdp: str, listener: CarrierListener) -> FaultyCarrier:
        carrier = FaultyCarrier(listener, self._fault)
        carrier.carrier = self._engine.answer(generation, sdp, carrier)
        return carrier

    def set_ice_servers(self, servers: Sequence[IceServer]) -> None:
        self._engine.set_ice_servers(servers)

    def renew(self) -> None:
        self._engine.renew()


class FaultyCarrier:
    """A `Carrier` to the tube, and a `CarrierListener` to the engine's carrier."""

    carrier: Carrier

    def __init__(self, listener: CarrierListener, fault: Fault) -> None:
        self._listener = listener
        self._fault = fault
        self.binding = b""

    def __getattr__(self, name: str) -> Any:
        """All that the fault leaves alone."""
        return getattr(self._listener if name.startswith("carrier_") else self.carrier, name)

    def send(self, message: bytes) -> None:
        frames = [each for frame in decode_message(message) for each in self._fault.said(frame)]
        if frames:
            self.carrier.send(b"".join(map(encode_frame, frames)))

    def kill(self) -> None:
        self.carrier.kill()

    def close(self) -> Awaitable[None] | None:
        return self.carrier.close()

    def carrier_opened(self, generation: int, channel: OpenChannel) -> None:
        self.binding = channel_binding(channel.local_certificate, channel.remote_certificate)
        self._listener.carrier_opened(generation, channel)

    def carrier_message(self, generation: int, message: bytes) -> None:
        try:
            frames = list(decode_message(message))
        except Exception:
            self._listener.carrier_message(generation, message)  # which is perdure's to refuse
            return
        told: list[Frame] = []
        for frame in frames:
            if isinstance(frame, Hello):
                self._fault.key = frame.key
            told += self._fault.heard(frame, self)
        if told:
            self._listener.carrier_message(generation, b"".join(map(encode_frame, told)))


async def main(fault: Fault) -> None:
    async def send(text: str) -> None:
        await write_line(json.dumps(fault.written(json.loads(text))))

    async def texts() -> AsyncIterator[bytes]:
        async for line in lines():
            if (read := fault.read(line)) is not None:
                yield read

    await serve(FaultyTransport(fault), send, texts())


if __name__ == "__main__":
    asyncio.run(main(FAULTS[sys.argv[1]]()))
