"""What a carrier reads in a session description, and leaves out of it. Pure."""

from __future__ import annotations

import hashlib
import re

_FINGERPRINT = re.compile(r"^a=fingerprint:(\S+ \S+)\s*$", re.MULTILINE)


def channel_binding(local_sdp: str, remote_sdp: str) -> bytes:
    """32 bytes that name the DTLS connection between two descriptions: a hash of both certificates' fingerprints.

    The same at both ends; different for any other pair of certificates (the engine makes new ones for each
    connection). Raises `ValueError` where a description has no fingerprint.
    """
    fingerprints = sorted(found.lower() for sdp in (local_sdp, remote_sdp) for found in certificates(sdp)[:1])
    if len(fingerprints) != 2:
        raise ValueError("a session description without a certificate's fingerprint")
    return hashlib.sha256("\n".join(fingerprints).encode()).digest()


def certificates(sdp: str) -> list[str]:
    """The certificates' fingerprints (RFC 8122 §5), each with its hash function's name."""
    return _FINGERPRINT.findall(sdp)


def without_candidates(sdp: str) -> str:
    """The description alone; its candidates are trickled, and would be sent twice."""
    return "".join(
        line for line in sdp.splitlines(keepends=True) if not line.startswith(("a=candidate:", "a=end-of-candidates"))
    )
