"""Passwords that a command is given: by files and the environment, and, with a warning, where others can read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from perdure.cli.running import warn
from perdure.private_files import expanded
from perdure.urls import without_login

ICE_SERVERS_VARIABLE = "PERDURE_ICE_SERVERS"
"""The environment variable that holds what `--ice-server` takes, with white space between one and the next. Other users
cannot read a process' environment, as they can its arguments."""


def ice_servers(given: Iterable[str]) -> tuple[str, ...]:
    """The ICE servers of `--ice-server`: URLs, and those in the files that `@FILE` names.

    Raises:
        ValueError: a file cannot be read.
    """
    return tuple(server for each in given for server in _named(each))


def ice_servers_of_environment() -> tuple[str, ...]:
    """Those of `PERDURE_ICE_SERVERS`. Raises as `ice_servers`."""
    return ice_servers(os.environ.get(ICE_SERVERS_VARIABLE, "").split())


def _named(given: str) -> list[str]:
    if not given.startswith("@"):
        return [given]
    from perdure.tomlfile import read_text

    path = expanded(given[1:])
    lines = [line.strip() for line in read_text(path).splitlines()]
    servers = [line for line in lines if line and not line.startswith("#")]
    if not servers:
        raise ValueError(f"{path} holds no ICE server; write one a line, such as stun:HOST:PORT")
    warn_of_file(path, {"": servers})
    return servers


def warn_of_arguments(given: Iterable[object]) -> None:
    """A line on standard error where one of the arguments holds a password."""
    if _hold_password(given):
        warn(
            "perdure: other users of this machine can read a password that is an argument: write it into the --config "
            f"file, or an ICE server's into --ice-server @FILE or {ICE_SERVERS_VARIABLE}"
        )


def warn_of_file(path: Path, values: Mapping[str, object]) -> None:
    """A line on standard error where others can read a password in the file at `path`, or change what it says."""
    if os.name != "posix":
        return
    try:
        mode = path.stat().st_mode
    except OSError:  # it was read: if it is gone since, nobody else can
        return
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and _hold_password(values.values()):
        warn(f"perdure: {path} holds a password, and others can read or change it: chmod 600 {path}")
    elif mode & (stat.S_IWGRP | stat.S_IWOTH):
        warn(f"perdure: others can change {path}: chmod go-w {path}")


def warn_of_secret_files(files: Iterable[str]) -> None:
    """A line on standard error for each of them that others can read or change."""
    for path in (expanded(file) for file in files if file):
        try:
            mode = path.stat().st_mode
        except OSError:  # whoever reads it tells that
            continue
        if os.name == "posix" and stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
            warn(f"perdure: others can read or change {path}, which holds a secret: chmod 600 {path}")


def _hold_password(values: Iterable[object]) -> bool:
    texts = (text for value in values for text in (value if isinstance(value, list | tuple) else [value]))
    return any(isinstance(text, str) and without_login(text) != text for text in texts)
