"""The Noise handshake `Noise_IKpsk2_25519_AESGCM_SHA256` (Noise protocol framework, revision 34). Pure.

    <- s
    ...
    -> e, es, s, ss
    <- e, ee, se, psk

1. The initiator knows the responder's static key beforehand. The first message proves the initiator's static key; the
   pre-shared key is mixed into the second, so that only who holds it reads that, and what follows.
2. `Keys` are the two directions' keys after it. A message's nonce is explicit: a counter that the caller carries.
3. PyPI's Noise packages are unmaintained or new, so this one pattern stands here, on `cryptography`'s primitives; the
   tests hold it against published vectors.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PROTOCOL = b"Noise_IKpsk2_25519_AESGCM_SHA256"

KEY_BYTES = 32
"""Of public keys, private keys and the pre-shared key."""

TAG_BYTES = 16
"""What AES-GCM adds to each sealed text."""

FIRST_MESSAGE_BYTES = KEY_BYTES + KEY_BYTES + TAG_BYTES + TAG_BYTES
"""Of an empty payload: the ephemeral key, the sealed static key, and the payload's tag."""

SECOND_MESSAGE_BYTES = KEY_BYTES + TAG_BYTES


class NoiseError(Exception):
    """A message cannot be opened: forged, altered, of another handshake, or for another key."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What a handshake leaves: a key for each direction, and its hash, which names it and is no secret."""

    sealing: bytes
    opening: bytes
    handshake_hash: bytes


class Initiator:
    """The client's end of one handshake: `write`, then `read` the answer.

    Args:
        static: this end's key.
        remote_static: the responder's public key.
        ephemeral: made for this handshake alone.
        prologue: what both ends must agree on, and nobody may have altered.
    """

    def __init__(
        self, static: X25519PrivateKey, remote_static: bytes, *, ephemeral: X25519PrivateKey, prologue: bytes
    ) -> None:
        self._static = static
        self._ephemeral = ephemeral
        self._remote_static = remote_static
        self._symmetric = _Symmetric(prologue, remote_static)

    def write(self, payload: bytes) -> bytes:
        """The first message. Raises `NoiseError` where the responder's key cannot be one."""
        symmetric = self._symmetric
        public = public_bytes(self._ephemeral)
        symmetric.mix_hash(public)
        symmetric.mix_key(public)  # as in every handshake with a pre-shared key (section 9.2)
        symmetric.mix_key(agree(self._ephemeral, self._remote_static))
        sealed_static = symmetric.seal(public_bytes(self._static))
        symmetric.mix_key(agree(self._static, self._remote_static))
        return public + sealed_static + symmetric.seal(payload)

    def read(self, message: bytes, psk: bytes) -> tuple[bytes, Keys]:
        """The second message's payload, and the keys. A message that cannot be opened changes nothing.

        Raises:
            NoiseError: see there.
        """
        if len(message) < SECOND_MESSAGE_BYTES:
            raise NoiseError("too short")
        symmetric = self._symmetric.copy()
        public = message[:KEY_BYTES]
        symmetric.mix_hash(public)
        symmetric.mix_key(public)
        symmetric.mix_key(agree(self._ephemeral, public))
        symmetric.mix_key(agree(self._static, public))
        symmetric.mix_key_and_hash(psk)
        payload = symmetric.open(message[KEY_BYTES:])
        to_responder, to_initiator = symmetric.split()
        return payload, Keys(to_responder, to_initiator, symmetric.hash)


