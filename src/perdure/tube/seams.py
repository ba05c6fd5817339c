"""The seam between a stream and its user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perdure.wire import ResetCode


class StreamSink(Protocol):
    """The user of one stream: has these five plain methods, which are called on the event loop's thread.

    A method that raises is logged and costs its stream, no other. Once both ends have finished, and everything was
    consumed, nothing more is called, also not when the tube ends.
    """

    def stream_accepted(self) -> None:
        """The peer accepted the stream."""

    def stream_data(self, data: memoryview) -> None:
        """The next bytes. They may come before a dialled target is ready.

        Call `manager.streams.consume(stream_id, len(data))` once they have gone on, or the peer stops after a window
        (2 MiB).
        """

    def stream_finished(self) -> None:
        """The peer sends no more; it still reads until `manager.streams.finish(stream_id)`."""

    def stream_reset(self, code: ResetCode) -> None:
        """Both directions ended before their time; nothing more is called. SESSION_LOST: the tube has ended."""

    def stream_writable(self) -> None:
        """`manager.streams.write` has room again, after it returned False."""
