"""The seams of signaling: towards a tube, and towards what carries it between two peers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        """Queue `message`; it is sent again until the peer's end has acknowledged it.

        Bounded: when 256 messages wait, the oldest is dropped (an offer that old is of no use).
        """

    def doubt(self) -> None:
        """The tube suspects its path: find out whether what carries this still works, and mend it where it does not.

        Returns at once. It may be called again and again; while the first doubt is looked into, others cost nothing.
        """

    def close(self) -> None:
        """Deliver nothing more; what was sent before still has a moment to reach the peer. Twice is fine."""


class SignalingLink(Protocol):
    """What carries sealed bodies between a gateway and its clients: a WebSocket to the rendezvous, or another adapter.

    It says who is there, and comes back by itself. It keeps nothing: what is lost with a connection, its owner sends
    again.
    """

    @property
    def url(self) -> str:
        """Where it leads, to be shown."""

    @property
    def local_address(self) -> str | None:
        """This machine's address on the connection; `None` while there is none."""

    def start(self) -> None:
        """Connect, and stay connected. Needs a running event loop."""

    def send(self, to: str, body: bytes, *, is_proved: bool = False) -> None:
        """Send `body` to a peer's id, or to the gateway (`frames.GATEWAY`). It is lost where there is no connection.

        Args:
            is_proved: of a gateway: whether the receiver has proved itself. These and the others take turns.
        """

    def vouch(self, peers: Sequence[str]) -> None:
        """Of a gateway: these have proved themselves, and nobody else has. It is lost where there is no connection."""

    def network_moved(self, *, local_address_lost: bool | None, slept_seconds: float) -> None:
        """The network changed, or the process slept: connect anew, unless the connection has come through it."""

    def doubt(self) -> None:
        """The path may be dead: ask, and connect by another one where no answer comes. See `SignalingChannel.doubt`."""

    async def close(self) -> None:
        """End it. Twice is fine."""
