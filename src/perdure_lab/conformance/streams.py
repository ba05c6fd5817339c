"""A stream that the conformance peer opened, and that the subject echoes: what was said, and what came back. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.wire import Data, Fin, Open, ResetCode
from perdure_lab.conformance.failures import CaseFailed

TARGET = b"echo.test:7"
"""The subject echoes whatever the target is."""

AMPLE = 2**40
"""Credit that no case uses up."""


@dataclass(slots=True)
class Stream:
    """Raises `CaseFailed` where the subject says what no echo may say."""

    stream_id: int
    content: bytes
    """All that this end says over it."""
    window: int = AMPLE
    """Up to which offset the subject may send."""
    limit: int = 0
    """Up to which offset this end may send."""
    sent: int = 0
    """Up to which offset it has sent, on the present carrier."""
    most_sent: int = 0
    """The same, of all carriers; a FIN counts as one."""
    acknowledged: int = 0
    received: int = 0
    lowest_offset: int | None = None
    """Of the DATA that came on the present carrier."""
    fin_sent: bool = False
    fin_received: bool = False
    is_opened: bool = False
    """Whether this end has said OPEN."""
    is_known: bool = False
    """Whether the subject has ever said a word about it."""
    is_accepted: bool = False
    is_gone: bool = False
    reset: ResetCode | None = None

    @property
    def position(self) -> int:
        return self.received + self.fin_received

    @property
    def is_echoed(self) -> bool:
        """Whether everything came back, and everything was acknowledged."""
        return self.fin_received and self.received == len(self.content) and self.acknowledged > len(self.content)

    def take_data(self, offset: int, payload: memoryview) -> None:
        end = offset + len(payload)
        if end > self.window:
            raise CaseFailed(
                f"no byte beyond {self.window}, the credit of stream {self.stream_id}", f"DATA up to {end}"
            )
        if offset > self.received:
            raise CaseFailed(
                f"DATA of stream {self.stream_id} from {self.received} on, or before", f"DATA from {offset}"
            )
        if self.fin_received and end > self.received:
            raise CaseFailed(f"nothing behind the FIN of stream {self.stream_id}", f"DATA up to {end}")
        if end > min(self.most_sent, len(self.content)) or payload != self.content[offset:end]:
            raise CaseFailed(f"the bytes that stream {self.stream_id} was sent", f"others, from {offset} to {end}")
        self.received = max(self.received, end)
        self.lowest_offset = offset if self.lowest_offset is None else min(offset, self.lowest_offset)

    def take_fin(self, offset: int) -> None:
        if offset != self.received:
            raise CaseFailed(
                f"the FIN of stream {self.stream_id} where its bytes end, at {self.received}", f"at {offset}"
            )
        self.fin_received = True

    def take_ack(self, position: int) -> None:
        if position > self.most_sent:
            raise CaseFailed(
                f"no ACK beyond {self.most_sent}, what stream {self.stream_id} was sent", f"ACK of {position}"
            )
        self.acknowledged = max(self.acknowledged, position)

    def rewind(self, received: int) -> None:
        """The subject's RESUME names this position: what is behind it is sent again."""
        self.take_ack(received)
        self.sent = min(received, len(self.content))
        self.fin_sent = received > len(self.content)

    # What this end says.

    def opening(self) -> Open:
        self.is_opened = True
        return Open(self.stream_id, self.window, TARGET)

    def data(self, end: int) -> Data:
        """The next bytes, up to `end`."""
        frame = Data(self.stream_id, self.sent, memoryview(self.content)[self.sent : end])
        self.sent, self.most_sent = end, max(self.most_sent, end)
        return frame

    def fin(self) -> Fin:
        self.fin_sent, self.most_sent = True, len(self.content) + 1
        return Fin(self.stream_id, len(self.content))
