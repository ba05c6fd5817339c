"""What a carrier reads in a session description, and leaves out of it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from perdure.wire import MIN_MESSAGE_BYTES

DEFAULT_MESSAGE_BYTES = 64 * 1024
"""What a peer takes that does not say (RFC 8841 §6.1)."""

_DIGEST = re.compile(r"(?:[0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}")
_LONGEST_SIZE = 15
"""Digits."""


@dataclass(frozen=True, slots=True)
class PeerDescription:
    """A peer's description, as far as it concerns perdure."""

    sdp: str
    """For the engine: without candidates, and with the SHA-256 fingerprint alone, so that this is what DTLS is held
    to."""
    digest: bytes
    """SHA-256 of the certificate that DTLS must show, 32 bytes."""
    max_message_bytes: int
    """The longest message that it takes."""
    candidates: tuple[str, ...]
    """Those that came with it."""


def read_description(sdp: str) -> PeerDescription:
    """
    Raises:
        ValueError: it has no SHA-256 fingerprint (RFC 8122 §5), or several that differ; or a size that is no number.
    """
    kept: list[str] = []
    digests: set[bytes] = set()
    candidates: list[str] = []
    size = DEFAULT_MESSAGE_BYTES
    for line in sdp.splitlines():
        name, _, value = line.partition(":")
        match name.lower():
            case "a=fingerprint":
                if (digest := _digest(value)) is None:
                    continue
                digests.add(digest)
            case "a=candidate":
                candidates.append(line.removeprefix("a=").strip())
                continue
            case "a=end-of-candidates":
                continue
            case "a=max-message-size":
                size = _size(value)
        kept.append(line)
    if len(digests) != 1:
        found = "no SHA-256 fingerprint" if not digests else f"{len(digests)} SHA-256 fingerprints"
        raise ValueError(f"the session description has {found} of a certificate; it needs one")
    return PeerDescription("\r\n".join([*kept, ""]), digests.pop(), size, tuple(candidates))


def without_candidates(sdp: str) -> str:
    """The description alone; its candidates are trickled, and would be sent twice."""
    return "".join(
        line for line in sdp.splitlines(keepends=True) if not line.startswith(("a=candidate:", "a=end-of-candidates"))
    )


def _digest(value: str) -> bytes | None:
    """That of a SHA-256 fingerprint; `None`: another hash function's."""
    function, _, digits = value.strip(" ").partition(" ")
    if function.lower() != "sha-256":
        return None
    digits = digits.lstrip(" ")
    if _DIGEST.fullmatch(digits) is None:
        raise ValueError("the session description has a SHA-256 fingerprint that cannot be one")
    return bytes.fromhex(digits.replace(":", ""))


def _size(value: str) -> int:
    """0 means any (RFC 8841 §6.1)."""
    digits = value.strip(" ")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_SIZE):
        raise ValueError("the session description has an a=max-message-size that is no number")
    size = int(digits) or 2**53 - 1
    if size < MIN_MESSAGE_BYTES:
        raise ValueError(f"the peer takes messages of {size} bytes; it must take {MIN_MESSAGE_BYTES}")
    return size
