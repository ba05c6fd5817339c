"""Two listeners of carriers on the real engine, which signal to each other in this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from perdure.config import TransportConfig
from perdure.session import channel_binding
from perdure.transport.rtc import RtcTransport

if TYPE_CHECKING:
    from perdure.transport.base import Carrier, IceState, LossReason, OpenChannel, PathStatistics

TIMEOUT = 20.0

OFFER = "a=setup:actpass"
"""What only an offer says (RFC 8842 §5.2)."""


class Peer:
    """A listener that signals to the other one directly and records what it hears.

    As in a tube, the initiator holds to its own restart and does not hear the other's.
    """

    def __init__(self, transport: RtcTransport, *, initiator: bool = True) -> None:
        self.transport = transport
        self.initiator = initiator
        self.other: Peer | None = None
        self.carrier: Carrier | None = None
        self.restarting = 0
        self.ignored = 0
        self.binding: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[LossReason] = asyncio.get_running_loop().create_future()
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.measured: asyncio.Queue[PathStatistics] = asyncio.Queue()
        self.negotiated = asyncio.Event()
        self.candidate = asyncio.Event()
        self.writable = asyncio.Event()
        self.descriptions: list[tuple[int, str]] = []
        self.candidates: list[tuple[int, str]] = []

    def offer(self, generation: int) -> None:
        self.carrier = self.transport.offer(generation, self)

    def restart(self, generation: int) -> None:
        assert self.carrier is not None
        self.restarting = generation
        self.carrier.restart(generation)

    def hear(self, generation: int, sdp: str) -> None:
        if OFFER not in sdp:
            assert self.carrier is not None
            if generation >= self.restarting:
                self.restarting = 0
                self.carrier.apply_answer(sdp)
                self.negotiated.set()
        elif self.carrier is None:
            self.carrier = self.transport.answer(generation, sdp, self)
        elif self.restarting and self.initiator:
            self.ignored = generation
        else:
            self.restarting = 0
            self.carrier.answer_restart(generation, sdp)

    async def gathered(self, generation: int) -> None:
        """Wait for a candidate of `generation`."""
        while generation not in [told for told, _ in self.candidates]:
            self.candidate.clear()
            await self.candidate.wait()

    def carrier_description(self, generation: int, sdp: str) -> None:
        assert generation not in [told for told, _ in self.candidates], "candidates come after the description"
        self.descriptions.append((generation, sdp))
        assert self.other is not None
        self.other.hear(generation, sdp)
        if OFFER not in sdp:
            self.negotiated.set()

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self.candidates.append((generation, candidate))
        self.candidate.set()
        if self.other is not None and self.other.carrier is not None and self.other.ignored != generation:
            self.other.carrier.add_candidate(candidate, sdp_mid, sdp_mline)

    def carrier_opened(self, generation: int, channel: OpenChannel) -> None:
        self.binding.set_result(channel_binding(channel.local_certificate, channel.remote_certificate))
        self.negotiated.clear()

    def carrier_message(self, generation: int, message: bytes) -> None:
        assert generation == 3
        self.messages.put_nowait(message)

    def carrier_writable(self, generation: int) -> None:
        self.writable.set()

    def carrier_ice_state(self, generation: int, state: IceState) -> None:
        pass

    def carrier_measured(self, generation: int, statistics: PathStatistics) -> None:
        assert generation == 3
        self.measured.put_nowait(statistics)

    def carrier_lost(self, generation: int, reason: LossReason, detail: str) -> None:
        assert generation == 3
        self.lost.set_result(reason)


class Peers:
    def __init__(self) -> None:
        transport = RtcTransport(TransportConfig(loopback=True))
        self.transport = transport
        self.offerer, self.answerer = Peer(transport), Peer(transport, initiator=False)
        self.offerer.other, self.answerer.other = self.answerer, self.offerer

    async def open(self) -> tuple[Carrier, Carrier]:
        self.offerer.offer(3)
        async with asyncio.timeout(TIMEOUT):
            bindings = await asyncio.gather(self.offerer.binding, self.answerer.binding)
        assert bindings[0] == bindings[1]
        assert self.offerer.carrier is not None
        assert self.answerer.carrier is not None
        return self.offerer.carrier, self.answerer.carrier

    def close(self) -> None:
        for peer in (self.offerer, self.answerer):
            if peer.carrier is not None:
                peer.carrier.close()
