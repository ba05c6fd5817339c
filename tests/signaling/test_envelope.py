"""Envelopes: what a rendezvous may try with them, and what it gets."""

from __future__ import annotations

import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from perdure.signaling.envelope import (
    MAX_ENVELOPE_BYTES,
    MAX_PLAINTEXT_BYTES,
    AnsweringGateway,
    DataKeys,
    EnvelopeRefusal,
    EnvelopeRefusedError,
    Knock,
    KnockingClient,
    Refusal,
    RefusalReason,
    Welcome,
)
from perdure.signaling.messages import RTCIceServer
from perdure.signaling.noise import public_bytes

SECRET = bytes(range(32))
KNOCK = Knock(b"s" * 16, b"t" * 16, 1)
WELCOME = Welcome(b"i" * 16, True, (RTCIceServer("turn:turn.example:3478", "user", "password"),))


def key(number: int) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes([number]) * 32)


CLIENT, GATEWAY = key(1), key(2)


def knocking(knock: Knock = KNOCK, *, secret: bytes = SECRET, ephemeral: int = 3) -> KnockingClient:
    return KnockingClient(CLIENT, public_bytes(GATEWAY), secret, knock, ephemeral=key(ephemeral))


def agreed(*, ephemeral: int = 3) -> tuple[DataKeys, DataKeys]:
    """The client's keys and the gateway's."""
    client = knocking(ephemeral=ephemeral)
    envelope, at_gateway = AnsweringGateway(GATEWAY, client.envelope).welcome(SECRET, WELCOME, ephemeral=key(4))
    answer = client.open(envelope)
    assert isinstance(answer, tuple)
    assert answer[0] == WELCOME
    return answer[1], at_gateway


def refusal_of(opened: DataKeys, envelope: bytes) -> EnvelopeRefusal:
    with pytest.raises(EnvelopeRefusedError) as caught:
        opened.open(envelope)
    return caught.value.refusal


def test_a_knock_says_who_asks_and_its_welcome_gives_keys_for_both_directions() -> None:
    asked = AnsweringGateway(GATEWAY, knocking().envelope)
    assert asked.knock == KNOCK
    assert asked.client_key == public_bytes(CLIENT)
    client, gateway = agreed()
    for plain in (b"", b"one", b"x" * MAX_PLAINTEXT_BYTES):
        assert gateway.open(client.seal(plain)) == plain
        assert client.open(gateway.seal(plain)) == plain


def test_a_gateway_that_does_not_know_the_ticket_can_say_so_and_nothing_else() -> None:
    client = knocking()
    refusal = Refusal(RefusalReason.REVOKED, "at 12:00")
    assert client.open(AnsweringGateway(GATEWAY, client.envelope).refuse(refusal, ephemeral=key(4))) == refusal
    welcome, _ = AnsweringGateway(GATEWAY, client.envelope).welcome(bytes(32), WELCOME, ephemeral=key(4))
    for forged in (welcome, bytes([welcome[0] ^ 2 ^ 4]) + welcome[1:]):
        with pytest.raises(EnvelopeRefusedError):
            client.open(forged)


def test_a_client_with_another_secret_opens_no_welcome() -> None:
    client = knocking(secret=bytes(32))
    welcome, _ = AnsweringGateway(GATEWAY, client.envelope).welcome(SECRET, WELCOME, ephemeral=key(4))
    with pytest.raises(EnvelopeRefusedError):
        client.open(welcome)


def test_another_gateway_opens_no_knock() -> None:
    with pytest.raises(EnvelopeRefusedError) as caught:
        AnsweringGateway(key(9), knocking().envelope)
    assert caught.value.refusal is EnvelopeRefusal.FORGED


def test_what_was_recorded_opens_nothing_for_who_gets_ticket_and_keys_later() -> None:
    """Forward secrecy: with every lasting secret, but without the two keys made for one handshake."""
    client = knocking()
    welcome, gateway_keys = AnsweringGateway(GATEWAY, client.envelope).welcome(SECRET, WELCOME, ephemeral=key(4))
    answer = client.open(welcome)
    assert isinstance(answer, tuple)
    recorded = answer[1].seal(b"candidate:1 192.0.2.1")
    assert gateway_keys.open(recorded)
    thief = AnsweringGateway(GATEWAY, client.envelope)
    assert thief.knock == KNOCK  # which session and which ticket, that much is told
    _, own_keys = thief.welcome(SECRET, WELCOME, ephemeral=key(5))
    posing = KnockingClient(CLIENT, public_bytes(GATEWAY), SECRET, KNOCK, ephemeral=key(6))
    with pytest.raises(EnvelopeRefusedError):
        own_keys.open(recorded)
    with pytest.raises(EnvelopeRefusedError):
        posing.open(welcome)


def test_an_envelope_has_a_longest_size() -> None:
    client, gateway = agreed()
    assert len(client.seal(b"x" * MAX_PLAINTEXT_BYTES)) == MAX_ENVELOPE_BYTES
    with pytest.raises(ValueError, match="at most"):
        client.seal(b"x" * (MAX_PLAINTEXT_BYTES + 1))
    assert refusal_of(gateway, b"\x23" + b"x" * MAX_ENVELOPE_BYTES) is EnvelopeRefusal.MALFORMED


