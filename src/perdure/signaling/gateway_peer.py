"""The gateway's signaling: answers the knocks of its tickets' clients, and gives each session its channel.

1. A session belongs to one client's key and one ticket. Its keys in use, and the peer id that it sends to, stay until
   the first DATA that opens under the pending ones: a knock alone changes nothing.
2. A session that has ended is not begun again: a client that has slept through the end is told, and begins another.
3. Whether a ticket still admits its holder is asked with each knock. Who revokes one ends its sessions too
   (`Gateway`).
4. Knocks wait for their turn (`knock_queue`), as each costs key exchanges. All else that comes is cheap.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from random import SystemRandom
from typing import TYPE_CHECKING, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.admission import Holder, Verdict
from perdure.errors import PerdureError, ProtocolError, RendezvousError
from perdure.eventlog import log_event
from perdure.signaling.channel import PeerChannel, check_sendable
from perdure.signaling.envelope import (
    ID_BYTES,
    MAX_DETAIL_CHARACTERS,
    AnsweringGateway,
    EnvelopeRefusal,
    EnvelopeRefusedError,
    EnvelopeType,
    Refusal,
    RefusalReason,
    Welcome,
    read_type,
)
from perdure.signaling.frames import MAX_NAME_CHARACTERS, Challenge, Join, RefusalCode
from perdure.signaling.gateway_name import own_name
from perdure.signaling.gateway_proof import gateway_join
from perdure.signaling.knock_turns import KnockTurns
from perdure.signaling.messages import Bye, IceServers
from perdure.signaling.noise import KEY_BYTES, NoiseError
from perdure.signaling.reasons import REFUSAL_FOR
from perdure.signaling.refused_clients import RefusedClients
from perdure.signaling.reliable_channel import Body, decode_body, encode_body
from perdure.signaling.session_places import Session, SessionPlaces
from perdure.signaling.status import RefusalLog, SignalingState, SignalingStatus
from perdure.signaling.websocket import RendezvousLink

if TYPE_CHECKING:
    import ssl
    from collections import Counter
    from collections.abc import Callable, Sequence
    from random import Random
    from types import TracebackType

    from perdure.signaling.base import SignalingChannel, SignalingLink
    from perdure.signaling.messages import RTCIceServer
    from perdure.signaling.socket import OpenSocket
    from perdure.ticket_store import TicketStore

_logger = logging.getLogger("perdure.signaling")

MAX_SESSIONS = 1024
"""As many as it vouches for, and a few more than the default `max_tubes`: sessions whose client is away keep their
place."""

FAREWELL_TIMEOUT = 1.0
"""Seconds that the last words (`Bye`) have to reach the clients at `close`."""

TOOK_OVER = "that one has gone or does not answer; this one serves now, by its own tickets and its own --allow"

HAS_ENDED = "there is no such session here; a new one can begin"


class GatewaySignaling:
    """The gateway's end for all clients of its tickets. `start` it, `close` it.

    Args:
        tickets: the gateway's key, and the tickets that it serves.
        on_session: called with a new session's 16-byte id, its channel and its holder, once its client has proved
            itself. Attach a listener to the channel there or later; close the channel when the tube has ended, or it
            keeps its place.
        on_status: hears each change of the status. Both are called on the event loop's thread.
        has_room: asked before a new session is let in; one that is not is told so, and knocks again.
        ice_servers: those that clients need. `ValueError` is raised where they would not read them.
        name: told to another gateway that comes with the same key; by default this host's, and the process number.
        now: Unix seconds, for the tickets' expiry.
        token_bytes: the source of keys and ids; must be cryptographically random.
        interfaces: the names of those by which the rendezvous may be reached beside the routes' own way.
        open_socket: how to connect to the rendezvous, where that is not by `websockets`.
    """

    def __init__(
        self,
        rendezvous_url: str,
        tickets: TicketStore,
        *,
        on_session: Callable[[bytes, SignalingChannel, Holder], None],
        on_status: Callable[[SignalingStatus], None] | None = None,
        has_room: Callable[[], bool] = lambda: True,
        ice_servers: Sequence[RTCIceServer] = (),
        name: str | None = None,
        max_sessions: int = MAX_SESSIONS,
        random: Random | None = None,
        now: Callable[[], float] = time.time,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
        ssl_context: ssl.SSLContext | None = None,
        interfaces: Callable[[], Sequence[str]] = tuple,
        open_socket: OpenSocket | None = None,
    ) -> None:
        self._tickets = tickets
        self._on_session = on_session
        self._on_status = on_status
        self._owner_has_room = has_room
        check_sendable(IceServers(tuple(ice_servers)))
        self._ice_servers = tuple(ice_servers)
        self._name = own_name() if name is None else name[:MAX_NAME_CHARACTERS]
        self._occupied = ""
        """What was said of another gateway with this key, since the rendezvous let us in last."""
        self._now = now
        self._token_bytes = token_bytes
        self._instance = token_bytes(ID_BYTES)
        self._peer_id = token_bytes(ID_BYTES).hex()
        self._sessions = SessionPlaces(max_sessions)
        self._vouched: list[str] = []
        """As the rendezvous was told last."""
        self._link: SignalingLink = RendezvousLink(
            rendezvous_url,
            join=self._join,
            listener=self,
            random=random or SystemRandom(),
            ssl_context=ssl_context,
            interfaces=interfaces,
            open_socket=open_socket,
        )
        self._status = SignalingStatus(SignalingState.UNREACHABLE, self._link.url)
        self._settled = asyncio.Event()
        self._error: PerdureError | None = None
        self._is_closed = False
        self._refusals = RefusalLog(now=lambda: asyncio.get_running_loop().time())
        self._refused_clients = RefusedClients(now=lambda: asyncio.get_running_loop().time())
        self._knocks = KnockTurns(lambda: tickets.key, answer=self._answer_knock, refused=self._refusals.record)

    @property
    def status(self) -> SignalingStatus:
        """UNREACHABLE, READY or FAILED, and why."""
        return self._status

    @property
    def error(self) -> PerdureError | None:
        """Why it has failed for good, or None."""
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
        while self._status.state is not SignalingState.READY:
            if self._error is not None:
                raise self._error
            if self._is_closed:
                raise RendezvousError("the signaling was closed", url=self._link.url)
            self._settled.clear()
            await self._settled.wait()

    def set_ice_servers(self, servers: Sequence[RTCIceServer]) -> None:
        """Name `servers` to the clients from now on, also to those that are there already.

        Raises:
            ValueError: the clients would not read them; nothing was changed.
        """
        renewed = IceServers(tuple(servers))
        check_sendable(renewed)
        self._ice_servers = renewed.ice_servers
        for session in self._sessions:
            if session.channel is not None:
                session.channel.send(renewed)

    @property
    def local_address(self) -> str | None:
        """This machine's address on the connection to the rendezvous; `None` while there is none."""
        return self._link.local_address

    def network_moved(self, *, local_address_lost: bool | None, slept_seconds: float) -> None:
        """See `SignalingLink.network_moved`."""
        self._link.network_moved(local_address_lost=local_address_lost, slept_seconds=slept_seconds)

    async def close(self, *, flush_timeout: float = FAREWELL_TIMEOUT) -> None:
        """Close every channel and leave; what was sent has `flush_timeout` seconds to arrive. Twice is fine."""
        self._is_closed = True
        self._knocks.clear()
        self._settled.set()
        for session in self._sessions:
            if session.channel is not None:
                session.channel.close()
        channels = self._sessions.ended_channels
        try:
            await asyncio.gather(*(channel.settled(flush_timeout) for channel in channels))
        finally:
            for channel in channels:
                channel.end()
            await self._link.close()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # What the link says.

    def _join(self, challenge: Challenge) -> Join:
        try:
            return gateway_join(self._tickets.key, self._peer_id, self._name, challenge)
        except NoiseError as error:
            raise ProtocolError(f"the rendezvous' challenge: {error}") from error

    def link_opening(self) -> None:
        self._vouch()  # a client is reachable only once the rendezvous says that it is there

    def link_up(self, peers: Sequence[str]) -> None:
        if self._occupied:
            log_event(_logger, logging.WARNING, "gateway-took-over", was=self._occupied, why=TOOK_OVER)
            self._occupied = ""
        self._set_status(SignalingState.READY)
        present = set(peers)
        for peer_id in self._sessions.peers:
            self.link_presence(peer_id, present=peer_id in present)

    def link_down(self, reason: str, refusal: RefusalCode | None) -> None:
        self._all_peers_unreachable()
        if refusal is RefusalCode.OCCUPIED:
            self._occupied = reason
        self._set_status(SignalingState.UNREACHABLE, reason, refusal)

    def link_failed(self, error: RendezvousError) -> None:
        self._error = error
        self._all_peers_unreachable()
        self._set_status(SignalingState.FAILED, str(error))

    @property
    def has_live_tubes(self) -> bool:
        return any(session.channel is not None for session in self._sessions)

    def link_presence(self, peer_id: str, present: bool) -> None:
        if not present:
            self._knocks.drop(peer_id)
        for session in self._sessions.of_peer(peer_id):
            if session.channel is None:
                continue
            if present:
                session.channel.peer_reachable()  # it may have been away: what was sent meanwhile is lost
            else:
                session.channel.peer_unreachable()

    def link_received(self, sender: str, body: bytes) -> None:
        try:
            match read_type(body):
                case EnvelopeType.KNOCK:
                    if not self._is_closed:
                        self._knocks.add(sender, body, is_proved=self._sessions.has_proved(sender))
                case EnvelopeType.DATA:
                    self._handle_data(sender, body)
                case EnvelopeType.WELCOME | EnvelopeType.REFUSAL:
                    raise EnvelopeRefusedError(EnvelopeRefusal.UNEXPECTED)
        except EnvelopeRefusedError as error:
            self._refusals.record(error.refusal)

    def _answer_knock(self, sender: str, asked: AnsweringGateway) -> None:
        knock = asked.knock
        session = self._sessions.find(knock.session)
        ticket = self._tickets.find(knock.ticket)
        holder = Holder("" if ticket is None else ticket.name, knock.ticket, asked.client_key)
        if session is not None and session.holder != holder:
            raise EnvelopeRefusedError(EnvelopeRefusal.WRONG_SESSION)
        if session is not None and knock.number <= session.knock_number:
            raise EnvelopeRefusedError(EnvelopeRefusal.REPLAYED)
        known = session is not None and session.channel is not None
        refusal = self._refusal(holder, known=known, is_new=session is None)
        ephemeral = X25519PrivateKey.from_private_bytes(self._token_bytes(KEY_BYTES))
        if refusal is not None or ticket is None:
            refused = refusal or Refusal(RefusalReason.UNKNOWN)
            self._link.send(sender, asked.refuse(refused, ephemeral=ephemeral))
            return
        if session is None:
            session = Session(knock.session, holder, knock.number)
            self._sessions.add(session)
        session.knock_number = knock.number
        self._sessions.expect(session, sender)
        session.welcomed_with = self._ice_servers
        welcome = Welcome(self._instance, known, self._ice_servers)
        envelope, session.pending = asked.welcome(ticket.secret, welcome, ephemeral=ephemeral)
        self._link.send(sender, envelope)

    def _refusal(self, holder: Holder, *, known: bool, is_new: bool) -> Refusal | None:
        """Why a client is not let in, which is logged. A session goes on though its ticket has expired meanwhile."""
        admission = self._tickets.judge(holder.ticket_id, holder.client_key, now=self._now())
        verdict = admission.verdict
        if verdict.ends_session or (verdict is not Verdict.OK and not known):
            self._refused_clients.refused(holder, admission.why)
            return Refusal(REFUSAL_FOR[verdict], admission.detail[:MAX_DETAIL_CHARACTERS])
        if is_new and not (self._owner_has_room() and self._sessions.make_room()):
            self._refused_clients.has_no_room(holder)
            return Refusal(RefusalReason.FULL)
        return None

    def _handle_data(self, sender: str, envelope: bytes) -> None:
        for session in self._sessions.expected_from(sender):
            if session.pending is not None and session.pending_peer_id == sender and session.pending.opens(envelope):
                plain = session.pending.open(envelope)
                session.keys, session.pending = session.pending, None
                self._sessions.move(session, sender)
                self._confirmed(session)
                self._vouch_anew()
                break
            if session.keys is not None and session.peer_id == sender and session.keys.opens(envelope):
                plain = session.keys.open(envelope)
                break
        else:
            raise EnvelopeRefusedError(EnvelopeRefusal.STALE)
        if session.channel is not None:
            try:
                session.channel.handle_body(decode_body(plain))
            except ProtocolError as error:
                self._refusals.record(EnvelopeRefusal.MALFORMED, str(error))

    def _confirmed(self, session: Session) -> None:
        """A client has spoken under new keys."""
        if session.channel is None:
            session.channel = self._channel(session)
            if self._refusal(session.holder, known=False, is_new=False) is not None:
                session.channel.close()  # since the WELCOME its ticket was revoked, or somebody else has used it up
            elif not self._sessions.has_ended(session.session_id) and not self._is_closed:
                self._on_session(session.session_id, session.channel, session.holder)
                if session.welcomed_with != self._ice_servers:  # there was no channel yet when they were renewed
                    session.channel.send(IceServers(self._ice_servers))
            if self._sessions.has_ended(session.session_id):  # long ago, or its owner has refused it just now
                session.channel = self._channel(session)
                session.channel.send(Bye(HAS_ENDED))
                session.channel.close()
        session.channel.speak()  # by which the client knows that the keys are agreed
        session.channel.peer_reachable()

    def _channel(self, session: Session) -> PeerChannel:
        return PeerChannel(
            transmit=lambda body: self._transmit(session, body),
            on_close=lambda: self._end(session),
            on_doubt=self._link.doubt,
        )

    def _end(self, session: Session) -> None:
        self._sessions.end(session)
        self._vouch_anew()

    def _transmit(self, session: Session, body: Body) -> None:
        if session.keys is not None:
            self._link.send(session.peer_id, session.keys.seal(encode_body(body)), is_proved=True)

    def _vouch(self) -> None:
        """Say whose peer ids these are that have a session: one for each, the one where it was proved last."""
        self._vouched = self._sessions.proved_peers
        self._link.vouch(self._vouched)

    def _vouch_anew(self) -> None:
        if self._vouched != self._sessions.proved_peers:
            self._vouch()

    def _all_peers_unreachable(self) -> None:
        self._knocks.clear()
        for peer_id in self._sessions.peers:
            self.link_presence(peer_id, present=False)

    def _set_status(self, state: SignalingState, reason: str = "", refusal: RefusalCode | None = None) -> None:
        status = SignalingStatus(state, self._link.url, reason, refusal)
        self._settled.set()
        if status != self._status and not self._is_closed:
            self._status = status
            if self._on_status is not None:
                self._on_status(status)
