"""The link to the rendezvous: one WebSocket that comes back by itself.

1. A lost connection is tried again at once, then after a random part of 0.2 s, 0.4 s … 2 s ("full jitter", so that
   the peers of a restarted rendezvous do not return together). The row starts over when a connection has lasted 5 s.
   For 30 s after the network has moved, or a path was doubted, it stays at 0.4 s, as a tube waits for it.
2. What was sent is lost with its connection: the owner is told when there is another, and sends again
   (`reliable_channel`). That goes out at once behind the join, not a round trip later when the join is answered;
   unless the last join had no answer, or a refusal.
3. The rendezvous' challenge comes with its answer to the opening, so that a gateway's proof costs no round trip.
4. A connection whose path is doubted is asked by a ping. Where no answer comes in time, another is made beside it: as
   the routes lead, and by each interface. It joins in the place of the old one, which is used until then. The owner
   hears `link_up` again, without a `link_down`.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

from perdure.errors import ProtocolError, RendezvousError
from perdure.signaling.dialling import Dialling
from perdure.signaling.envelope import MAX_ENVELOPE_BYTES
from perdure.signaling.frames import (
    MAX_VOUCHED,
    PATH,
    Challenge,
    Deliver,
    Join,
    Joined,
    Presence,
    RefusalCode,
    Refused,
    Send,
    Vouch,
)
from perdure.signaling.link_connection import LOSSES, LinkConnection
from perdure.signaling.reasons import describe_failure, is_silence
from perdure.signaling.rendezvous_sockets import RendezvousSockets
from perdure.signaling.replacement import Replacement
from perdure.signaling.retry_wait import RetryWait
from perdure.wire import printable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence
    from random import Random

    from perdure.signaling.outgoing import Outgoing
    from perdure.signaling.socket import OpenSocket

T = TypeVar("T")

_logger = logging.getLogger("perdure.signaling")

CONNECT_TIMEOUT = 5.0
"""Seconds for name, TCP, TLS, HTTP and join together. A working path needs under 1 s; a dead one is not waited for."""

LONGEST_FORGIVEN_SLEEP = 10.0
"""Seconds of a process's sleep after which it connects anew: as long as it would wait for a silent rendezvous."""

LASTING_TIME = 5.0
"""Seconds: a connection that ends sooner does not reset the back-off, or a refusal after joining would spin."""

MAX_INTERFACES = 8
"""By which a connection is made at once: a machine has two or three uplinks, and each costs one at the rendezvous."""


class LinkListener(Protocol):
    """What the owner of a link hears, on the event loop's thread, never from within one of the link's methods."""

    def link_opening(self) -> None:
        """Connected, and about to join, or just joined: what is sent from here on goes out behind the join."""

    def link_up(self, peers: Sequence[str]) -> None:
        """Joined; `peers` are the ids of those who are there: for a client the gateway, for the gateway its clients.
        All others are gone, also where another connection has joined in the place of the last."""

    def link_down(self, reason: str, refusal: RefusalCode | None) -> None:
        """Not connected, because of `reason` (a few words for a person); empty where it only connects anew, as the
        network has moved. `refusal`: the rendezvous is there, and refuses us. Called again for each failed attempt."""

    def link_failed(self, error: RendezvousError) -> None:
        """The rendezvous refuses us for good; the link has ended."""

    def link_received(self, sender: str, body: bytes) -> None:
        """`body` from the peer id `sender`; in order, as long as both are connected."""

    def link_presence(self, peer_id: str, present: bool) -> None:
        """A peer has come (also: come back) or gone."""

    @property
    def has_live_tubes(self) -> bool:
        """Whether tubes live by the link: then no refusal ends it."""


