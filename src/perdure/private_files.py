"""Files that hold secrets: read with a bound, written in one step, and locked while they change.

What root makes in another user's folder is given to that user: a service's tickets are made with sudo, and the service
must be able to read them.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_FILE = "lock"
"""In a folder: whoever changes the folder's files holds a flock on it."""

LOCK_TIMEOUT = 5.0
"""Seconds to wait for a lock. A change takes milliseconds; over 5 s, its process is stopped or its disk hangs."""

SCRATCH_SUFFIX = ".tmp"
"""Ends the name of a file that is being written, which begins with a dot."""

_LOCK_POLL_INTERVAL = 0.01
"""Seconds between two tries: flock has no time limit of its own."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def expanded(path: str | Path) -> Path:
    """`path` with its `~` or `~USER` replaced; that of a user who is not there stays, and is not found."""
    return Path(os.path.expanduser(path))


def read_file(path: Path, *, limit: int, follow_links: bool = True) -> tuple[bytes, os.stat_result]:
    """The content of a regular file, and what the system says of it. Does not wait for the writer of a FIFO.

    Raises:
        OSError: it cannot be read, is no regular file, has more than `limit` bytes, or is a symbolic link without
            `follow_links`; `strerror` says which.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    if not follow_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            raise OSError(errno.EINVAL, f"it is {kind} and not a regular file", str(path))
        content = b""
        while len(content) <= limit and (read := os.read(descriptor, limit + 1 - len(content))):
            content += read
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", str(path))
    return content, status


def write_file(path: Path, content: bytes) -> None:
    """Replace `path` in one step: others can never read it, and a reader sees the old content or the new one, even
    after a power failure.

    Raises:
        OSError: it cannot be written; `path` is as it was.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}{SCRATCH_SUFFIX}")
    scratch.unlink(missing_ok=True)  # of a process of this number that was killed
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            _give_to_owner_of(path.parent, descriptor)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    _sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder that is its owner's alone, unless there is one.

    Raises:
        OSError: it cannot be made, or is no folder; `strerror` names it.
    """
    if path.is_dir():
        return
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"the folder {path} cannot be made: {error.strerror}", str(path)) from error
    _give_to_owner_of(path.parent, path)


@contextmanager
def locked(folder: Path, *, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Hold `folder`'s lock. Blocks for at most `timeout` seconds.

    Raises:
        OSError: another process holds it for longer, or the lock file cannot be opened.
    """
    descriptor = open_lock(folder / LOCK_FILE)
    try:
        _give_to_owner_of(folder, descriptor)
        deadline = time.monotonic() + timeout
        while not try_lock(descriptor):
            if time.monotonic() >= deadline:
                text = f"another process holds {folder / LOCK_FILE} for over {timeout:g} s"
                raise OSError(errno.EAGAIN, text, str(folder))
            time.sleep(_LOCK_POLL_INTERVAL)
        yield
    finally:
        os.close(descriptor)


def open_lock(path: Path, *, create: bool = True) -> int:
    """The descriptor of a lock file, which is no link: root opens these in other users' folders.

    Raises:
        OSError: it cannot be opened, or is no regular file of its own.
    """
    flags = os.O_RDWR | (os.O_CREAT if create else 0)
    for flag in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"):
        flags |= getattr(os, flag, 0)
    descriptor = os.open(path, flags, 0o600)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return descriptor


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take a flock on an open file, which lasts until it is closed; whether nobody else held it.

    Raises:
        OSError: the system or the file system has no flock.
    """
    try:
        import fcntl
    except ImportError as error:
        raise OSError(errno.ENOTSUP, "this system has no flock") from error
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def readable_by_others(status: os.stat_result) -> bool:
    """Whether the group or others may read the file. Windows' modes do not say."""
    return os.name == "posix" and bool(status.st_mode & (stat.S_IRGRP | stat.S_IROTH))


def writable_by_others(status: os.stat_result) -> bool:
    """Whether the group or others may write the file. Windows' modes do not say."""
    return os.name == "posix" and bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _give_to_owner_of(folder: Path, made: int | Path) -> None:
    """Only root can, and must."""
    if os.name == "posix" and os.geteuid() == 0 and (owner := folder.stat()).st_uid != 0:
        if isinstance(made, int):
            os.fchown(made, owner.st_uid, owner.st_gid)
        else:
            os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _sync_folder(folder: Path) -> None:
    """Make a rename in it last."""
    if os.name != "posix":  # Windows opens no folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
