"""A carrier that only gathers candidates, and what it finds out about TURN servers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from perdure.config import TransportConfig
from perdure.transport.rtc import RtcTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure import IceServer
    from perdure.turn.pool import ServerFailure


class Gatherer:
    """A listener of carriers that keeps relayed candidates."""

    def __init__(self) -> None:
        self.relayed: list[str] = []

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        if " typ relay " in candidate:
            self.relayed.append(candidate)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Ends:
    """A transport with one carrier that gathers, and what it told of its TURN servers."""

    def __init__(self, servers: list[IceServer], turn_ca: str | None = None) -> None:
        self.transport = RtcTransport(TransportConfig(tuple(servers), loopback=True, turn_ca=turn_ca))
        self.failures: list[ServerFailure] = []
        self.transport.tell_server_failures(self.failures.append)
        self.gatherer = Gatherer()
        self.carrier = self.transport.offer(1, self.gatherer)

    @property
    def sentences(self) -> list[str]:
        return [failure.sentence(None) for failure in self.failures]


@contextlib.contextmanager
def gathering(servers: list[IceServer], **options: str) -> Iterator[Ends]:
    ends = Ends(servers, **options)
    try:
        yield ends
    finally:
        ends.carrier.close()
