"""X25519 keys, of gateways and of clients: made on first use, and kept in a file that is its owner's alone."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from perdure.errors import TicketError
from perdure.private_files import locked, make_folder, read_file, readable_by_others, writable_by_others, write_file
from perdure.ticket import KEY_BYTES

if TYPE_CHECKING:
    from pathlib import Path

MAX_KEY_FILE_BYTES = 4096
"""An X25519 key in PEM has 119 bytes; a file may have comments before it."""


def load_or_make_key(path: Path) -> X25519PrivateKey:
    """The private key in `path`; there is a new one where there was no file.

    Raises:
        TicketError: the file cannot be read or made, holds no X25519 key, or others can read or write it.
    """
    try:
        return load_key(path)
    except FileNotFoundError:
        pass
    try:
        make_folder(path.parent)
        with locked(path.parent):
            if not path.exists():  # another process may have made it meanwhile
                pem = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                write_file(path, pem)
        return load_key(path)
    except OSError as error:
        raise TicketError(f"the key file {path} cannot be made: {error.strerror}") from error


def load_key(path: Path) -> X25519PrivateKey:
    """The private key in `path`: PEM, PKCS #8, without a password (RFC 8410).

    Raises:
        FileNotFoundError: there is no such file.
        TicketError: the file cannot be read, holds no X25519 key, or others can read or write it.
    """
    try:
        content, status = read_file(path, limit=MAX_KEY_FILE_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TicketError(f"the key file {path} cannot be read: {error.strerror}") from error
    if readable_by_others(status) or writable_by_others(status):
        raise TicketError(f"others can read or write the key file {path}, which is refused: chmod 600 {path}")
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as error:  # TypeError: it needs a password
        raise TicketError(f"the key file {path} holds no key in PEM without a password") from error
    except Exception as error:  # UnsupportedAlgorithm, and what OpenSSL may say of other keys
        raise TicketError(f"the key file {path} holds a key of another kind than X25519") from error
    if not isinstance(key, X25519PrivateKey):
        raise TicketError(f"the key file {path} holds a key of another kind than X25519")
    return key


def public_bytes(key: X25519PrivateKey) -> bytes:
    """The 32 bytes of its public key."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_text(public_key: bytes) -> str:
    """A public key as people see it: 44 characters of base64."""
    return base64.b64encode(public_key).decode()


def parse_key_text(text: str) -> bytes:
    """The public key that `key_text` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{text[:64]!r} is no public key: 44 characters of base64") from error
    if len(key) != KEY_BYTES or key_text(key) != text:
        raise ValueError(f"{text[:64]!r} is no public key: 44 characters of base64")
    return key
