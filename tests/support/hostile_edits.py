"""What a hostile rendezvous makes of a recorded envelope, before it delivers it to whom it likes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.signaling.envelope import VERSION, EnvelopeType
from perdure.signaling.noise import KEY_BYTES, TAG_BYTES, public_bytes

if TYPE_CHECKING:
    from support.hostile_rendezvous import Recorded

FINGERPRINT = ":".join(["A5"] * 32)
"""What the honest ends say in their descriptions, at the end."""

ADDRESS = "192.0.2.117 50000"
"""What they say in their candidates, at the end."""

_EVIL_FINGERPRINT = ":".join(["E7"] * 32)
_EVIL_ADDRESS = "203.0.113.9 50001"

AFTER_THE_TEXT = b'"}}'
"""What the JSON of a body has behind a description or a candidate."""

Edit = Callable[[Random, "Recorded", Sequence["Recorded"]], bytes]


def as_it_was(random: Random, recorded: Recorded, recording: Sequence[Recorded]) -> bytes:
    return recorded.envelope


def with_flipped_bits(random: Random, recorded: Recorded, recording: Sequence[Recorded]) -> bytes:
    edited = bytearray(recorded.envelope)
    for bit in random.sample(range(len(edited) * 8), random.choice([1, 1, 2, 16])):
        edited[bit // 8] ^= 1 << bit % 8
    return bytes(edited)


def with_another_fingerprint(random: Random, recorded: Recorded, recording: Sequence[Recorded]) -> bytes:
    return _exchanged(recorded.envelope, FINGERPRINT, _EVIL_FINGERPRINT)


def with_another_candidate(random: Random, recorded: Recorded, recording: Sequence[Recorded]) -> bytes:
    return _exchanged(recorded.envelope, ADDRESS, _EVIL_ADDRESS)


def cut_short(random: Random, recorded: Recorded, recording: Sequence[Recorded]) -> bytes:
    return recorded.envelope[: random.randrange(1, len(recorded.envelope))]


def lengthened(random: Random, recorded: Recorded, recording: Sequence[Recorded]) -> bytes:
    return recorded.envelope + random.randbytes(random.choice([1, 16, 100, 50_000]))


def of_another_type(random: Random, recorded: Recorded, recording: Sequence[Recorded]) -> bytes:
    kind = random.choice([number for number in range(16) if number != recorded.kind])
    return bytes([VERSION << 4 | kind]) + recorded.envelope[1:]


def of_another_version(random: Random, recorded: Recorded, recording: Sequence[Recorded]) -> bytes:
    version = random.choice([number for number in range(16) if number != VERSION])
    return bytes([version << 4 | recorded.kind]) + recorded.envelope[1:]


def as_version_1(random: Random, recorded: Recorded, recording: Sequence[Recorded]) -> bytes:
    """As perdure 0.1 wrote them: version, type, session id, tag and nonce in clear, then what is sealed."""
    return bytes([1, random.choice([1, 2, 3])]) + random.randbytes(16 + 8 + 12) + recorded.envelope[1:]


def with_an_ephemeral_key_of_its_own(random: Random, recorded: Recorded, recording: Sequence[Recorded]) -> bytes:
    own = public_bytes(X25519PrivateKey.from_private_bytes(random.randbytes(KEY_BYTES)))
    if recorded.kind is EnvelopeType.DATA:
        return recorded.envelope[:5] + own + recorded.envelope[13:]
    start = 1 if recorded.kind is EnvelopeType.KNOCK else 5
    return recorded.envelope[:start] + own + recorded.envelope[start + KEY_BYTES :]


def with_another_counter(random: Random, recorded: Recorded, recording: Sequence[Recorded]) -> bytes:
    """Of DATA, so that it looks new; of others it alters a key."""
    return recorded.envelope[:5] + random.choice([1, 1000, 2**53 - 1]).to_bytes(8, "big") + recorded.envelope[13:]


def with_another_head(random: Random, recorded: Recorded, recording: Sequence[Recorded]) -> bytes:
    """The clear part of one, and what is sealed of another."""
    others = [other for other in recording if other.envelope[:13] != recorded.envelope[:13]]
    return random.choice(others).envelope[:13] + recorded.envelope[13:]


EDITS: tuple[Edit, ...] = (
    as_it_was,
    with_flipped_bits,
    with_another_fingerprint,
    with_another_candidate,
    cut_short,
    lengthened,
    of_another_type,
    of_another_version,
    as_version_1,
    with_an_ephemeral_key_of_its_own,
    with_another_counter,
    with_another_head,
)


def _exchanged(envelope: bytes, true: str, own: str) -> bytes:
    """AES-GCM alone enciphers as a stream: who knows the text, and where it stands, can turn it into another one of
    its length. Only the tag tells."""
    difference = bytes(a ^ b for a, b in zip(true.encode(), own.encode(), strict=True))
    end = len(envelope) - TAG_BYTES - len(AFTER_THE_TEXT)
    start = max(0, end - len(difference))
    edited = bytes(a ^ b for a, b in zip(envelope[start:end], difference[-(end - start) :], strict=True))
    return envelope[:start] + edited + envelope[end:]
