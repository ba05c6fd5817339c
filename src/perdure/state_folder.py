"""The folder in which gateways and clients keep their keys and tickets, and the names of what is in it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.errors import TicketError
from perdure.eventlog import log_event
from perdure.keys import load_or_make_key
from perdure.private_files import read_file, write_file
from perdure.ticket import check_rendezvous_url

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger("perdure.client")

GATEWAY_KEY_FILE = "gateway-key.pem"
CLIENT_KEY_FILE = "client-key.pem"
TICKETS_FOLDER = "tickets"
"""One JSON file a ticket."""

GATEWAY_LOCK_FILE = "gateway.lock"
"""A gateway that runs holds a flock on it; it holds its process' number."""

RENDEZVOUS_FILE = "rendezvous-url"
"""The URL that the gateway used last, so that `perdure ticket create` need not be told."""


def default_state_folder(environment: Mapping[str, str]) -> Path:
    """Where the state is, unless the user says: systemd's `STATE_DIRECTORY` (the first, if it names several), else
    `perdure` in `XDG_STATE_HOME`, else ~/.local/state/perdure.

    Raises:
        RuntimeError: there is no home directory.
    """
    if given := environment.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(given)
    home = environment.get("XDG_STATE_HOME", "")
    # The XDG Base Directory Specification: a path in it that is not absolute is ignored.
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state") / "perdure"


def gateway_key(folder: Path) -> X25519PrivateKey:
    """The gateway's identity, made on first use.

    Raises:
        TicketError: the file cannot be read or made, holds no key, or others can read it.
    """
    return load_or_make_key(folder / GATEWAY_KEY_FILE)


def client_key_of(given: X25519PrivateKey | Path | str | None) -> X25519PrivateKey:
    """A key, or the one in a file, which is made on first use; `None`: this installation's, or, where it has none and
    none can be made, one that lasts as long as this process.

    Raises:
        TypeError: it is neither a key nor a path.
        TicketError: a key file cannot be read, holds no key, or others can read it; or the given one cannot be made.
    """
    if isinstance(given, X25519PrivateKey):
        return given
    if isinstance(given, Path | str):
        return _client_key_in(Path(given).expanduser())
    if given is not None:
        raise TypeError(f"client_key is a key, or the path of its file, not {type(given).__name__}")
    try:
        folder = default_state_folder(os.environ)
        return client_key(folder)
    except RuntimeError as error:
        why = str(error)
    except TicketError as error:
        if os.path.lexists(folder / CLIENT_KEY_FILE):
            raise  # tickets may be bound to it: with another key they would not admit this client
        why = str(error)
    problem = (
        f"this client's key is lost when the process ends: {why}; a ticket with --uses that it binds stays bound to "
        "the lost key; give a folder that can be written: --state-dir or XDG_STATE_HOME"
    )
    log_event(log, logging.WARNING, "client-key", problem=problem)
    return X25519PrivateKey.generate()


def client_key(folder: Path) -> X25519PrivateKey:
    """This installation's key as a client, made on first use.

    Raises:
        TicketError: the file cannot be read or made, holds no key, or others can read it.
    """
    return _client_key_in(folder / CLIENT_KEY_FILE)


def _client_key_in(path: Path) -> X25519PrivateKey:
    try:
        return load_or_make_key(path)
    except TicketError as error:
        if not os.path.lexists(path):
            raise
        text = "move the file away for a new key, which tickets that are bound to the old one do not admit"
        raise TicketError(f"{error}; or {text}") from error


def write_rendezvous(folder: Path, url: str) -> None:
    """Remember the rendezvous' URL.

    Raises:
        OSError: it cannot be written.
    """
    write_file(folder / RENDEZVOUS_FILE, url.encode() + b"\n")


def read_rendezvous(folder: Path) -> str | None:
    """The URL that `write_rendezvous` wrote last; `None`: none, or none that can be read."""
    try:
        content, _ = read_file(folder / RENDEZVOUS_FILE, limit=1024)
        url = content.decode().strip()
        check_rendezvous_url(url)
    except (OSError, ValueError):
        return None
    return url
