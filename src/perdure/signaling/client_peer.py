"""The client's signaling: knocks at the gateway of a ticket and keeps the agreed keys fresh.

1. It knocks when it has joined and the gateway is there, and again whenever either has come back, unless both are who
   they were and have spoken under the keys: then these go on, and what waits is sent behind the join itself, two round
   trips earlier. If the gateway does not acknowledge any of that soon, it knocks after all: what else comes may have
   waited at the rendezvous since before the gateway went.
2. Only the answer to the latest knock counts, and only the first.
3. Until the gateway has spoken under the new keys, a timer knocks again: an answer can be lost.
4. Another gateway process, or one that has lost the session, means that the peer restarted: the queue is for nobody.
"""

from __future__ import annotations

import asyncio
import secrets
from random import SystemRandom
from typing import TYPE_CHECKING, Self

from perdure.errors import NotAuthorisedError, PerdureError, RendezvousError
from perdure.signaling.channel import SealedChannel
from perdure.signaling.envelope import (
    ID_BYTES,
    NONCE_BYTES,
    DataKeys,
    EnvelopeRefusal,
    EnvelopeRefusedError,
    EnvelopeType,
    Knock,
    Welcome,
    WelcomeStatus,
    open_welcome,
    read_header,
    room_id,
    seal_knock,
)
from perdure.signaling.frames import GATEWAY, Role
from perdure.signaling.status import RefusalLog, SignalingState, SignalingStatus
from perdure.signaling.websocket import RendezvousLink

if TYPE_CHECKING:
    import ssl
    from collections import Counter
    from collections.abc import Callable
    from random import Random
    from types import TracebackType

    from perdure.signaling.base import SignalingListener
    from perdure.signaling.messages import Message
    from perdure.signaling.socket import OpenSocket
    from perdure.ticket import Ticket

KNOCK_INTERVAL = 10.0
"""Seconds without an answer after which it knocks again; ten times the slowest sensible round trip."""

RESUMPTION_TIMEOUT = 1.0
"""Seconds that the gateway has to acknowledge something new under keys that go on after a lost connection. It may have
forgotten them; a round trip and an answer take less, and a knock too many costs two messages."""

RESYNC_INTERVAL = 1.0
"""Seconds between knocks that a gap asks for: a rendezvous that drops messages must not make it spin."""

CLOSE_FLUSH_TIMEOUT = 1.0
"""Seconds that a last word (`Bye`) has to reach the peer at `close`."""


