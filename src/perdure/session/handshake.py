"""The proof that both ends of a new carrier own the session that they resume."""

from __future__ import annotations

import hashlib
import hmac

from perdure.wire import encode_varint


def ownership_proof(key: bytes, session_id: bytes, generation: int, binding: bytes, *, by_initiator: bool) -> bytes:
    """HMAC-SHA256 (RFC 2104) with the session's key, over who says it, which session, and on which carrier.

    Args:
        binding: names the DTLS connection (both certificates' fingerprints), so that a proof cannot be relayed onto
            another one.
    """
    role = b"initiator" if by_initiator else b"acceptor"
    message = b"perdure resume 1 " + role + b"\0" + session_id + encode_varint(generation) + binding
    return hmac.new(key, message, hashlib.sha256).digest()


def proofs_match(claimed: bytes, expected: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(claimed, expected)
