"""The link to the rendezvous: one WebSocket that comes back by itself.

1. A lost connection is tried again at once, then after a random part of 0.2 s, 0.4 s … 2 s ("full jitter", so that
   the peers of a restarted rendezvous do not return together). The row starts over when a connection has lasted 5 s.
2. What was sent is lost with its connection: the owner is told when there is another, and sends again
   (`reliable_channel`). That goes out at once behind the join, not a round trip later when the join is answered;
   unless the last join had no answer, or a refusal.
3. The rendezvous' challenge comes with its answer to the opening, so that a gateway's proof costs no round trip.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

from websockets.exceptions import WebSocketException

from perdure.errors import ProtocolError, RendezvousError
from perdure.signaling.bounded import connect_directly
from perdure.signaling.dialling import Dialling
from perdure.signaling.envelope import MAX_ENVELOPE_BYTES
from perdure.signaling.frames import (
    MAX_BODY_BYTES,
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
    decode_server_frame,
    encode_frame,
    max_frame_bytes,
)
from perdure.signaling.outgoing import Outgoing
from perdure.signaling.reasons import describe_failure
from perdure.wire import printable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence
    from random import Random

    from websockets.asyncio.client import ClientConnection

    from perdure.signaling.socket import OpenSocket, Socket

T = TypeVar("T")

_logger = logging.getLogger("perdure.signaling")

CONNECT_TIMEOUT = 5.0
"""Seconds for name, TCP, TLS, HTTP and join together. A working path needs under 1 s; a dead one is not waited for."""

BACKOFF_BASE = 0.2
BACKOFF_MAX = 2.0
"""Seconds. Who waits for a rendezvous to come back waits half of that on average; 1000 peers of one that is away make
1000 attempts a second."""

REFUSED_BACKOFF_BASE = 5.0
REFUSED_BACKOFF_MAX = 60.0
"""Seconds, likewise, after a refusal that would end a link without tubes, or where another gateway has the room."""

PING_INTERVAL = 5.0
PING_TIMEOUT = 5.0
"""Seconds. A rendezvous whose path died is noticed within 10 s, also without a network event."""

LONGEST_FORGIVEN_SLEEP = 10.0
"""Seconds of a process's sleep after which it connects anew: as long as it would wait for a silent rendezvous."""

LASTING_TIME = 5.0
"""Seconds: a connection that ends sooner does not reset the back-off, or a refusal after joining would spin."""


class LinkListener(Protocol):
    """What the owner of a link hears, on the event loop's thread, never from within one of the link's methods."""

    def link_opening(self) -> None:
        """Connected, and about to join, or just joined: what is sent from here on goes out behind the join."""

    def link_up(self, peers: Sequence[str]) -> None:
        """Joined; `peers` are the ids of those who are there: for a client the gateway, for the gateway its clients."""

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
        open_socket: OpenSocket | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._url = urlunsplit(parts._replace(path=PATH)) if parts.path in {"", "/"} else url
        self._join = join
        self._listener = listener
        self._random = random
        self._ssl_context = ssl_context
        self._open = open_socket or self._open_websocket
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
        if self._dialling is not None:
            self._dialling.network_moved()
        else:
            self._connect_anew()

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
                    await self._until_wanted_anew(asyncio.sleep(self._backoff(failures)))
                failures = 0 if self._is_wanted_anew else failures + 1
        except RendezvousError as error:
            self._call(self._listener.link_failed, error)

    def _backoff(self, failures: int) -> float:
        if self._refusals:
            longest = min(REFUSED_BACKOFF_MAX, REFUSED_BACKOFF_BASE * 2 ** min(self._refusals - 1, 16))
            return self._random.uniform(longest / 2, longest)
        if failures == 0:
            return 0.0
        return self._random.uniform(0, min(BACKOFF_MAX, BACKOFF_BASE * 2 ** min(failures - 1, 16)))

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
        """One connection, from the attempt to its loss, whose reason it returns."""
        websocket: Socket | None = None
        writer: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                dialling = self._dialling = Dialling(self._open, soon=self._has_moved)
                try:
                    websocket = await dialling.run()
                finally:
                    self._dialling = None
                if dialling.has_moved:
                    self._connect_anew()
                self._local_address = websocket.local_address[0]
                await websocket.send(encode_frame(self._join(await _challenge(websocket))))
                if self._goes_ahead:
                    self._goes_ahead = False
                    writer = self._begin_writing(websocket)
                match decode_server_frame(await websocket.recv(decode=False)):
                    case Joined(peers):
                        pass
                    case Refused() as refused:
                        return self._heed(refused)
                    case _:
                        raise ProtocolError("the rendezvous answered a join with something else")
            self._goes_ahead, self._has_moved = True, False
            writer = writer or self._begin_writing(websocket)
            return await self._exchange(websocket, peers)
        except RendezvousError:
            raise
        except (OSError, EOFError, ValueError, WebSocketException, ProtocolError) as error:
            return describe_failure(error)
        except Exception as error:
            _logger.exception("link-error")
            return describe_failure(error)
        finally:
            self._is_up, self._outgoing = False, None
            self._local_address = None
            if websocket is not None:
                # No close handshake: on a dead path it would wait, and the rendezvous sees the end either way. Before
                # anything is awaited: this may be cancelled once more meanwhile.
                websocket.transport.abort()
            if writer is not None:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
            if websocket is not None:
                await websocket.wait_closed()

    async def _open_websocket(self) -> ClientConnection:
        options: dict[str, Any] = {} if self._ssl_context is None else {"ssl": self._ssl_context}
        return await connect_directly(
            self._url,
            proxy=None,
            compression=None,  # Sealed bodies do not shrink.
            open_timeout=None,
            max_size=max_frame_bytes(MAX_BODY_BYTES),
            ping_interval=PING_INTERVAL,
            ping_timeout=PING_TIMEOUT,
            close_timeout=1,
            **options,
        )

    def _begin_writing(self, websocket: Socket) -> asyncio.Task[None]:
        self._outgoing = Outgoing()
        self._call(self._listener.link_opening)
        return asyncio.create_task(self._outgoing.write_to(websocket), name="rendezvous link writer")

    async def _exchange(self, websocket: Socket, peers: Sequence[str]) -> str:
        self._is_up = True
        self._joined_at = asyncio.get_running_loop().time()
        self._call(self._listener.link_up, peers)
        while True:
            match decode_server_frame(await websocket.recv(decode=False)):
                case Deliver(sender, body):
                    self._call(self._listener.link_received, sender, body)
                case Presence(peer_id, present):
                    self._call(self._listener.link_presence, peer_id, present)
                case Refused() as refused:
                    return self._heed(refused)
                case Joined() | Challenge():
                    raise ProtocolError("a second greeting")

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


async def _challenge(websocket: Socket) -> Challenge:
    frame = decode_server_frame(await websocket.recv(decode=False))
    if not isinstance(frame, Challenge):
        raise ProtocolError("the rendezvous began with something else than its challenge")
    return frame
