"""The tickets that a gateway serves, and who used them: in memory on the event loop, and in a folder if there is one.

1. What a session changes counts in memory at once. A worker thread writes it to the folder, and reads what others have
   changed there: each second, and at once when a client's key is bound to a ticket.
2. What the worker has read replaces what is known, with what is not written yet on top of it. A change that is made
   here meanwhile (`create`, `revoke`, `forget`) makes the worker read again.
3. A folder that cannot be read or written is logged once (`problem_log`), and tried again each second; the gateway
   goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.admission import ClientUse, ServedTicket, judge
from perdure.errors import TicketError
from perdure.eventlog import log_event
from perdure.keys import public_bytes
from perdure.state_folder import gateway_key, read_rendezvous, write_rendezvous
from perdure.ticket import KEY_BYTES, SECRET_BYTES, Ticket
from perdure.ticket_store.authorized_keys import load_authorized_keys
from perdure.ticket_store.change_log import UsableLog, log_changes, log_doubles
from perdure.ticket_store.exchange import exchange
from perdure.ticket_store.folder import MAX_TICKETS, Entry, TicketFolder
from perdure.ticket_store.gateway_lock import GatewayLock
from perdure.ticket_store.listeners import Listeners
from perdure.ticket_store.problem_log import ProblemLog
from perdure.ticket_store.record import MAX_ADDRESS_CHARACTERS, check_ticket, writable_instant
from perdure.ticket_store.unwritten import UnwrittenUses
from perdure.ticket_store.view import View, view_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from perdure.admission import Admission

log = logging.getLogger(__name__)

POLL_INTERVAL = 1.0
"""Seconds between two looks at the folder: a ticket that is revoked must have ended its tunnels within 2 s."""

DEFAULT_TICKET = "default"
"""The name of the ticket that a gateway makes that has none."""


class TicketStore:
    """The gateway's key and its tickets. A command uses it and drops it; a gateway calls `begin_serving`, runs `watch`
    as a task, and calls `end_serving`. Everything is called on one thread, which with a folder may block for a moment
    in `create`, `revoke`, `forget` and `begin_serving`.

    Args:
        folder: the state folder; `None`: all is in memory, and gone with this object.
        authorized_keys: a file of the only client keys that are admitted; `None`: any key is.
        token_bytes: the source of keys and secrets; must be cryptographically random.

    Raises:
        TicketError: the folder or the authorized keys cannot be read.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        authorized_keys: Path | None = None,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.folder = folder
        self._token_bytes = token_bytes
        self._files = None if folder is None else TicketFolder(folder)
        self._lock = None if folder is None else GatewayLock(folder)
        self._authorized = None if authorized_keys is None else load_authorized_keys(authorized_keys)
        self._entries: Mapping[str, Entry] = {}
        """What the folder holds, as it was read or written last."""
        self._view = View()
        self._live: Counter[tuple[bytes, bytes]] = Counter()
        """Tunnels by ticket id and client key."""
        self._unwritten = UnwrittenUses()
        self._problems = ProblemLog(now=time.monotonic)
        self._usable = UsableLog()
        self._edits = 0
        """Changes made here: a worker that read before one of them has read too early."""
        self._work: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._listeners = Listeners()
        if self._files is not None:
            try:
                scan = self._files.scan({})
            except OSError as error:
                raise TicketError(f"the state folder {folder} cannot be read: {error.strerror}") from error
            self._problems.tell_files(scan.problems)
            self._read(scan.entries)
        if self._authorized is not None:
            self._problems.tell(self._authorized.warning)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in {self.folder or 'memory'} with {len(self._view.tickets)} tickets>"

    def __iter__(self) -> Iterator[ServedTicket]:
        """The tickets by name; those that are revoked or expired, too."""
        return iter([self._view.tickets[name] for name in self.names])

    # The gateway's identity.

    @cached_property
    def key(self) -> X25519PrivateKey:
        """The gateway's private key; in the folder's file, made on first use.

        Raises:
            TicketError: the file cannot be read or made, holds no key, or others can read it.
        """
        if self.folder is None:
            return X25519PrivateKey.from_private_bytes(self._token_bytes(KEY_BYTES))
        return gateway_key(self.folder)

    @cached_property
    def public_key(self) -> bytes:
        """32 bytes. Raises as `key` does."""
        return public_bytes(self.key)

    @property
    def rendezvous_url(self) -> str | None:
        """The URL that the folder's gateway used last, as far as it is known."""
        return None if self.folder is None else read_rendezvous(self.folder)

    # What the signaling asks and tells.

    def find(self, ticket_id: bytes) -> ServedTicket | None:
        """The ticket of this id; one that is revoked or expired, too: its holder is to be told."""
        return self._view.find(ticket_id)

    def judge(self, ticket_id: bytes, client_key: bytes, *, now: float) -> Admission:
        """Whether the client of this key, which has proved to hold the ticket, is admitted. Changes nothing."""
        authorized = None if self._authorized is None else self._authorized.keys
        return judge(self.find(ticket_id), client_key, authorized=authorized, now=now)

    def began(self, ticket_id: bytes, client_key: bytes, *, now: float) -> None:
        """A session of a client that was admitted is proved: its key is bound to the ticket, and a tunnel is live."""
        self._live[ticket_id, client_key] += 1
        if (ticket := self.find(ticket_id)) is None:
            return
        before = ticket.clients.get(client_key)
        at = writable_instant(now)
        use = ClientUse(at, at) if before is None else replace(before, last_used_at=at)
        use = replace(use, tunnels=self._live[ticket_id, client_key])
        self._note(ticket, client_key, use, binds=before is None)
        if before is None:
            self._wake.set()

    def came_from(self, ticket_id: bytes, client_key: bytes, address: str | None) -> None:
        """A session that `began` has a path to `address`; `None`: it is not known. A terminal will show it."""
        ticket = self.find(ticket_id)
        before = None if ticket is None else ticket.clients.get(client_key)
        if ticket is None or before is None or address is None or not address.isprintable():
            return
        if (address := address[:MAX_ADDRESS_CHARACTERS]) != before.address:
            self._note(ticket, client_key, replace(before, address=address), binds=False)

    def ended(self, ticket_id: bytes, client_key: bytes, *, now: float) -> None:
        """A session that `began` has ended."""
        tunnels = self._live[ticket_id, client_key] - 1
        if tunnels > 0:
            self._live[ticket_id, client_key] = tunnels
        else:
            del self._live[ticket_id, client_key]
        ticket = self.find(ticket_id)
        if ticket is not None and (before := ticket.clients.get(client_key)) is not None:
            use = replace(before, last_used_at=writable_instant(now), tunnels=max(tunnels, 0))
            self._note(ticket, client_key, use, binds=False)

    def subscribe(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Have `on_change` called when a ticket or the authorized keys have changed otherwise than by `began` and
        `ended`: live sessions are to be judged again. Returns what ends that."""
        return self._listeners.add(on_change)

    # What the owner does.

    @property
    def names(self) -> Sequence[str]:
        return list(self._view.tickets)

    def ticket(self, name: str, rendezvous_url: str) -> Ticket:
        """What the holder of the ticket needs.

        Raises:
            TicketError: there is no such ticket, or the gateway's key cannot be used.
            ValueError: `rendezvous_url` is none.
        """
        served = self._existing(name)
        return Ticket(rendezvous_url, self.public_key, served.secret, served.expires_at)

    def create(
        self,
        name: str,
        *,
        now: float | None = None,
        expires_at: float = 0,
        uses: int | None = None,
        allow: Sequence[str] = (),
        secret: bytes | None = None,
    ) -> ServedTicket:
        """A new ticket.

        Args:
            now: Unix seconds; `None`: this machine's clock.
            expires_at: Unix seconds; 0: it never expires.
            uses: how many clients, told apart by their keys, may use it; `None`: any number.
            allow: what it may reach, as `--allow` has it; nothing: all that the gateway allows.
            secret: 32 bytes that somebody holds already; a new one otherwise.

        Raises:
            ValueError: an argument is out of its range.
            TicketError: there is one of that name, there are too many, or it cannot be written.
        """
        now = time.time() if now is None else now
        if 0 < expires_at <= now:
            raise ValueError("a new ticket must not be expired already")
        secret = self._token_bytes(SECRET_BYTES) if secret is None else secret
        ticket = ServedTicket(name, secret, writable_instant(now), int(expires_at), uses, tuple(allow))
        check_ticket(ticket)
        if self._files is not None:
            self._edit({**self._entries, name: self._files.create(ticket)})
            return ticket
        if name in self._view.tickets:
            raise TicketError(f"there is a ticket called {name} already; take another name")
        if len(self._view.tickets) >= MAX_TICKETS:
            raise TicketError(f"there are {MAX_TICKETS} tickets already")
        self._edit({**self._entries, name: Entry((), ticket)})
        return ticket

    def revoke(self, name: str, *, now: float | None = None) -> None:
        """End a ticket for good, at `now` as for `create`. One that is revoked already stays as it is.

        Raises:
            TicketError: there is no such ticket, or it cannot be written.
        """
        at = writable_instant(time.time() if now is None else now)
        self._change(name, lambda ticket: ticket if ticket.revoked_at else replace(ticket, revoked_at=at))

    def forget(self, client_key: bytes, *, name: str | None = None) -> Sequence[str]:
        """Forget a client, so that another one may use a ticket for so many in its place.

        Args:
            name: the ticket that is meant; `None`: all.

        Returns:
            The names of the tickets that the client had used.

        Raises:
            TicketError: there is no such ticket, or it cannot be written.
        """
        if name is not None:
            self._existing(name)
        meant = [ticket.name for ticket in self if client_key in ticket.clients and name in {None, ticket.name}]
        for each in meant:
            self._unwritten.forget(each, client_key)
            self._change(each, lambda ticket: ticket.without_client(client_key))
        return meant

    # A gateway's life.

    def begin_serving(self, rendezvous_url: str) -> None:
        """Take the folder for this gateway, and remember its rendezvous.

        Raises:
            TicketError: another gateway has it, or it cannot be used.
        """
        if self.folder is None or self._files is None or self._lock is None:
            return
        self._lock.take()
        try:
            self._files.remove_scratch()
            write_rendezvous(self.folder, rendezvous_url)
        except OSError as error:
            self._problems.tell(f"the state folder {self.folder} cannot be written: {error.strerror}")
        for ticket in self:  # a gateway that was killed has left what was live
            for key, use in ticket.clients.items():
                if use.tunnels != (live := self._live[ticket.ticket_id, key]):
                    self._note(self._existing(ticket.name), key, replace(use, tunnels=live), binds=False)

    async def watch(self) -> None:
        """Keep in step with the folder until this is cancelled."""
        is_polled = self._files is not None or self._authorized is not None
        self._wake = asyncio.Event()
        while True:
            if is_polled:
                try:
                    await self.flush()
                except Exception as error:  # a listener's mistake must not make the gateway blind to what is revoked
                    log_event(log, logging.ERROR, "ticket-store", error, problem="bug")
            self._usable.look(self, now=time.time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL if is_polled else None):
                    await self._wake.wait()
            self._wake.clear()

    async def flush(self) -> None:
        """Write what is not written yet, where it can be done, and read what has changed. The worker outlives this."""
        while self._work is not None and not self._work.done():
            await asyncio.wait({self._work})
        self._work = asyncio.get_running_loop().create_task(self._turn())
        await asyncio.shield(self._work)

    async def end_serving(self) -> None:
        """Write what is not written yet, and leave the folder to another gateway. Twice is fine."""
        if self._lock is None:
            return
        try:
            await self.flush()
        finally:
            self._lock.release()

    def is_served(self) -> bool:
        """Whether a gateway runs on this folder: without one, no tunnel is live, whatever the files say."""
        try:
            return self._lock is None or self._lock.is_held()
        except OSError:
            return False

    # Its parts.

    async def _turn(self) -> None:
        """One exchange with the folder, in a thread."""
        edits = self._edits
        uses = self._unwritten.begin_writing()
        failed: Iterable[str] = uses
        try:
            done = await asyncio.to_thread(exchange, self._files, dict(self._entries), uses, self._authorized)
            if not (has_edits := edits != self._edits):
                failed = done.unwritten
        finally:
            self._unwritten.end_writing(failed)
        self._problems.tell_files(done.news)
        authorized = "" if done.authorized is None else done.authorized.problem or done.authorized.warning
        self._problems.tell(done.problem or authorized)
        if has_edits:
            self._wake.set()
            return
        before, self._authorized = self._authorized, done.authorized
        keys_changed = before is not None and done.authorized is not None and before.keys != done.authorized.keys
        if keys_changed or done.entries != self._entries:
            self._adopt(done.entries, tell=keys_changed)

    def _adopt(self, entries: Mapping[str, Entry], *, tell: bool = False) -> None:
        """Take what the folder holds now; listeners and the log hear of what is new to them."""
        before = self._view
        self._read(entries)
        if log_changes(before, self._view) or tell:
            self._listeners.call()

    def _read(self, entries: Mapping[str, Entry]) -> None:
        before, self._entries = self._view, entries
        held = {name: entry.ticket for name, entry in entries.items() if entry.ticket is not None}
        self._view = view_of(held, *self._unwritten.layers)
        log_doubles(before, self._view)

    def _note(self, ticket: ServedTicket, client_key: bytes, use: ClientUse, *, binds: bool) -> None:
        """Count what a client did in memory, and have it written."""
        ticket = ticket.with_use(client_key, use)
        self._view = self._view.with_ticket(ticket)
        if self._files is None:
            self._entries = {**self._entries, ticket.name: Entry((), ticket)}
        else:
            self._unwritten.note(ticket, client_key, use, binds=binds)

    def _existing(self, name: str) -> ServedTicket:
        if (ticket := self._view.tickets.get(name)) is None:
            raise TicketError(f"there is no ticket called {name!r}; `perdure ticket list` shows them")
        return ticket

    def _change(self, name: str, changed: Callable[[ServedTicket], ServedTicket]) -> None:
        ticket = self._existing(name)
        if self._files is None:
            self._edit({**self._entries, name: Entry((), changed(ticket))})
            return
        path = self._files.file_of(name)
        try:
            entry = self._files.change(name, changed)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise TicketError(f"the ticket file {path} cannot be changed: {why}") from error
        if entry is None:
            raise TicketError(f"the ticket file {path} is gone")
        self._edit({**self._entries, name: entry})

    def _edit(self, entries: Mapping[str, Entry]) -> None:
        """Take what was just changed here."""
        self._edits += 1
        self._wake.set()
        self._adopt(entries)
