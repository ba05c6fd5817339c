"""The seam between a stream and its user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perdure.wire import ResetCode


class StreamSink(Protocol):
    """The user of one stream. Called on the event loop's thread."""

    def stream_accepted(self) -> None:
        """The peer accepted the stream."""

    def stream_data(self, data: memoryview) -> None:
        """The next bytes; `Link.consume` once they have gone on."""

    def stream_finished(self) -> None:
        """The peer sends no more."""

    def stream_reset(self, code: ResetCode) -> None:
        """Both directions have ended; nothing more is called."""

    def stream_writable(self) -> None:
        """`Link.write` has room again."""
