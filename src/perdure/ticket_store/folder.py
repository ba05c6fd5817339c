"""The folder of a gateway's tickets, on the disk. Everything here may block; several processes may use it at once.

1. A ticket's file is replaced in one step, so that reading needs no lock. Who changes one holds the folder's lock from
   the reading to the writing, so that no change of another process is lost.
2. What cannot be read or understood is told, and left out. A ticket that was read before stays as it was while its file
   is there: a full table of descriptors, or an editor that is half done, must not end tunnels.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from perdure.errors import TicketError
from perdure.private_files import (
    LOCK_TIMEOUT,
    SCRATCH_SUFFIX,
    locked,
    make_folder,
    read_file,
    readable_by_others,
    writable_by_others,
    write_file,
)
from perdure.state_folder import TICKETS_FOLDER
from perdure.ticket_store.record import MAX_RECORD_BYTES, check_name, decode_ticket, encode_ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from perdure.admission import ServedTicket

MAX_TICKETS = 4096
"""Files that are read; a worker looks at so many for a change in 30 ms, each second."""

SUFFIX = ".json"

Signature: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it was when it was read last, and the ticket that it holds or held; `None`: it never held one."""

    signature: Signature
    ticket: ServedTicket | None


@dataclass(frozen=True, slots=True)
class Scan:
    """The files by their tickets' names, and what is wrong: with those that are new or changed, and with the folder."""

    entries: Mapping[str, Entry]
    problems: tuple[str, ...] = ()


class TicketFolder:
    """The files of a state folder's tickets."""

    def __init__(self, state_folder: Path) -> None:
        self._state_folder = state_folder
        self._tickets = state_folder / TICKETS_FOLDER

    def file_of(self, name: str) -> Path:
        return self._tickets / (name + SUFFIX)

    def scan(self, known: Mapping[str, Entry]) -> Scan:
        """What is there now; only what is not as it is `known` is read.

        Raises:
            OSError: the folder cannot be listed, or is gone though tickets are known. One that never was is empty.
        """
        names = self._names()
        problems = [] if known else self._open_folders()
        if known and not names and not self._tickets.exists():
            raise OSError(errno.ENOENT, "the folder is gone", str(self._tickets))
        if len(names) > MAX_TICKETS:
            problems.append(
                f"{self._tickets} holds over {MAX_TICKETS} tickets; those from {names[MAX_TICKETS]} on are left out"
            )
        entries = {}
        for name in names[:MAX_TICKETS]:
            before = known.get(name)
            try:
                signature = _signature(os.lstat(f"{self._tickets}/{name}{SUFFIX}"))  # pathlib takes as long again
            except FileNotFoundError:
                continue
            if before is not None and before.signature == signature:
                entries[name] = before
                continue
            try:
                entries[name], problem = self._read(name)
                if problem:
                    problems.append(problem)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                entries[name] = Entry(signature, before.ticket if before is not None else None)
                stays = "it stays as it was" if entries[name].ticket is not None else "it is left out"
                problems.append(f"the ticket file {self.file_of(name)} cannot be used, and {stays}: {why}")
        return Scan(entries, tuple(problems))

    def create(self, ticket: ServedTicket) -> Entry:
        """Write a new ticket.

        Raises:
            TicketError: there is one of that name, there are too many, or it cannot be written.
        """
        path = self.file_of(ticket.name)
        try:
            make_folder(self._state_folder)
            make_folder(self._tickets)
            with locked(self._state_folder):
                if os.path.lexists(path):
                    raise TicketError(
                        f"there is a ticket called {ticket.name} already; take another name, or delete {path}"
                    )
                if len(self._names()) >= MAX_TICKETS:
                    raise TicketError(
                        f"there are {MAX_TICKETS} tickets already; delete those in {self._tickets} that nobody needs"
                    )
                return self._write(ticket)
        except OSError as error:
            raise TicketError(f"the ticket file {path} cannot be written: {error.strerror}") from error

    def change(
        self, name: str, changed: Callable[[ServedTicket], ServedTicket], *, timeout: float = LOCK_TIMEOUT
    ) -> Entry | None:
        """Apply `changed` to a ticket as its file has it now; `None`: there is no such file.

        Args:
            timeout: seconds to wait for another process that changes the folder.

        Raises:
            OSError: the file cannot be read or written, or the lock not be had.
            ValueError: the file holds no ticket.
        """
        try:
            with locked(self._state_folder, timeout=timeout):
                entry, _ = self._read(name)
                assert entry.ticket is not None
                ticket = changed(entry.ticket)
                return entry if ticket == entry.ticket else self._write(ticket)
        except FileNotFoundError:
            if not self._tickets.exists():
                raise
            return None

    def remove_scratch(self) -> None:
        """Remove what processes have left that were killed while they wrote.

        Raises:
            OSError: the folder cannot be changed.
        """
        with locked(self._state_folder):
            for path in self._tickets.glob(f".*{SCRATCH_SUFFIX}"):
                path.unlink(missing_ok=True)

    def _open_folders(self) -> list[str]:
        """What to say of folders in which others can put files."""
        return [
            f"others can write the folder {folder}: chmod go-w {folder}"
            for folder in (self._state_folder, self._tickets)
            if folder.is_dir() and writable_by_others(folder.stat())
        ]

    def _names(self) -> list[str]:
        """Of all files that may be tickets, in order."""
        try:
            found = os.listdir(self._tickets)
        except FileNotFoundError:
            return []
        return sorted(name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX) and _is_name(name))

    def _read(self, name: str) -> tuple[Entry, str]:
        """The ticket in a file, and what its reader should know.

        Raises:
            OSError, ValueError: it cannot be read, or holds no ticket.
        """
        path = self.file_of(name)
        content, status = read_file(path, limit=MAX_RECORD_BYTES, follow_links=False)
        ticket = decode_ticket(content, name=name)
        others = readable_by_others(status) or writable_by_others(status)
        problem = f"others can read or write the ticket file {path}: chmod 600 {path}" if others else ""
        return Entry(_signature(status), ticket), problem

    def _write(self, ticket: ServedTicket) -> Entry:
        path = self.file_of(ticket.name)
        write_file(path, encode_ticket(ticket))
        return Entry(_signature(path.lstat()), ticket)


def _is_name(file: str) -> bool:
    try:
        check_name(file.removesuffix(SUFFIX))
    except ValueError:
        return False
    return True


def _signature(status: os.stat_result) -> Signature:
    """Differs once the file has changed; the time of the inode tells of a chmod, too."""
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
