"""What hears of one tube's carriers and path: its driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perdure.core.connection import Connection
    from perdure.core.events import Event
    from perdure.signaling.in_band import InBandMessage


class PathListener(Protocol):
    """What hears of the path: the tube's driver."""

    tube_id: str

    @property
    def core(self) -> Connection:
        """To be read."""

    def feed(self, event: Event) -> object:
        """Tell the core."""

    def rearm(self) -> None:
        """`CarrierSession.next_deadline` may have changed."""

    def described(self, generation: int, sdp: str) -> None:
        """The carrier's offer or answer is to be sent."""

    def candidate_found(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        """A candidate is to be sent."""

    def signaling_message(self, message: InBandMessage) -> None:
        """The peer said this of signaling through a carrier."""

    def carrier_gone(self, generation: int, why: str) -> None:
        """The engine, or the session, gave a carrier up."""
