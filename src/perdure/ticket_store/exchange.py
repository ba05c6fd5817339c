"""One turn of a running gateway with its folder: what others have changed is read, and what its clients did is written.

Runs in a worker thread; it takes and returns values, and shares nothing with the event loop's thread.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure.ticket_store.authorized_keys import read_authorized_keys
from perdure.ticket_store.folder import Entry
from perdure.ticket_store.view import with_uses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perdure.ticket_store.authorized_keys import AuthorizedKeys
    from perdure.ticket_store.folder import TicketFolder
    from perdure.ticket_store.view import Uses

WRITE_LOCK_TIMEOUT = 0.5
"""Seconds that the gateway waits for a command that changes the folder: in the next second it tries again, and what is
revoked must be seen meanwhile."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What is known after a turn.

    Args:
        unwritten: names whose uses could not be written.
        news: what is wrong with files that are new or changed.
        problem: why the folder cannot be read or written now.
    """

    entries: Mapping[str, Entry]
    authorized: AuthorizedKeys | None
    unwritten: frozenset[str] = frozenset()
    news: tuple[str, ...] = ()
    problem: str = ""


def exchange(
    folder: TicketFolder | None, known: Mapping[str, Entry], uses: Uses, authorized: AuthorizedKeys | None
) -> Exchanged:
    """Read what has changed, then write `uses`. Raises nothing: what fails is in the answer."""
    if authorized is not None:
        authorized = read_authorized_keys(authorized.path, authorized)
    if folder is None:
        return Exchanged(known, authorized)
    try:
        scan = folder.scan(known)
    except OSError as error:
        problem = f"the tickets cannot be read, and stay as they were: {error.strerror}"
        return Exchanged(known, authorized, frozenset(uses), problem=problem)
    entries, problem = dict(scan.entries), ""
    unwritten = set()
    is_locked = False
    for name, clients in uses.items():
        if is_locked:
            unwritten.add(name)
            continue
        try:
            entry = folder.change(name, lambda ticket, c=clients: with_uses(ticket, c), timeout=WRITE_LOCK_TIMEOUT)  # type: ignore[misc]
        except (OSError, ValueError) as error:
            unwritten.add(name)
            is_locked = isinstance(error, OSError) and error.errno == errno.EAGAIN
            why = error.strerror if isinstance(error, OSError) else error
            problem = f"who uses {folder.file_of(name)} cannot be written to it: {why}"
            continue
        if entry is None:
            entries.pop(name, None)
        else:
            entries[name] = entry
    return Exchanged(entries, authorized, frozenset(unwritten), scan.problems, problem)
