"""The gateway's signaling: answers the knocks of a ticket's clients, and gives each session its channel.

1. A session's keys in use stay until the first DATA that opens under the pending ones: a knock alone changes nothing.
2. While keys are pending nothing is sealed under the old ones, so that a client never hears old keys after its welcome.
3. A session that has ended is not begun again: a client that has slept through the end is told, and begins another.
4. A session without a channel (nobody has proved to have read its WELCOME) is the first to go when there is no room.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Self

from perdure.errors import PerdureError, RendezvousError
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
    open_knock,
    read_header,
    room_id,
    seal_welcome,
)
from perdure.signaling.frames import Role
from perdure.signaling.messages import Bye
from perdure.signaling.status import RefusalLog, SignalingState, SignalingStatus
from perdure.signaling.websocket import RendezvousLink

if TYPE_CHECKING:
    import ssl
    from collections import Counter
    from collections.abc import Callable
    from random import Random
    from types import TracebackType

    from perdure.signaling.base import SignalingChannel
    from perdure.signaling.socket import OpenSocket
    from perdure.ticket import Ticket

MAX_SESSIONS = 256
"""Four times the rendezvous' clients of a room, so that sessions whose client is away keep their place."""


MAX_ENDED_SESSIONS = 1024
"""Remembered, 133 bytes each; a client of one that is forgotten begins it again, as if it had never been."""

HAS_ENDED = "there is no such session here; a new one can begin"


@dataclass(slots=True, eq=False)
class _Session:
    session_id: bytes
    peer_id: str
    knock_number: int
    pending: DataKeys | None = None
    keys: DataKeys | None = None
    channel: SealedChannel | None = None


