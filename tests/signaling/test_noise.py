"""The handshake against a published vector, and against who alters, repeats or guesses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from perdure.signaling.noise import Initiator, Keys, NoiseError, Responder, open_sealed, public_bytes, seal

VECTOR: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "noise_ikpsk2.json").read_text())

PSK = bytes(range(32))


def key(number: int) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def ends(prologue: bytes = b"") -> tuple[Initiator, Responder]:
    initiator = Initiator(key(1), public_bytes(key(2)), ephemeral=key(3), prologue=prologue)
    return initiator, Responder(key(2), prologue=prologue)


def answered(psk: bytes = PSK) -> tuple[Initiator, bytes, Keys]:
    initiator, responder = ends()
    responder.read(initiator.write(b"hello"))
    answer, keys = responder.write(b"welcome", psk, ephemeral=key(4))
    return initiator, answer, keys


def test_the_handshake_and_the_messages_behind_it_are_those_of_the_published_vector() -> None:
    def private(name: str) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(bytes.fromhex(VECTOR[name]))

    prologue = bytes.fromhex(VECTOR["init_prologue"])
    remote, psk = bytes.fromhex(VECTOR["init_remote_static"]), bytes.fromhex(VECTOR["init_psk"])
    initiator = Initiator(private("init_static"), remote, ephemeral=private("init_ephemeral"), prologue=prologue)
    responder = Responder(private("resp_static"), prologue=prologue)
    told = [(bytes.fromhex(each["payload"]), bytes.fromhex(each["ciphertext"])) for each in VECTOR["messages"]]
    (first, first_sealed), (second, second_sealed), *transport = told
    assert initiator.write(first) == first_sealed
    assert responder.read(first_sealed) == first
    answer, at_responder = responder.write(second, psk, ephemeral=private("resp_ephemeral"))
    assert answer == second_sealed
    payload, at_initiator = initiator.read(answer, psk)
    assert payload == second
    assert at_initiator.handshake_hash == at_responder.handshake_hash
    for number, (plain, sealed) in enumerate(transport):
        sender, receiver = (at_initiator, at_responder) if number % 2 == 0 else (at_responder, at_initiator)
        assert seal(sender.sealing, number // 2, plain, b"") == sealed
        assert open_sealed(receiver.opening, number // 2, sealed, b"") == plain


def test_the_responder_learns_who_the_initiator_is() -> None:
    initiator, responder = ends()
    responder.read(initiator.write(b""))
    assert responder.remote_static == public_bytes(key(1))


@given(st.integers(0, 100), st.integers(1, 255))
def test_a_first_message_that_was_altered_anywhere_is_refused(at: int, change: int) -> None:
    initiator, responder = ends()
    message = bytearray(initiator.write(b"hello"))
    message[at] ^= change
    with pytest.raises(NoiseError):
        responder.read(bytes(message))


@given(st.integers(0, 54), st.integers(1, 255))
def test_a_second_message_that_was_altered_anywhere_is_refused_and_the_true_one_still_opens(
    at: int, change: int
) -> None:
    initiator, answer, keys = answered()
    message = bytearray(answer)
    message[at] ^= change
    with pytest.raises(NoiseError):
        initiator.read(bytes(message), PSK)
    assert initiator.read(answer, PSK)[1].handshake_hash == keys.handshake_hash


def test_another_pre_shared_key_opens_no_answer() -> None:
    initiator, answer, _ = answered()
    with pytest.raises(NoiseError):
        initiator.read(answer, bytes(32))


def test_another_prologue_opens_nothing() -> None:
    initiator, _ = ends(b"one")
    _, responder = ends(b"another")
    with pytest.raises(NoiseError):
        responder.read(initiator.write(b""))


def test_a_key_of_small_order_is_refused_by_either_end() -> None:
    with pytest.raises(NoiseError):
        Initiator(key(1), bytes(32), ephemeral=key(3), prologue=b"").write(b"")
    _, responder = ends()
    with pytest.raises(NoiseError):
        responder.read(bytes(200))


@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    initiator, responder = ends()
    initiator.write(b"")
    with pytest.raises(NoiseError):
        responder.read(garbage)
    with pytest.raises(NoiseError):
        initiator.read(garbage, PSK)