class RendezvousLink:
    """A link to the rendezvous at `url`. `start` it, `close` it.

    Args:
        join: this peer's first frame, as the answer to the rendezvous' challenge.
        interfaces: the names of those by which the rendezvous may be reached beside the routes' own way.
        open_socket: how to connect, where that is not `websockets` (in a simulation).
    """

    def __init__(
        self,
        url: str,
        *,
        join: Callable[[Challenge], Join],
        listener: LinkListener,
        random: Random,
        ssl_context: ssl.SSLContext | None = None,
        interfaces: Callable[[], Sequence[str]] = tuple,
        open_socket: OpenSocket | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._url = urlunsplit(parts._replace(path=PATH)) if parts.path in {"", "/"} else url
        self._join = join
        self._listener = listener
        self._retry = RetryWait(random)
        self._interfaces = interfaces
        self._open = open_socket or RendezvousSockets(self._url, ssl_context).open
        self._is_up = False
        self._goes_ahead = True
        """Whether to send behind the join, before it is answered."""
        self._has_moved = False
        """Whether the network has changed since the last join."""
        self._local_address: str | None = None
        self._dialling: Dialling | None = None
        self._joined_at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._refusals = 0
        """Those after which it waits long, since a connection lasted."""
        self._refusal: RefusalCode | None = None
        """That which has ended the present connection."""
        self._turn: asyncio.Timeout | None = None
        """What ends the connection, or the wait for the next one, where another is wanted at once."""
        self._is_wanted_anew = False
        """Whether another connection is wanted since the present one was begun."""
        self._outgoing: Outgoing | None = None
        """Of the present connection, once it takes something."""
        self._live: LinkConnection | None = None
        """The present one, once it is open."""
        self._replacement: Replacement | None = None
        """Of the present one, since it was doubted last."""
        self._is_doubted = False
        """Whether the path was, or was silent, since the last join."""

    @property
    def url(self) -> str:
        """The WebSocket URL, with its path."""
        return self._url

    @property
    def is_up(self) -> bool:
        """Whether it has joined its room."""
        return self._is_up

    @property
    def local_address(self) -> str | None:
        """This machine's address on the connection; `None` while there is none."""
        return self._local_address

    def start(self) -> None:
        """Connect, and stay connected. Needs a running event loop.

        Raises:
            RuntimeError: it was started before.
        """
        if self._task is not None:
            raise RuntimeError("a link is started once")
        self._task = asyncio.create_task(self._run(), name="rendezvous link")

    def send(self, to: str, body: bytes, *, is_proved: bool = False) -> None:
        """Send `body` to the peer id `to` or `frames.GATEWAY`. It is lost where there is no connection, or with it.

        Args:
            is_proved: of a gateway: whether the receiver has proved itself. These and the others take turns.

        Raises:
            ValueError: `body` is empty or longer than an envelope.
        """
        if not 0 < len(body) <= MAX_ENVELOPE_BYTES:
            raise ValueError(f"a body has 1 to {MAX_ENVELOPE_BYTES} bytes, not {len(body)}")
        if self._outgoing is not None:
            self._outgoing.add(Send(to, body), is_proved=is_proved)
            if self._outgoing.is_stuck:
                self._connect_anew()

    def vouch(self, peers: Sequence[str]) -> None:
        """Of a gateway: these have proved themselves, and nobody else has. It is lost where there is no connection."""
        if self._outgoing is not None:
            self._outgoing.vouch(Vouch(tuple(peers[:MAX_VOUCHED])))

    def network_moved(self, *, local_address_lost: bool | None, slept_seconds: float) -> None:
        """The network changed, or the process slept: connect anew, at once, unless the connection has come through it.
        An attempt under way gets another one beside it.

        Args:
            local_address_lost: whether the connection's `local_address` is gone, or leads elsewhere now; `None`: not
                known.
        """
        if self._local_address is not None and not local_address_lost and slept_seconds < LONGEST_FORGIVEN_SLEEP:
            return
        self._goes_ahead = self._has_moved = True
        self._retry.hurry(asyncio.get_running_loop().time())
        if self._dialling is not None:
            self._dialling.network_moved()
        else:
            self._connect_anew()

    def doubt(self) -> None:
        """Something suspects the path: ask the rendezvous, and where it does not answer, connect by each interface.

        While that is under way, another doubt changes nothing.
        """
        if not self._is_up or self._live is None:
            self._is_doubted = True
            was_urgent = self._retry.hurry(asyncio.get_running_loop().time())
            if self._dialling is not None:
                self._dialling.doubt()
            elif self._live is None and not was_urgent:
                self._connect_anew()  # the wait for the next attempt may be long
        elif self._replacement is None or self._replacement.is_over:
            self._replacement = Replacement(
                self._live,
                dialling=lambda: self._new_dialling(soon=True, everywhere=True),
                join=self._join,
                timeout=CONNECT_TIMEOUT,
                on_joined=self._replaced,
            )

    async def close(self) -> None:
        """End the link. Twice is fine."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        try:
            while True:
                self._is_wanted_anew = False
                refusals, self._joined_at, self._refusal = self._refusals, None, None
                reason = await self._until_wanted_anew(self._connection())
                if reason is None or (self._joined_at is not None and loop.time() - self._joined_at >= LASTING_TIME):
                    failures = 0
                    self._refusals -= refusals  # of before that connection
                self._call(self._listener.link_down, reason or "", None if reason is None else self._refusal)
                if not self._is_wanted_anew:
                    wait = self._retry.seconds(failures, self._refusals, loop.time())
                    await self._until_wanted_anew(asyncio.sleep(wait))
                failures = 0 if self._is_wanted_anew else failures + 1
        except RendezvousError as error:
            self._call(self._listener.link_failed, error)

    def _connect_anew(self) -> None:
        if not self._is_wanted_anew:
            self._is_wanted_anew = True
            if self._turn is not None:
                self._turn.reschedule(asyncio.get_running_loop().time())

    async def _until_wanted_anew(self, work: Awaitable[T]) -> T | None:
        """What `work` comes to; `None` where another connection is wanted first."""
        try:
            async with asyncio.timeout(None) as self._turn:
                return await work
        except TimeoutError:
            return None
        finally:
            self._turn = None

    async def _connection(self) -> str:
        """One connection and those that replace it, from the attempt to the last loss, whose reason it returns."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                made = self._live = await self._dial()
                self._local_address = made.local_address
                await made.send_join(self._join)
                if self._goes_ahead:
                    self._goes_ahead = False
                    self._begin_writing(made)
                match await made.join_answer():
                    case Joined(peers):
                        pass
                    case Refused() as refused:
                        return self._heed(refused)
            self._goes_ahead, self._has_moved, self._is_doubted = True, False, False
            if self._outgoing is None:
                self._begin_writing(made)
            self._joined(peers)
            return await self._exchange()
        except RendezvousError:
            raise
        except (*LOSSES, ValueError, ProtocolError) as error:
            self._is_doubted = self._is_doubted or is_silence(error)
            return describe_failure(error)
        except Exception as error:
            _logger.exception("link-error")
            return describe_failure(error)
        finally:
            self._is_up, self._outgoing = False, None
            self._local_address = None
            live, self._live = self._live, None
            if live is not None:
                live.abort()  # before anything is awaited: this may be cancelled once more meanwhile
            replacement, self._replacement = self._replacement, None
            if replacement is not None:
                await replacement.stop()
            if live is not None:
                await live.wait_closed()

    async def _dial(self) -> LinkConnection:
        dialling = self._dialling = self._new_dialling(soon=self._has_moved, everywhere=self._is_doubted)
        try:
            websocket = await dialling.run()
        finally:
            self._dialling = None
        if dialling.has_moved:
            self._connect_anew()
        return LinkConnection(websocket)

    def _new_dialling(self, *, soon: bool, everywhere: bool) -> Dialling:
        beside = [partial(self._open, interface) for interface in self._interfaces()[:MAX_INTERFACES]]
        return Dialling(partial(self._open, None), beside, soon=soon, everywhere=everywhere)

    def _begin_writing(self, connection: LinkConnection) -> None:
        self._outgoing = connection.begin_writing()
        self._call(self._listener.link_opening)

    def _joined(self, peers: Sequence[str]) -> None:
        self._is_up = True
        self._joined_at = asyncio.get_running_loop().time()
        if self._outgoing is not None:
            self._outgoing.joined(peers)
        self._call(self._listener.link_up, peers)

    async def _exchange(self) -> str:
        """Take what comes, from one connection after another; why the last one ended."""
        while True:
            live = self._live
            assert live is not None
            try:
                return await self._receive(live)
            except LOSSES:
                if self._replacement is not None:
                    await self._replacement.outcome()
                if self._live is live:
                    raise

    async def _receive(self, live: LinkConnection) -> str:
        while True:
            frame = await live.receive()
            if self._live is not live:
                raise ConnectionResetError("it was replaced, and says only what is old")
            match frame:
                case Deliver(sender, body):
                    self._call(self._listener.link_received, sender, body)
                case Presence(peer_id, present):
                    if self._outgoing is not None:
                        self._outgoing.presence(peer_id, present)
                    self._call(self._listener.link_presence, peer_id, present)
                case Refused() as refused:
                    return self._heed(refused)
                case Joined() | Challenge():
                    raise ProtocolError("a second greeting")

    def _replaced(self, made: LinkConnection, peers: Sequence[str]) -> None:
        self._live, self._local_address = made, made.local_address
        self._begin_writing(made)
        self._joined(peers)

    def _heed(self, refused: Refused) -> str:
        reason = printable(refused.reason)
        if refused.code.is_final and not self._listener.has_live_tubes:
            text = f"the rendezvous at {self._url} refuses this peer ({refused.code.value}): {reason}"
            raise RendezvousError(text, url=self._url)
        self._refusals += refused.code.waits_long
        self._refusal = refused.code
        return f"{refused.code.value}: {reason}"

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        try:
            callback(*args)
        except Exception:  # An owner's mistake must not end the link of every tunnel behind it.
            _logger.exception("listener-error")
