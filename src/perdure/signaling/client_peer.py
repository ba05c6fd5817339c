"""The client's signaling: knocks at the gateway of a ticket, and keeps the agreed keys.

1. It knocks when it has joined and the gateway is there, unless both are who they were and have spoken under the
   keys: then these go on, and what the gateway has not acknowledged is sent behind the join itself, two round trips
   earlier.
2. Only the answer to the latest knock counts, and only the first. Until then the keys of before stay in use.
3. It knocks again where no answer comes, where what it sends is not acknowledged though sent again, and where the
   keys have been in use for an hour.
4. Another gateway process, or one that has lost the session, means that the peer restarted: the queue is for nobody.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from random import SystemRandom
from typing import TYPE_CHECKING, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.errors import NotAuthorisedError, PerdureError, ProtocolError, RendezvousError, TicketError
from perdure.signaling.channel import PeerChannel
from perdure.signaling.envelope import (
    ID_BYTES,
    DataKeys,
    EnvelopeRefusal,
    EnvelopeRefusedError,
    EnvelopeType,
    Knock,
    KnockingClient,
    Refusal,
    RefusalReason,
    Welcome,
    read_type,
)
from perdure.signaling.frames import GATEWAY, Challenge, Join, Role
from perdure.signaling.gateway_proof import room_id
from perdure.signaling.noise import KEY_BYTES
from perdure.signaling.reasons import describe_refusal
from perdure.signaling.reliable_channel import Body, decode_body, encode_body
from perdure.signaling.status import RefusalLog, SignalingState, SignalingStatus
from perdure.signaling.websocket import RendezvousLink

if TYPE_CHECKING:
    import ssl
    from collections import Counter
    from collections.abc import Callable, Sequence
    from random import Random
    from types import TracebackType

    from perdure.signaling.base import SignalingLink, SignalingListener
    from perdure.signaling.frames import RefusalCode
    from perdure.signaling.messages import Message, RTCIceServer
    from perdure.signaling.socket import OpenSocket
    from perdure.ticket import Ticket

KNOCK_INTERVAL = 5.0
"""Seconds without an answer after which it knocks again; five times the slowest sensible round trip."""

SHORTEST_KNOCK_INTERVAL = 0.5
"""Seconds from one knock to the next that another gateway asks for: a knock costs a key exchange."""

KNOCKS_AFTER_RESENDING = 1
"""Times that something was sent again in vain: a second, in which a round trip and an answer fit. The gateway may have
forgotten the keys, and a knock too many costs two messages."""

REKEY_AFTER = 3600.0
"""Seconds for which keys are in use, so that one that leaks opens little."""

FAREWELL_TIMEOUT = 1.0
"""Seconds that a last word (`Bye`) has to reach the peer at `close`."""


class ClientSignaling:
    """A `SignalingChannel` to the gateway of `ticket` for one tube. `start` it; `close` it, then `wait_closed`.

    Args:
        session_id: 16 random bytes, never used for another `ClientSignaling`.
        key: this installation's.
        on_status: hears each change of the status, on the event loop's thread.
        on_ice_servers: hears which ICE servers the gateway names: before each time that it becomes available, and
            when it renews them.
        token_bytes: the source of keys and ids; must be cryptographically random.
        interfaces: the names of those by which the rendezvous may be reached beside the routes' own way.
        open_socket: how to connect to the rendezvous, where that is not by `websockets`.
    """

    def __init__(
        self,
        ticket: Ticket,
        session_id: bytes,
        *,
        key: X25519PrivateKey,
        on_status: Callable[[SignalingStatus], None] | None = None,
        on_ice_servers: Callable[[Sequence[RTCIceServer]], None] = lambda servers: None,
        random: Random | None = None,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
        ssl_context: ssl.SSLContext | None = None,
        interfaces: Callable[[], Sequence[str]] = tuple,
        open_socket: OpenSocket | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if len(session_id) != ID_BYTES:
            raise ValueError(f"a session id has {ID_BYTES} bytes, not {len(session_id)}")
        self._ticket = ticket
        self._session_id = session_id
        self._key = key
        self._on_status = on_status
        self._on_ice_servers = on_ice_servers
        self._token_bytes = token_bytes
        self._now = now
        self._room = room_id(ticket.gateway)
        self._peer_id = token_bytes(ID_BYTES).hex()
        self._link: SignalingLink = RendezvousLink(
            ticket.rendezvous_url,
            join=self._join,
            listener=self,
            random=random or SystemRandom(),
            ssl_context=ssl_context,
            interfaces=interfaces,
            open_socket=open_socket,
        )
        self._channel = PeerChannel(
            transmit=self._transmit, on_close=self._end, on_resent=self._resent, on_ice_servers=on_ice_servers
        )
        self._status = SignalingStatus(SignalingState.UNREACHABLE, self._link.url)
        self._settled = asyncio.Event()
        self._error: PerdureError | None = None
        self._ending: asyncio.Task[None] | None = None
        self._refusals = RefusalLog(now=lambda: asyncio.get_running_loop().time())
        self._knocks = 0
        self._knocked_at = -math.inf
        self._knocking: KnockingClient | None = None
        """The latest knock, until it is answered."""
        self._knock_timer: asyncio.TimerHandle | None = None
        self._gateway_instance: bytes | None = None
        self._gateway_peer = ""
        """The peer id of the gateway that welcomed us last."""
        self._keys: DataKeys | None = None
        self._keys_of_before: DataKeys | None = None
        """Still opened with, until the gateway has spoken under the new ones."""
        self._agreed_at = 0.0
        self._is_confirmed = False
        """Whether the gateway has spoken under keys of this session."""

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
        """Why it has failed for good: `NotAuthorisedError` (the gateway refuses the ticket), `TicketError`,
        `RendezvousError`; or None."""
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
            NotAuthorisedError: the gateway refuses the ticket.
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
        """See `SignalingLink.network_moved`."""
        self._link.network_moved(local_address_lost=local_address_lost, slept_seconds=slept_seconds)

    def doubt(self) -> None:
        """See `SignalingChannel.doubt`."""
        self._link.doubt()

    def close(self) -> None:
        """Deliver nothing more and leave; what was sent has a second to arrive. Twice is fine."""
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

    def _join(self, challenge: Challenge) -> Join:
        return Join(self._room, Role.CLIENT, self._peer_id)

    def link_opening(self) -> None:
        if self._ending is None and self._is_confirmed:
            self._channel.peer_reachable()

    def link_up(self, peers: Sequence[str]) -> None:
        if not peers:
            self._gateway_unreachable()
            self._set_status(SignalingState.WAITING_FOR_GATEWAY)
        elif self.available and peers[0] == self._gateway_peer:
            self._set_status(SignalingState.READY)  # what waited went out at the opening, and has reached it
        else:
            self.link_presence(peers[0], present=True)

    def link_down(self, reason: str, refusal: RefusalCode | None) -> None:
        self._gateway_unreachable()
        self._set_status(SignalingState.UNREACHABLE, reason, refusal)

    def link_failed(self, error: RendezvousError) -> None:
        self._fail(error)

    @property
    def has_live_tubes(self) -> bool:
        return self._is_confirmed and self._ending is None

    def link_presence(self, peer_id: str, present: bool) -> None:
        if self._ending is not None:
            return
        if not present:
            self._gateway_unreachable()
            self._set_status(SignalingState.WAITING_FOR_GATEWAY)
        elif self._is_confirmed and peer_id == self._gateway_peer:
            self._channel.peer_reachable()  # it may have been away: what was sent meanwhile is lost
            self._set_status(SignalingState.READY)
        else:
            self._gateway_unreachable()
            self._knock_soon()

    def link_received(self, sender: str, body: bytes) -> None:
        try:
            match read_type(body):
                case EnvelopeType.WELCOME | EnvelopeType.REFUSAL:
                    self._handle_answer(sender, body)
                case EnvelopeType.DATA:
                    self._handle_data(body)
                case EnvelopeType.KNOCK:
                    raise EnvelopeRefusedError(EnvelopeRefusal.UNEXPECTED)
        except EnvelopeRefusedError as error:
            self._refusals.record(error.refusal)

    def _knock_soon(self) -> None:
        """Now, unless that was just before: a rendezvous may tell of as many gateways as it likes."""
        loop = asyncio.get_running_loop()
        wait = self._knocked_at + SHORTEST_KNOCK_INTERVAL - loop.time()
        if wait <= 0:
            self._knock()
        else:
            self._knock_timer = loop.call_later(wait, self._knock)
            self._set_status(SignalingState.KNOCKING)

    def _knock(self) -> None:
        self._cancel_knock()
        self._knocked_at = asyncio.get_running_loop().time()
        self._knocks += 1
        ticket, knock = self._ticket, Knock(self._session_id, self._ticket.ticket_id, self._knocks)
        ephemeral = X25519PrivateKey.from_private_bytes(self._token_bytes(KEY_BYTES))
        try:
            self._knocking = KnockingClient(self._key, ticket.gateway, ticket.secret, knock, ephemeral=ephemeral)
        except EnvelopeRefusedError:
            self._fail(TicketError("the ticket names a gateway's key that cannot be one: copy the ticket again"))
            return
        self._link.send(GATEWAY, self._knocking.envelope)
        self._knock_timer = asyncio.get_running_loop().call_later(KNOCK_INTERVAL, self._knock)
        if not self.available:
            self._set_status(SignalingState.KNOCKING)

    def _cancel_knock(self) -> None:
        self._knocking = None
        if self._knock_timer is not None:
            self._knock_timer.cancel()
            self._knock_timer = None

    def _resent(self, times: int) -> None:
        if times >= KNOCKS_AFTER_RESENDING:
            self._agree_anew()

    def _agree_anew(self) -> None:
        if self._knock_timer is None and self._ending is None:
            self._knock()

    def _handle_answer(self, sender: str, envelope: bytes) -> None:
        if self._knocking is None or self._ending is not None:
            raise EnvelopeRefusedError(EnvelopeRefusal.STALE)
        match self._knocking.open(envelope):
            case Refusal(RefusalReason.FULL) as refusal:
                self._knocking = None  # the timer knocks again
                self._set_status(SignalingState.KNOCKING, describe_refusal(refusal, now=self._now()))
            case Refusal() as refusal:
                self._fail(NotAuthorisedError(describe_refusal(refusal, now=self._now()), target="ticket"))
            case (welcome, keys):
                self._cancel_knock()
                self._gateway_peer = sender
                self._adopt(welcome, keys)

    def _adopt(self, welcome: Welcome, keys: DataKeys) -> None:
        is_other_process = self._gateway_instance not in {None, welcome.instance}
        has_lost_session = self._is_confirmed and not welcome.known
        self._gateway_instance = welcome.instance
        self._keys, self._keys_of_before = keys, self._keys
        self._agreed_at = asyncio.get_running_loop().time()
        if is_other_process or has_lost_session:
            self._is_confirmed = False
            self._keys_of_before = None
            self._channel.restart()
            if self._ending is not None:  # its tube ended over that
                return
        self._on_ice_servers(welcome.ice_servers)
        self._channel.speak()  # which proves that this is the client that knocked
        self._channel.peer_reachable()
        self._set_status(SignalingState.READY)

    def _handle_data(self, envelope: bytes) -> None:
        keys, before = self._keys, self._keys_of_before
        if keys is not None and keys.opens(envelope):
            plain = keys.open(envelope)
            self._is_confirmed, self._keys_of_before = True, None
        elif before is not None:
            plain = before.open(envelope)
        else:
            raise EnvelopeRefusedError(EnvelopeRefusal.STALE)
        try:
            self._channel.handle_body(decode_body(plain))
        except ProtocolError as error:
            self._refusals.record(EnvelopeRefusal.MALFORMED, str(error))
        if asyncio.get_running_loop().time() >= self._agreed_at + REKEY_AFTER:
            self._agree_anew()

    def _transmit(self, body: Body) -> None:
        if self._keys is not None:
            self._link.send(GATEWAY, self._keys.seal(encode_body(body)))

    def _gateway_unreachable(self) -> None:
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
            self._ending = asyncio.create_task(self._leave())
        self._settled.set()

    async def _leave(self) -> None:
        await self._channel.settled(FAREWELL_TIMEOUT)
        self._channel.end()
        await self._link.close()

    def _set_status(self, state: SignalingState, reason: str = "", refusal: RefusalCode | None = None) -> None:
        status = SignalingStatus(state, self._link.url, reason, refusal)
        self._settled.set()
        if status != self._status and self._ending is None:
            self._status = status
            if self._on_status is not None:
                self._on_status(status)
