"""A carrier that only gathers candidates, and what it finds out about TURN servers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from perdure.config import TransportConfig
from perdure.transport.rtc import RtcTransport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

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
        self.revivals = 0
        self.awaited: Awaitable[None] | None = None
        """What carriers that begin wait for."""
        self.transport.tell_of_turn_servers(self)
        self.gatherer = Gatherer()
        self.carrier = self.transport.offer(1, self.gatherer)

    def turn_server_failed(self, failure: ServerFailure) -> None:
        if failure.is_news:
            self.failures.append(failure)

    def turn_servers_revived(self) -> None:
        self.revivals += 1

    def turn_credentials_awaited(self) -> Awaitable[None] | None:
        return self.awaited

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