class Responder:
    """The gateway's end of one handshake: `read`, then `write` the answer."""

    def __init__(self, static: X25519PrivateKey, *, prologue: bytes) -> None:
        self._static = static
        self._symmetric = _Symmetric(prologue, public_bytes(static))
        self._remote_ephemeral = b""
        self.remote_static = b""
        """The initiator's public key, once `read` has returned."""

    def read(self, message: bytes) -> bytes:
        """The first message's payload. It may be a replay: nothing proves yet that the initiator is there.

        Raises:
            NoiseError: see there.
        """
        if len(message) < FIRST_MESSAGE_BYTES:
            raise NoiseError("too short")
        symmetric = self._symmetric
        ephemeral, rest = message[:KEY_BYTES], message[KEY_BYTES:]
        symmetric.mix_hash(ephemeral)
        symmetric.mix_key(ephemeral)
        symmetric.mix_key(agree(self._static, ephemeral))
        remote_static = symmetric.open(rest[: KEY_BYTES + TAG_BYTES])
        symmetric.mix_key(agree(self._static, remote_static))
        payload = symmetric.open(rest[KEY_BYTES + TAG_BYTES :])
        self._remote_ephemeral, self.remote_static = ephemeral, remote_static
        return payload

    def write(self, payload: bytes, psk: bytes, *, ephemeral: X25519PrivateKey) -> tuple[bytes, Keys]:
        """The second message, and the keys. `ephemeral` is made for this handshake alone."""
        symmetric = self._symmetric
        public = public_bytes(ephemeral)
        symmetric.mix_hash(public)
        symmetric.mix_key(public)
        symmetric.mix_key(agree(ephemeral, self._remote_ephemeral))
        symmetric.mix_key(agree(ephemeral, self.remote_static))
        symmetric.mix_key_and_hash(psk)
        message = public + symmetric.seal(payload)
        to_responder, to_initiator = symmetric.split()
        return message, Keys(to_initiator, to_responder, symmetric.hash)


class _Symmetric:
    """Noise's SymmetricState and its CipherState (sections 5.1 and 5.2)."""

    def __init__(self, prologue: bytes, responder_static: bytes) -> None:
        self.hash = PROTOCOL  # it has SHA-256's 32 bytes, so it is its own hash (section 5.2)
        self._chaining_key = PROTOCOL
        self._key = b""
        self._nonce = 0
        self.mix_hash(prologue)
        self.mix_hash(responder_static)

    def copy(self) -> _Symmetric:
        other = object.__new__(_Symmetric)
        other.__dict__.update(self.__dict__)
        return other

    def mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, self._key = _hkdf(self._chaining_key, material, 2)
        self._nonce = 0

    def mix_key_and_hash(self, psk: bytes) -> None:
        self._chaining_key, for_hash, self._key = _hkdf(self._chaining_key, psk, 3)
        self.mix_hash(for_hash)
        self._nonce = 0

    def seal(self, plain: bytes) -> bytes:
        sealed = seal(self._key, self._nonce, plain, self.hash)
        self._nonce += 1
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        plain = open_sealed(self._key, self._nonce, sealed, self.hash)
        self._nonce += 1
        self.mix_hash(sealed)
        return plain

    def split(self) -> tuple[bytes, bytes]:
        """The keys of the initiator's messages, and of the responder's."""
        to_responder, to_initiator = _hkdf(self._chaining_key, b"", 2)
        return to_responder, to_initiator


def seal(key: bytes, counter: int, plain: bytes, associated: bytes) -> bytes:
    """AES-256-GCM with the nonce of `counter` (section 12.4)."""
    return AESGCM(key).encrypt(_nonce(counter), plain, associated)


def open_sealed(key: bytes, counter: int, sealed: bytes, associated: bytes) -> bytes:
    """What `seal` sealed.

    Raises:
        NoiseError: it did not, with these.
    """
    try:
        return AESGCM(key).decrypt(_nonce(counter), sealed, associated)
    except (InvalidTag, ValueError):
        raise NoiseError("forged, altered, or under another key") from None


def agree(private: X25519PrivateKey, public: bytes) -> bytes:
    """The Diffie-Hellman value of both.

    Raises:
        NoiseError: `public` is of small order, so that the value would be known to all.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise NoiseError("a public key that no private one has") from None


def public_bytes(private: X25519PrivateKey) -> bytes:
    """The public key's 32 bytes."""
    return private.public_key().public_bytes_raw()


def _nonce(counter: int) -> bytes:
    return bytes(4) + counter.to_bytes(8, "big")


def _hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """Section 4.3."""
    secret = hmac.digest(chaining_key, material, "sha256")
    found: list[bytes] = []
    for number in range(1, outputs + 1):
        previous = found[-1] if found else b""
        found.append(hmac.digest(secret, previous + bytes([number]), "sha256"))
    return found
