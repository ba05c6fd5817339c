"""Where the sockets of running commands are, so that `perdure status` finds them by itself."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUFFIX = ".sock"

SERVICES = Path("/run")
"""Where systemd makes the folders of `RuntimeDirectory=`: `perdure` and `perdure-client-NAME` in the units that perdure
brings."""


def own_folder(environment: Mapping[str, str]) -> Path:
    """Where this process puts its socket: systemd's `RUNTIME_DIRECTORY`, else `perdure` in `XDG_RUNTIME_DIR`, else a
    folder of this user's in the folder for temporary files."""
    if given := environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return Path(given).resolve()  # of a unit with DynamicUser=, a link
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if Path(runtime).is_absolute():
        return Path(runtime) / "perdure"
    return Path(tempfile.gettempdir()) / f"perdure-{os.getuid()}"


def make_own_folder(environment: Mapping[str, str]) -> Path:
    """Make it where it is not there, for this user alone.

    Raises:
        OSError: it cannot be made, or it is another user's.
    """
    folder = own_folder(environment)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{folder} is not a folder that this user alone can write to")
    return folder


def sockets(environment: Mapping[str, str]) -> Iterator[Path]:
    """Those of commands that run as this user, and of services; also what a killed one left."""
    services = (folder.resolve() for folder in sorted(SERVICES.glob("perdure*")))
    for folder in dict.fromkeys((own_folder(environment), *services)):
        try:
            yield from sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
        except OSError:  # there is none, or it is not for this user
            continue