@given(st.data())
def test_any_flipped_bit_of_any_envelope_is_refused(data: st.DataObject) -> None:
    client = knocking()
    welcome, at_gateway = AnsweringGateway(GATEWAY, client.envelope).welcome(SECRET, WELCOME, ephemeral=key(4))
    answer = client.open(welcome)
    assert isinstance(answer, tuple)
    envelope = bytearray(data.draw(st.sampled_from([client.envelope, welcome, answer[1].seal(b"hello")])))
    bit = data.draw(st.integers(0, len(envelope) * 8 - 1))
    envelope[bit // 8] ^= 1 << bit % 8
    for attempt in (
        lambda: AnsweringGateway(GATEWAY, bytes(envelope)),
        lambda: knocking().open(bytes(envelope)),
        lambda: at_gateway.open(bytes(envelope)),
    ):
        with pytest.raises(EnvelopeRefusedError):
            attempt()


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else(garbage: bytes) -> None:
    keys, _ = agreed()
    for attempt in (
        lambda: AnsweringGateway(GATEWAY, garbage),
        lambda: knocking().open(garbage),
        lambda: keys.open(garbage),
        lambda: keys.open(b"\x23" + garbage),
        lambda: AnsweringGateway(GATEWAY, b"\x21" + garbage),
    ):
        with pytest.raises(EnvelopeRefusedError):
            attempt()


@pytest.mark.parametrize(
    "inside", [b"", b"[]", b'{"session":"eA==","ticket":"eA==","number":1}', b'{"number":-1}', b"[" * 5000]
)
def test_a_knock_that_cannot_be_read_is_malformed_though_it_opens(inside: bytes) -> None:
    from perdure.signaling.envelope import PROLOGUE
    from perdure.signaling.noise import Initiator

    noise = Initiator(CLIENT, public_bytes(GATEWAY), ephemeral=key(3), prologue=PROLOGUE)
    with pytest.raises(EnvelopeRefusedError) as caught:
        AnsweringGateway(GATEWAY, b"\x21" + noise.write(inside))
    assert caught.value.refusal is EnvelopeRefusal.MALFORMED


@given(st.binary(min_size=1, max_size=40))
def test_a_lengthened_or_shortened_envelope_is_refused(more: bytes) -> None:
    client, gateway = agreed()
    envelope = client.seal(b"some plain text that is long enough to cut")
    assert refusal_of(gateway, envelope + more) is EnvelopeRefusal.FORGED
    assert refusal_of(gateway, envelope[: -len(more)]) is EnvelopeRefusal.FORGED


def test_a_repeated_envelope_is_refused() -> None:
    client, gateway = agreed()
    envelope = client.seal(b"once")
    gateway.open(envelope)
    assert refusal_of(gateway, envelope) is EnvelopeRefusal.REPLAYED


@given(st.permutations(range(6)))
def test_only_rising_counters_are_taken(order: list[int]) -> None:
    client, gateway = agreed()
    envelopes = [client.seal(bytes([number])) for number in range(6)]
    taken = []
    refusals = set()
    for number in order:
        try:
            taken.append(gateway.open(envelopes[number])[0])
        except EnvelopeRefusedError as error:
            refusals.add(error.refusal)
    assert refusals <= {EnvelopeRefusal.REPLAYED}
    highest = list(itertools.accumulate(order, max))
    assert taken == [number for position, number in enumerate(order) if number == highest[position]]


def test_a_reflected_envelope_is_refused() -> None:
    client, _ = agreed()
    assert refusal_of(client, client.seal(b"mine")) is EnvelopeRefusal.FORGED


def test_an_envelope_of_another_handshake_is_stale_and_renamed_forged() -> None:
    client, gateway = agreed()
    other, _ = agreed(ephemeral=7)
    envelope = other.seal(b"theirs")
    assert refusal_of(gateway, envelope) is EnvelopeRefusal.STALE
    own = client.seal(b"mine")
    assert refusal_of(gateway, own[:5] + envelope[5:]) is EnvelopeRefusal.FORGED


def test_a_refused_envelope_does_not_move_the_counter() -> None:
    client, gateway = agreed()
    first = client.seal(b"first")
    assert refusal_of(gateway, first[:5] + b"\x00\xff" + first[7:]) is EnvelopeRefusal.FORGED
    assert gateway.open(first) == b"first"


def test_a_welcome_answers_one_knock_only() -> None:
    first, second = knocking(), knocking(Knock(KNOCK.session, KNOCK.ticket, 2), ephemeral=5)
    welcome, _ = AnsweringGateway(GATEWAY, first.envelope).welcome(SECRET, WELCOME, ephemeral=key(4))
    with pytest.raises(EnvelopeRefusedError) as caught:
        second.open(welcome)
    assert caught.value.refusal is EnvelopeRefusal.STALE


def test_one_type_does_not_open_as_another() -> None:
    client, gateway = agreed()
    assert refusal_of(gateway, knocking().envelope) is EnvelopeRefusal.UNEXPECTED
    for attempt in (
        lambda: AnsweringGateway(GATEWAY, client.seal(b"x" * 200)),
        lambda: knocking().open(client.seal(b"x" * 200)),
    ):
        with pytest.raises(EnvelopeRefusedError) as caught:
            attempt()
        assert caught.value.refusal is EnvelopeRefusal.UNEXPECTED


def test_nothing_of_a_ticket_or_a_session_shows_from_outside() -> None:
    client = knocking()
    welcome, keys = AnsweringGateway(GATEWAY, client.envelope).welcome(SECRET, WELCOME, ephemeral=key(4))
    for seen in (client.envelope, welcome, keys.seal(b"hello")):
        for hidden in (KNOCK.session, KNOCK.ticket, public_bytes(CLIENT), b"turn.example", b"hello"):
            assert hidden not in seen
