"""Who hears of the streams of a tube's session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perdure.session import StreamEvent


class StreamConsumer(Protocol):
    """What hears of the session's streams. None of these may raise."""

    def stream_event(self, event: StreamEvent) -> None:
        """Something happened to one stream."""

    def stream_forgotten(self, stream_id: int) -> None:
        """The stream has ended both ways, and the peer knows: no event follows."""

    def session_ended(self) -> None:
        """The tube has ended, and every stream with it."""
