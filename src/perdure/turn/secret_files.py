"""Files that hold a TURN server's secret, or a token for whoever issues credentials."""

from __future__ import annotations

import re
from pathlib import Path

from perdure.errors import PerdureError
from perdure.private_files import expanded, read_file

MAX_FILE_BYTES = 8 * 1024
"""A signed token with claims has 1 to 4 KiB."""

_TOKEN = re.compile(r"[\x21-\x7e]+")
"""What an HTTP header takes; RFC 6750 §2.1 is narrower."""


def read_token(path: Path) -> str:
    """The bearer token in a file.

    Raises:
        PerdureError: the file cannot be read, or holds something else.
    """
    token = _read(path, "token").decode("latin-1")
    if not _TOKEN.fullmatch(token):
        raise PerdureError(f"the token file {path} does not hold one token of ASCII characters")
    return token


def read_secret(path: Path) -> bytes:
    """A TURN server's secret, which is all of a file but the white space around it.

    Raises:
        PerdureError: the file cannot be read, or is empty.
    """
    if not (secret := _read(path, "secret")):
        raise PerdureError(f"the secret file {path} is empty")
    return secret


def _read(path: Path, what: str) -> bytes:
    try:
        content, _ = read_file(expanded(path), limit=MAX_FILE_BYTES)
    except OSError as error:
        raise PerdureError(f"the {what} file {path} cannot be read: {error.strerror}") from error
    return content.strip()
