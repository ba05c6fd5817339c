"""Messages of a carrier that wait for the tube's next turn of the event loop."""

from __future__ import annotations

from collections import deque

TURN_COST = 512
"""What one tube may take of a turn of the event loop: frames, and one more for each 2 KiB. 512 take 1.5 to 3 ms
(measured); a MiB in long messages takes about as much."""

QUIET_COST = 32
"""As `TURN_COST` counts. What costs less in all needs no turn of the tube, unless there is something to send: a turn of
the event loop takes a tenth of an echo's time. What it cost counts in the next turn."""

RESTING_FRAMES = 256
REST = 0.005
"""After so many frames in one turn of the loop, a tube reads nothing for so many seconds, and its messages wait. An
honest peer's turn has fewer: of bulk 60, and 100 messages of two frames each are 200. 512 frames each 5 ms are still
100,000 a second. Without the rest one tube's tiny frames take most of the process (measured)."""

MESSAGE_OVERHEAD_BYTES = 256
"""What a message that waits takes besides its bytes: Python's objects around it."""

MAX_SURPLUS_BYTES = 16 * 1024 * 1024
"""What may wait besides the bytes that streams may send: control frames, headers and overhead. A peer that sends each
byte by itself, 10,000 times a second, is cut after this process stood still for 6 s."""

MAX_SURPLUS_MESSAGES = 1024
BYTES_A_MESSAGE = 16 * 1024
"""How many messages may wait: 1024, and one more for each 16 KiB that streams may send, a message's usual length. In a
turn of the loop the engine hands over 100, which a turn of the tube reads where they hold 5 frames or 10 KiB each. So
next to nothing of an honest peer waits, also after a standstill. 1024 are handed over within 40 ms (measured: 40 µs
each); while more come, other tubes' messages wait in the engine's queue."""


def turn_cost(frames: int, size: int) -> int:
    """Of a message, as `TURN_COST` counts it."""
    return frames + size // 2048


class Inbox:
    """What waits, in order; it is bounded, and ends with the carrier's loss.

    Args:
        credit_bytes: what all streams together may send.
    """

    __slots__ = ("_bytes", "_credit_bytes", "_messages", "loss")

    def __init__(self, credit_bytes: int) -> None:
        self._credit_bytes = credit_bytes
        self._messages: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self.loss: tuple[int, str] | None = None
        """The carrier's generation and why it was lost, to be told behind the messages."""

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, generation: int, message: bytes) -> bool:
        """Let `message` wait; False where too much waits."""
        self._messages.append((generation, message))
        self._bytes += len(message) + MESSAGE_OVERHEAD_BYTES
        if len(self._messages) > MAX_SURPLUS_MESSAGES + self._credit_bytes // BYTES_A_MESSAGE:
            return False
        return self._bytes <= self._credit_bytes + MAX_SURPLUS_BYTES

    def forget(self, generation: int) -> None:
        """That carrier is closed: drop what it brought."""
        kept = [each for each in self._messages if each[0] != generation]
        self._messages = deque(kept)
        self._bytes = sum(len(message) + MESSAGE_OVERHEAD_BYTES for _, message in kept)
        if self.loss is not None and self.loss[0] == generation:
            self.loss = None

    def pop(self) -> tuple[int, bytes]:
        """The next one."""
        generation, message = self._messages.popleft()
        self._bytes -= len(message) + MESSAGE_OVERHEAD_BYTES
        return generation, message
