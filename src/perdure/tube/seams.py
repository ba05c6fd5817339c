"""The seams between a tube and those who use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perdure.core.actions import ChangeState
    from perdure.tube.tube import Tube
    from perdure.wire import ResetCode


class StreamSink(Protocol):
    """The user of one stream. Called on the event loop's thread."""

    def stream_accepted(self) -> None:
        """The peer accepted the stream."""

    def stream_data(self, data: memoryview) -> None:
        """The next bytes; `Tube.consume` once they have gone on."""

    def stream_finished(self) -> None:
        """The peer sends no more."""

    def stream_reset(self, code: ResetCode) -> None:
        """Both directions have ended; nothing more is called."""

    def stream_writable(self) -> None:
        """`Tube.write` has room again."""


class TubeHandler(Protocol):
    """The owner of a tube. Called on the event loop's thread."""

    def tube_state_changed(self, tube: Tube, change: ChangeState) -> None:
        """The tube changed its state."""

    def tube_stream_opened(self, tube: Tube, stream_id: int, target: bytes) -> StreamSink | None:
        """The peer opened a stream: its sink, which may hear bytes at once, or `None` to refuse it.

        `Tube.accept` or `Tube.reset` follow when it is known whether the target can be reached.
        """
