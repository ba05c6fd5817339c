"""The seam between a tube and its signaling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perdure.signaling.messages import Message


MAX_WAITING_MESSAGES = 256
"""What `SignalingChannel.send` queues: the oldest goes first."""


class SignalingListener(Protocol):
    """What a tube hears from its signaling. Called on the event loop's thread, never from within `send`."""

    def signaling_message(self, message: Message) -> None:
        """The peer said `message`; authentic, in order, each once."""

    def signaling_available(self, available: bool) -> None:
        """Whether the peer can be reached through the rendezvous now; called on each change."""

    def signaling_peer_restarted(self) -> None:
        """The peer's process is a new one: it knows nothing of this session. Evidence from the sealed handshake."""


class SignalingChannel(Protocol):
    """One tube's sealed, ordered way to its peer."""

    @property
    def available(self) -> bool:
        """Whether the rendezvous is connected, the peer present, and the keys agreed."""

    def attach(self, listener: SignalingListener) -> None:
        """Deliver to `listener` from now on; what came before is delivered first, in order."""

    def send(self, message: Message) -> None:
        """Queue `message`; it is sent again after a lost rendezvous until the peer's end acknowledged it.

        Bounded: when 256 messages wait, the oldest is dropped (an offer that old is of no use).
        """

    def close(self) -> None:
        """Forget what is queued and deliver nothing more. Twice is fine."""