class GatewaySignaling:
    """The gateway's end for all clients of `ticket`. `start` it, `close` it.

    Args:
        on_session: called with a new session's 16-byte id and its channel, once its client has proved itself. Attach
            a listener to the channel there or later; close the channel when the tube has ended, or it keeps its place.
        on_status: hears each change of the status. Both are called on the event loop's thread.
        has_room: asked before a new session is let in; one that is not is told so, and knocks again.
        now: Unix seconds, for the ticket's expiry.
        token_bytes: the source of epochs and nonces; must be cryptographically random.
        open_socket: how to connect to the rendezvous, where that is not by `websockets`.
    """

    def __init__(
        self,
        ticket: Ticket,
        *,
        on_session: Callable[[bytes, SignalingChannel], None],
        on_status: Callable[[SignalingStatus], None] | None = None,
        has_room: Callable[[], bool] = lambda: True,
        max_sessions: int = MAX_SESSIONS,
        random: Random | None = None,
        now: Callable[[], float] = time.time,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
        ssl_context: ssl.SSLContext | None = None,
        open_socket: OpenSocket | None = None,
    ) -> None:
        self._ticket = ticket
        self._on_session = on_session
        self._on_status = on_status
        self._owner_has_room = has_room
        self._max_sessions = max_sessions
        self._now = now
        self._token_bytes = token_bytes
        self._instance = token_bytes(ID_BYTES)
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._ended: dict[bytes, None] = {}
        """Sessions whose channel was closed, the oldest first."""
        self._link = RendezvousLink(
            ticket.rendezvous_url,
            room=room_id(ticket),
            role=Role.GATEWAY,
            peer_id=token_bytes(ID_BYTES).hex(),
            listener=self,
            random=random or SystemRandom(),
            ssl_context=ssl_context,
            open_socket=open_socket,
        )
        self._status = SignalingStatus(SignalingState.UNREACHABLE, self._link.url)
        self._settled = asyncio.Event()
        self._error: PerdureError | None = None
        self._is_closed = False
        self._refusals = RefusalLog(now=lambda: asyncio.get_running_loop().time())

    @property
    def status(self) -> SignalingStatus:
        """UNREACHABLE, READY or FAILED, and why."""
        return self._status

    @property
    def error(self) -> PerdureError | None:
        """Why it has failed for good (another gateway replaced it, say), or None."""
        return self._error

    @property
    def refused(self) -> Counter[EnvelopeRefusal]:
        """Envelopes refused so far, by reason: above zero, someone interferes, or a peer has a bug."""
        return self._refusals.counts

    @property
    def session_count(self) -> int:
        """Sessions that hold a place, those without a channel too."""
        return len(self._sessions)

    def start(self) -> None:
        """Connect, and stay connected. Needs a running event loop."""
        self._link.start()

    async def wait_ready(self) -> None:
        """Wait until the rendezvous has let us in. Cancelling loses nothing.

        Raises:
            RendezvousError: it refuses us for good, or this was closed.
        """
        while not self._link.is_up:
            if self._error is not None:
                raise self._error
            if self._is_closed:
                raise RendezvousError("the signaling was closed", url=self._link.url)
            self._settled.clear()
            await self._settled.wait()

    @property
    def local_address(self) -> str | None:
        """This machine's address on the connection to the rendezvous; `None` while there is none."""
        return self._link.local_address

    def network_moved(self, *, local_address_lost: bool | None, slept_seconds: float) -> None:
        """See `RendezvousLink.network_moved`."""
        self._link.network_moved(local_address_lost=local_address_lost, slept_seconds=slept_seconds)

    async def close(self, *, flush_timeout: float = 1.0) -> None:
        """Close every channel and leave; what was handed over has `flush_timeout` seconds to arrive. Twice is fine."""
        self._is_closed = True
        self._settled.set()
        for session in list(self._sessions.values()):
            self._drop(session)
        await self._link.close(flush_timeout=flush_timeout)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # What the link says.

    def link_opening(self) -> None:
        pass  # a client is reachable once the rendezvous says that it is there

    def link_up(self) -> None:
        self._set_status(SignalingState.READY)

    def link_down(self, reason: str) -> None:
        self._all_peers_unreachable()
        self._set_status(SignalingState.UNREACHABLE, reason)

    def link_failed(self, error: RendezvousError) -> None:
        self._error = error
        self._all_peers_unreachable()
        self._set_status(SignalingState.FAILED, str(error))

    @property
    def has_live_tubes(self) -> bool:
        return any(session.channel is not None for session in self._sessions.values())

    def link_presence(self, peer_id: str, role: Role, present: bool) -> None:
        for session in list(self._sessions.values()):
            if session.peer_id != peer_id or session.channel is None:
                continue
            if not present:
                session.channel.peer_unreachable()
            elif session.keys is not None and session.pending is None:
                session.channel.peer_returned(session.keys)  # the rendezvous drops what has waited too long

    def link_received(self, sender: str, body: bytes) -> None:
        if self._is_closed:
            return
        try:
            header = read_header(body)
            match header.type:
                case EnvelopeType.KNOCK:
                    self._handle_knock(sender, header.session_id, open_knock(self._ticket, body))
                case EnvelopeType.DATA:
                    self._handle_data(sender, header.session_id, header.epoch_tag, body)
                case EnvelopeType.WELCOME:
                    raise EnvelopeRefusedError(EnvelopeRefusal.UNEXPECTED)
        except EnvelopeRefusedError as error:
            self._refusals.record(error.refusal)

    def _handle_knock(self, sender: str, session_id: bytes, knock: Knock) -> None:
        session = self._sessions.get(session_id)
        if session is not None and knock.number <= session.knock_number:
            raise EnvelopeRefusedError(EnvelopeRefusal.REPLAYED)
        gateway_epoch = self._token_bytes(ID_BYTES)
        status = WelcomeStatus.OK
        known = session is not None and session.channel is not None
        if self._ticket.is_expired(self._now()) and not known:
            status = WelcomeStatus.EXPIRED
        elif session is None and not self._has_room():
            status = WelcomeStatus.FULL
        if status is WelcomeStatus.OK:
            if session is None:
                session = self._sessions[session_id] = _Session(session_id, sender, knock.number)
            session.peer_id, session.knock_number = sender, knock.number
            session.pending = DataKeys(self._ticket, session_id, knock.client_epoch, gateway_epoch, initiator=False)
            if session.channel is not None:
                session.channel.peer_unreachable()
        self._link.forget(sender)  # Sealed for the epoch before this knock.
        welcome = Welcome(gateway_epoch, self._instance, known, status)
        nonce = self._token_bytes(NONCE_BYTES)
        self._link.send(sender, seal_welcome(self._ticket, session_id, knock.client_epoch, welcome, nonce=nonce))

    def _has_room(self) -> bool:
        if not self._owner_has_room():
            return False
        if len(self._sessions) < self._max_sessions:
            return True
        unclaimed = next((session for session in self._sessions.values() if session.channel is None), None)
        if unclaimed is not None:
            del self._sessions[unclaimed.session_id]
        return unclaimed is not None

    def _handle_data(self, sender: str, session_id: bytes, epoch_tag: bytes, envelope: bytes) -> None:
        session = self._sessions.get(session_id)
        if session is None and session_id in self._ended:
            return  # under keys of before its end: its client knocks, and is told
        if session is None:
            raise EnvelopeRefusedError(EnvelopeRefusal.WRONG_SESSION)
        if session.pending is not None and session.pending.epoch_tag == epoch_tag:
            body = session.pending.open(envelope)
            keys = session.pending
            session.keys, session.pending, session.peer_id = keys, None, sender
            if session.channel is None and session_id not in self._ended:
                session.channel = self._channel(session)
                self._on_session(session_id, session.channel)
            if session.channel is None or session_id in self._ended:  # the owner may have refused it just now
                self._tell_end(session, keys)
                return
            session.channel.peer_reachable(keys)
            session.channel.handle_body(body)
        elif session.channel is not None:
            session.channel.handle_envelope(envelope)
        else:
            raise EnvelopeRefusedError(EnvelopeRefusal.UNKNOWN_EPOCH)

    def _channel(self, session: _Session) -> SealedChannel:
        return SealedChannel(
            transmit=lambda envelope: self._link.send(session.peer_id, envelope),
            on_close=lambda: self._forget(session),
        )

    def _tell_end(self, session: _Session, keys: DataKeys) -> None:
        channel = self._channel(session)
        channel.peer_reachable(keys)
        channel.send(Bye(HAS_ENDED))
        channel.close()

    def _drop(self, session: _Session) -> None:
        self._forget(session)
        if session.channel is not None:
            session.channel.close()

    def _forget(self, session: _Session) -> None:
        if self._sessions.get(session.session_id) is session:
            del self._sessions[session.session_id]
        if session.channel is not None:
            self._ended[session.session_id] = None
            if len(self._ended) > MAX_ENDED_SESSIONS:
                del self._ended[next(iter(self._ended))]

    def _all_peers_unreachable(self) -> None:
        for session in list(self._sessions.values()):
            if session.channel is not None:
                session.channel.peer_unreachable()

    def _set_status(self, state: SignalingState, reason: str = "") -> None:
        status = SignalingStatus(state, self._link.url, reason)
        self._settled.set()
        if status != self._status and not self._is_closed:
            self._status = status
            if self._on_status is not None:
                self._on_status(status)