class ClientSignaling:
    """A `SignalingChannel` to the gateway of `ticket` for one tube. `start` it; `close` it, then `wait_closed`.

    Args:
        session_id: 16 random bytes, never used for another `ClientSignaling`.
        on_status: hears each change of the status, on the event loop's thread.
        token_bytes: the source of epochs and nonces; must be cryptographically random.
        open_socket: how to connect to the rendezvous, where that is not by `websockets`.
    """

    def __init__(
        self,
        ticket: Ticket,
        session_id: bytes,
        *,
        on_status: Callable[[SignalingStatus], None] | None = None,
        random: Random | None = None,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
        ssl_context: ssl.SSLContext | None = None,
        open_socket: OpenSocket | None = None,
    ) -> None:
        if len(session_id) != ID_BYTES:
            raise ValueError(f"a session id has {ID_BYTES} bytes, not {len(session_id)}")
        self._ticket = ticket
        self._session_id = session_id
        self._on_status = on_status
        self._token_bytes = token_bytes
        self._link = RendezvousLink(
            ticket.rendezvous_url,
            room=room_id(ticket),
            role=Role.CLIENT,
            peer_id=token_bytes(ID_BYTES).hex(),
            listener=self,
            random=random or SystemRandom(),
            ssl_context=ssl_context,
            open_socket=open_socket,
        )
        self._channel = SealedChannel(transmit=self._transmit, on_close=self._end)
        self._status = SignalingStatus(SignalingState.UNREACHABLE, self._link.url)
        self._settled = asyncio.Event()
        self._error: PerdureError | None = None
        self._ending: asyncio.Task[None] | None = None
        self._refusals = RefusalLog(now=lambda: asyncio.get_running_loop().time())
        self._knock_number = 0
        self._client_epoch = b""
        self._awaits_welcome = False
        self._gateway_instance: bytes | None = None
        self._gateway_peer = ""
        """The peer id of the gateway that welcomed us last."""
        self._keys: DataKeys | None = None
        """Agreed with it; in use once it has spoken under them."""
        self._is_confirmed = False
        self._sent_before: int | None = None
        """The newest message of before the connection that goes on with the keys of before; `None` where a newer one
        was acknowledged, and where the keys are new."""
        self._knocked_at = 0.0
        self._knock_timer: asyncio.TimerHandle | None = None

    @property
    def available(self) -> bool:
        """Whether the rendezvous is connected, the gateway present, and the keys agreed."""
        return self._channel.available

    @property
    def status(self) -> SignalingStatus:
        """How far it has come, and why not further."""
        return self._status

    @property
    def error(self) -> PerdureError | None:
        """Why it has failed for good: `NotAuthorisedError` (the ticket expired), `RendezvousError`; or None."""
        return self._error

    @property
    def refused(self) -> Counter[EnvelopeRefusal]:
        """Envelopes refused so far, by reason: above zero, someone interferes, or a peer has a bug."""
        return self._refusals.counts

    def start(self) -> None:
        """Connect, and stay connected. Needs a running event loop."""
        self._link.start()

    async def wait_available(self) -> None:
        """Wait until the gateway has welcomed us. Cancelling loses nothing.

        Raises:
            NotAuthorisedError: the gateway says that the ticket has expired.
            RendezvousError: the rendezvous refuses us for good, or this was closed.
        """
        while not self.available:
            if self._error is not None:
                raise self._error
            if self._ending is not None:
                raise RendezvousError("the signaling was closed", url=self._link.url)
            self._settled.clear()
            await self._settled.wait()

    def attach(self, listener: SignalingListener) -> None:
        """See `SignalingChannel.attach`."""
        self._channel.attach(listener)

    def send(self, message: Message) -> None:
        """See `SignalingChannel.send`."""
        self._channel.send(message)

    @property
    def local_address(self) -> str | None:
        """This machine's address on the connection to the rendezvous; `None` while there is none."""
        return self._link.local_address

    def network_moved(self, *, local_address_lost: bool | None, slept_seconds: float) -> None:
        """See `RendezvousLink.network_moved`."""
        self._link.network_moved(local_address_lost=local_address_lost, slept_seconds=slept_seconds)

    def close(self) -> None:
        """Deliver nothing more and leave; what was handed over has a second to arrive. Twice is fine."""
        self._channel.close()

    async def wait_closed(self) -> None:
        """`close`, and wait until the connection is gone."""
        self.close()
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.wait_closed()

    # What the link says.

    def link_opening(self) -> None:
        if self._ending is None and self._keys is not None and self._is_confirmed:
            self._sent_before = self._channel.sealed_seq
            self._channel.peer_reachable(self._keys)
            self._cancel_knock()
            self._knock_timer = asyncio.get_running_loop().call_later(RESUMPTION_TIMEOUT, self._resumption_failed)

    def _resumption_failed(self) -> None:
        if self._status.state is SignalingState.READY:
            self._knock()
        else:
            self._gateway_unreachable()

    def link_up(self) -> None:
        self._set_status(SignalingState.WAITING_FOR_GATEWAY)

    def link_down(self, reason: str) -> None:
        self._gateway_unreachable()
        self._set_status(SignalingState.UNREACHABLE, reason)

    def link_failed(self, error: RendezvousError) -> None:
        self._fail(error)

    @property
    def has_live_tubes(self) -> bool:
        return self._is_confirmed and self._ending is None

    def link_presence(self, peer_id: str, role: Role, present: bool) -> None:
        if role is not Role.GATEWAY or self._ending is not None:
            return
        if present and self._channel.available and peer_id == self._gateway_peer:
            self._set_status(SignalingState.READY)
        elif present:
            self._knock()
        else:
            self._gateway_unreachable()
            self._set_status(SignalingState.WAITING_FOR_GATEWAY)

    def link_received(self, sender: str, body: bytes) -> None:
        if self._ending is not None:
            return
        try:
            header = read_header(body)
            match header.type:
                case EnvelopeType.WELCOME:
                    self._handle_welcome(sender, body)
                case EnvelopeType.DATA:
                    self._handle_data(header.session_id, body)
                case EnvelopeType.KNOCK:
                    raise EnvelopeRefusedError(EnvelopeRefusal.UNEXPECTED)
        except EnvelopeRefusedError as error:
            self._refusals.record(error.refusal)

    def _knock(self) -> None:
        self._channel.peer_unreachable()
        self._keys = self._sent_before = None
        self._link.forget(GATEWAY)  # Sealed under keys that end now; what is not acknowledged is sealed again.
        self._client_epoch = self._token_bytes(ID_BYTES)
        self._knock_number += 1
        self._awaits_welcome = True
        knock = Knock(self._client_epoch, self._knock_number)
        envelope = seal_knock(self._ticket, self._session_id, knock, nonce=self._token_bytes(NONCE_BYTES))
        self._link.send(GATEWAY, envelope)
        self._knocked_at = asyncio.get_running_loop().time()
        self._knock_at(self._knocked_at + KNOCK_INTERVAL)
        self._set_status(SignalingState.KNOCKING)

    def _knock_at(self, when: float) -> None:
        self._cancel_knock()
        self._knock_timer = asyncio.get_running_loop().call_at(when, self._knock)

    def _cancel_knock(self) -> None:
        if self._knock_timer is not None:
            self._knock_timer.cancel()
            self._knock_timer = None

    def _handle_welcome(self, sender: str, envelope: bytes) -> None:
        welcome = open_welcome(self._ticket, self._session_id, self._client_epoch, envelope)
        if not self._awaits_welcome:
            raise EnvelopeRefusedError(EnvelopeRefusal.REPLAYED)
        self._awaits_welcome = False
        match welcome.status:
            case WelcomeStatus.EXPIRED:
                reason = "the gateway says that the ticket has expired; ask its owner for a new one"
                self._fail(NotAuthorisedError(reason, target="ticket"))
            case WelcomeStatus.FULL:
                self._set_status(SignalingState.KNOCKING, "it has no room for another session; trying again")
            case WelcomeStatus.OK:
                self._gateway_peer = sender
                self._adopt(welcome)

    def _adopt(self, welcome: Welcome) -> None:
        is_other_process = self._gateway_instance not in {None, welcome.instance}
        has_lost_session = self._is_confirmed and not welcome.known
        self._gateway_instance = welcome.instance
        keys = DataKeys(self._ticket, self._session_id, self._client_epoch, welcome.gateway_epoch, initiator=True)
        if is_other_process or has_lost_session:
            self._is_confirmed = False
            self._channel.restart()
        self._keys = keys
        self._channel.peer_reachable(keys)
        self._set_status(SignalingState.READY)

    def _handle_data(self, session_id: bytes, envelope: bytes) -> None:
        if session_id != self._session_id:
            raise EnvelopeRefusedError(EnvelopeRefusal.WRONG_SESSION)
        asks_for_resync = self._channel.handle_envelope(envelope)
        if not self.available:
            return  # Under the keys before the latest knock; the timer waits for its answer.
        if self._sent_before is None or self._channel.acked_seq > self._sent_before:
            self._sent_before = None
            self._is_confirmed = True
            self._cancel_knock()
        if asks_for_resync or self._channel.wants_new_keys:
            self._knock_at(self._knocked_at + RESYNC_INTERVAL)

    def _transmit(self, envelope: bytes) -> None:
        self._link.send(GATEWAY, envelope)

    def _gateway_unreachable(self) -> None:
        self._awaits_welcome = False
        self._cancel_knock()
        self._channel.peer_unreachable()

    def _fail(self, error: PerdureError) -> None:
        self._error = error
        self._gateway_unreachable()
        self._set_status(SignalingState.FAILED, str(error))
        self._end()

    def _end(self) -> None:
        self._cancel_knock()
        if self._ending is None:
            self._ending = asyncio.create_task(self._link.close(flush_timeout=CLOSE_FLUSH_TIMEOUT))
        self._settled.set()

    def _set_status(self, state: SignalingState, reason: str = "") -> None:
        status = SignalingStatus(state, self._link.url, reason)
        self._settled.set()
        if status != self._status and self._ending is None:
            self._status = status
            if self._on_status is not None:
                self._on_status(status)
