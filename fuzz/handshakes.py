"""What is fuzzed of envelopes and of the handshake. The keys are fixed: an input says the same in each run."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Final

from fuzz.remembering_key import RememberingKey
from perdure.signaling.envelope import (
    MAX_PLAINTEXT_BYTES,
    PROLOGUE,
    AnsweringGateway,
    DataKeys,
    EnvelopeRefusal,
    EnvelopeRefusedError,
    EnvelopeType,
    Knock,
    KnockingClient,
    Refusal,
    read_type,
)
from perdure.signaling.noise import Initiator, Keys, Responder, public_bytes

CLIENT, GATEWAY, CLIENTS_EPHEMERAL, GATEWAYS_EPHEMERAL = (
    RememberingKey(bytes([number]) * 32) for number in range(1, 5)
)
SECRET: Final = bytes(range(32))
NO_TICKET: Final = bytes(32)
"""The pre-shared key of a REFUSAL."""

CLIENT_KEYS: Final = Keys(b"c" * 32, b"g" * 32, b"hash" * 8)
GATEWAY_KEYS: Final = Keys(b"g" * 32, b"c" * 32, b"hash" * 8)

_KNOCK_BYTE = bytes([2 << 4 | EnvelopeType.KNOCK])

KNOCKING = KnockingClient(
    CLIENT, public_bytes(GATEWAY), SECRET, Knock(b"session " * 2, b"ticketid" * 2, 1), ephemeral=CLIENTS_EPHEMERAL
)

KNOCK_TAG: Final = hashlib.sha256(KNOCKING.envelope).digest()[:4]
"""By which an answer says that it answers this knock."""


def envelopes(data: bytes) -> None:
    """An envelope for keys that are in use; and one that carries the input, as it is and with one bit flipped."""
    keys = DataKeys(CLIENT_KEYS)
    try:
        read_type(data)
        keys.open(data)
    except EnvelopeRefusedError:
        pass
    else:
        assert _refusal(keys, data) is EnvelopeRefusal.REPLAYED
    plain = data[:MAX_PLAINTEXT_BYTES]
    sealed = DataKeys(GATEWAY_KEYS).seal(plain)
    place = int.from_bytes(data[:2], "big") % (8 * len(sealed))
    altered = bytearray(sealed)
    altered[place // 8] ^= 1 << place % 8
    fresh = DataKeys(CLIENT_KEYS)
    assert _refusal(fresh, bytes(altered)) is not None
    assert fresh.open(sealed) == plain


def knocks(data: bytes) -> None:
    """A gateway gets the input as an envelope, and as what a client's true KNOCK holds inside."""
    try:
        asked = AnsweringGateway(GATEWAY, data)
    except EnvelopeRefusedError:
        pass
    else:
        assert asked.client_key == public_bytes(CLIENT), "nobody else's key is in the inputs"
    client = Initiator(CLIENT, public_bytes(GATEWAY), ephemeral=CLIENTS_EPHEMERAL, prologue=PROLOGUE)
    try:
        asked = AnsweringGateway(GATEWAY, _KNOCK_BYTE + client.write(data))
    except EnvelopeRefusedError:
        return
    again = KnockingClient(CLIENT, public_bytes(GATEWAY), SECRET, asked.knock, ephemeral=CLIENTS_EPHEMERAL)
    assert AnsweringGateway(GATEWAY, again.envelope).knock == asked.knock


def answers(data: bytes) -> None:
    """A client that knocked gets the input as an envelope, and, behind its first byte, as what the gateway's true
    answer holds inside: a REFUSAL where that byte is `r`, else a WELCOME."""
    with contextlib.suppress(EnvelopeRefusedError):
        KNOCKING.open(data)
    refuses = data[:1] == b"r"
    gateway = Responder(GATEWAY, prologue=PROLOGUE)
    gateway.read(KNOCKING.envelope[1:])
    psk = NO_TICKET if refuses else SECRET
    message, _ = gateway.write(data[1:], psk, ephemeral=GATEWAYS_EPHEMERAL)
    kind = EnvelopeType.REFUSAL if refuses else EnvelopeType.WELCOME
    try:
        opened = KNOCKING.open(bytes([2 << 4 | kind]) + KNOCK_TAG + message)
    except EnvelopeRefusedError:
        return
    asked = AnsweringGateway(GATEWAY, KNOCKING.envelope)
    if isinstance(opened, Refusal):
        envelope = asked.refuse(opened, ephemeral=GATEWAYS_EPHEMERAL)
        assert KNOCKING.open(envelope) == opened
    else:
        envelope, _ = asked.welcome(SECRET, opened[0], ephemeral=GATEWAYS_EPHEMERAL)
        again = KNOCKING.open(envelope)
        assert not isinstance(again, Refusal)
        assert again[0] == opened[0]


def _refusal(keys: DataKeys, envelope: bytes) -> EnvelopeRefusal | None:
    try:
        keys.open(envelope)
    except EnvelopeRefusedError as error:
        return error.refusal
    return None
