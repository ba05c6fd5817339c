"""A private key that remembers what it agreed: an input needs the same few values, which are most of what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

MAX_REMEMBERED = 1024
"""Values; then all are forgotten, as nearly each input of chance has a public key of its own."""


class RememberingKey(X25519PrivateKey):
    def __init__(self, raw: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(raw)
        self._public_key = self._key.public_key()
        self._agreed: dict[bytes, bytes] = {}

    def public_key(self) -> X25519PublicKey:
        return self._public_key

    def exchange(self, peer_public_key: X25519PublicKey) -> bytes:
        raw = peer_public_key.public_bytes_raw()
        if raw not in self._agreed:
            agreed = self._key.exchange(peer_public_key)
            if len(self._agreed) >= MAX_REMEMBERED:
                self._agreed.clear()
            self._agreed[raw] = agreed
        return self._agreed[raw]

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes:
        return self._key.private_bytes(encoding, format, encryption_algorithm)

    def private_bytes_raw(self) -> bytes:
        return self._key.private_bytes_raw()

    def __copy__(self) -> RememberingKey:
        return self

    def __deepcopy__(self, memo: object) -> RememberingKey:
        return self
