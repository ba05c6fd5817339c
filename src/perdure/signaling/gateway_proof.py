"""How a gateway proves to the rendezvous that a room is its own. Pure.

1. A room is named by a hash of its gateway's public key, so a room has one key.
2. The rendezvous has an X25519 key for the life of its process, and makes a nonce for each connection. The proof is
   an HMAC-SHA256 over room, peer id and nonce, under a key that both ends derive by HKDF-SHA256 from the
   Diffie-Hellman value of the two keys. Only the two can make it, and only for this connection.
3. It needs no signature: the gateway's key is the one of its handshakes with clients, and the label keeps both apart.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from perdure.signaling.frames import Challenge, Join, Proof, Role
from perdure.signaling.noise import NoiseError, agree, public_bytes

ROOM_BYTES = 16


def room_id(gateway_key: bytes) -> str:
    """The room of the gateway with this public key: 32 hexadecimal digits."""
    return hashlib.sha256(b"perdure room" + gateway_key).digest()[:ROOM_BYTES].hex()


def gateway_join(key: X25519PrivateKey, peer_id: str, name: str, challenge: Challenge) -> Join:
    """A gateway's answer to `challenge`. Raises `NoiseError` where the rendezvous' key cannot be one."""
    public = public_bytes(key)
    room = room_id(public)
    proof = _proof(agree(key, challenge.key), room, peer_id, challenge)
    return Join(room, Role.GATEWAY, peer_id, Proof(public, proof, name))


def is_proved(join: Join, key: X25519PrivateKey, nonce: bytes) -> bool:
    """Whether `join`, of a gateway, proves the key of its room; `key` and `nonce` are those of the challenge."""
    gateway = join.gateway
    if gateway is None or room_id(gateway.key) != join.room:
        return False
    try:
        secret = agree(key, gateway.key)
    except NoiseError:
        return False
    expected = _proof(secret, join.room, join.peer_id, Challenge(public_bytes(key), nonce))
    return hmac.compare_digest(expected, gateway.proof)


def _proof(secret: bytes, room: str, peer_id: str, challenge: Challenge) -> bytes:
    key = HKDF(algorithm=SHA256(), length=32, salt=challenge.key, info=b"perdure gateway joins").derive(secret)
    return hmac.digest(key, challenge.nonce + bytes.fromhex(room) + bytes.fromhex(peer_id), "sha256")
