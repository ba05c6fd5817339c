"""The file of client keys that a gateway admits, as ssh's authorized_keys: a key a line, and a comment behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from perdure.errors import TicketError
from perdure.keys import parse_key_text
from perdure.private_files import read_file, writable_by_others

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_BYTES = 1024 * 1024
"""Over 10,000 keys with a comment each."""


@dataclass(frozen=True, slots=True)
class AuthorizedKeys:
    """The keys of a file, and what the file was when they were read, or could not be: `problem` says why."""

    path: Path
    keys: frozenset[bytes]
    signature: tuple[int, ...] | None = None
    problem: str = ""
    is_written_now: bool = False
    """Whether it had no bytes at the last look, as a file has at the moment in which an editor writes it."""

    @property
    def warning(self) -> str:
        """What the owner of a list that is used should know."""
        return "" if self.keys else f"no client is admitted: the authorized keys in {self.path} name none"


def load_authorized_keys(path: Path) -> AuthorizedKeys:
    """The keys in `path`, for a gateway that starts.

    Raises:
        TicketError: the file cannot be read, others can write it, or a line holds no key.
    """
    found = read_authorized_keys(path)
    if found.problem:
        raise TicketError(found.problem)
    return found


def read_authorized_keys(path: Path, known: AuthorizedKeys | None = None) -> AuthorizedKeys:
    """The keys in `path`; those that were `known`, if the file is as it was, or cannot be used now.

    A list that cannot be used must not shut out everybody, nor let in anybody else. A file without a byte counts at the
    second look: an editor may be writing it.
    """
    keys = frozenset[bytes]() if known is None else known.keys
    and_now = "" if known is None else "; the list that was read before stays in force"
    try:
        status = path.stat()
        signature = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        if known is not None and known.signature == signature:
            return known
        if known is not None and not status.st_size and not known.is_written_now:
            return replace(known, signature=None, is_written_now=True)
        content, status = read_file(path, limit=MAX_FILE_BYTES)
    except OSError as error:
        return AuthorizedKeys(
            path, keys, None, f"the authorized keys in {path} cannot be read: {error.strerror}{and_now}"
        )
    if writable_by_others(status):
        problem = f"others can write the authorized keys in {path}, which is refused: chmod go-w {path}{and_now}"
        return AuthorizedKeys(path, keys, signature, problem)
    try:
        return AuthorizedKeys(path, parse_authorized_keys(content.decode("utf-8", "replace")), signature)
    except ValueError as error:
        return AuthorizedKeys(path, keys, signature, f"{path}: {error}{and_now}")


def parse_authorized_keys(text: str) -> frozenset[bytes]:
    """The keys of lines `KEY [COMMENT]`; empty lines, and those that begin with #, say nothing.

    Raises:
        ValueError: which line has no key.
    """
    keys = set()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(maxsplit=1)
        if not words or words[0].startswith("#"):
            continue
        try:
            keys.add(parse_key_text(words[0]))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return frozenset(keys)
