"""What clients did that is not in the tickets' files yet; a failed writing gives it back. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from perdure.ticket_store.view import Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from perdure.admission import ClientUse, ServedTicket
    from perdure.ticket_store.view import Uses


class UnwrittenUses:
    """The last use of each client by each ticket; no more clients of a ticket than it remembers."""

    def __init__(self) -> None:
        self._waiting: dict[str, Mapping[bytes, Use]] = {}
        self._writing: Uses = {}

    @property
    def layers(self) -> tuple[Uses, Uses]:
        """What is being written, and what came after it."""
        return self._writing, self._waiting

    def note(self, ticket: ServedTicket, client_key: bytes, use: ClientUse, *, binds: bool) -> None:
        """`use` is to be written of a client of `ticket`, which has it already."""
        noted = _merged(self._waiting.get(ticket.name, {}), {client_key: Use(use, binds, ticket.ticket_id)})
        self._waiting[ticket.name] = {
            key: each for key, each in noted.items() if each.use is None or key in ticket.clients
        }

    def forget(self, name: str, client_key: bytes) -> None:
        """Do not write what waits of a client. What is being written now is to be taken out again."""
        waiting = {key: use for key, use in self._waiting.get(name, {}).items() if key != client_key}
        if (written := self._writing.get(name, {}).get(client_key)) is not None:
            waiting[client_key] = Use(None, False, written.ticket_id)
        if waiting or name in self._waiting:
            self._waiting[name] = waiting

    def begin_writing(self) -> Uses:
        """All that waits, for a worker; `end_writing` says what came of it."""
        self._writing, self._waiting = self._waiting, {}
        return self._writing

    def end_writing(self, failed: Iterable[str]) -> None:
        """The worker is done; what it could not write of these tickets waits again."""
        for name in failed:
            if name in self._writing:
                self._waiting[name] = _merged(self._writing[name], self._waiting.get(name, {}))
        self._writing = {}


def _merged(earlier: Mapping[bytes, Use], later: Mapping[bytes, Use]) -> Mapping[bytes, Use]:
    """The later of each client's uses; it binds the key if one of both does, and the client was not forgotten there."""
    both = {
        key: replace(each, binds=each.binds or earlier[key].binds)
        for key, each in later.items()
        if key in earlier and each.use is not None
    }
    return {**earlier, **later, **both}
