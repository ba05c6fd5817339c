"""Envelopes: what a rendezvous may try with them, and what it gets."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.signaling.envelope import (
    MAX_ENVELOPE_BYTES,
    MAX_PLAINTEXT_BYTES,
    DataKeys,
    EnvelopeRefusal,
    EnvelopeRefusedError,
    Knock,
    Welcome,
    WelcomeStatus,
    open_knock,
    open_welcome,
    read_header,
    room_id,
    seal_knock,
    seal_welcome,
)
from perdure.ticket import Ticket

TICKET = Ticket("ws://127.0.0.1:1", bytes(range(32)), expires_at=1_900_000_000)
SESSION, OTHER_SESSION = b"s" * 16, b"t" * 16
CLIENT_EPOCH, GATEWAY_EPOCH = b"c" * 16, b"g" * 16
NONCE = b"n" * 12
KNOCK = Knock(CLIENT_EPOCH, 1)
WELCOME = Welcome(GATEWAY_EPOCH, b"i" * 16, True, WelcomeStatus.OK)


def _keys(
    *, initiator: bool, ticket: Ticket = TICKET, session: bytes = SESSION, epoch: bytes = GATEWAY_EPOCH
) -> DataKeys:
    return DataKeys(ticket, session, CLIENT_EPOCH, epoch, initiator=initiator)


def _refusal(opened: DataKeys, envelope: bytes) -> EnvelopeRefusal:
    with pytest.raises(EnvelopeRefusedError) as caught:
        opened.open(envelope)
    return caught.value.refusal


def test_a_knock_and_its_welcome_open() -> None:
    knock = seal_knock(TICKET, SESSION, KNOCK, nonce=NONCE)
    assert open_knock(TICKET, knock) == KNOCK
    assert read_header(knock).session_id == SESSION
    welcome = seal_welcome(TICKET, SESSION, CLIENT_EPOCH, WELCOME, nonce=NONCE)
    assert open_welcome(TICKET, SESSION, CLIENT_EPOCH, welcome) == WELCOME


def test_data_opens_at_the_other_end_in_both_directions() -> None:
    client, gateway = _keys(initiator=True), _keys(initiator=False)
    for plain in (b"", b"one", b"x" * MAX_PLAINTEXT_BYTES):
        assert gateway.open(client.seal(plain)) == plain
        assert client.open(gateway.seal(plain)) == plain


def test_an_envelope_has_a_longest_size() -> None:
    client = _keys(initiator=True)
    assert len(client.seal(b"x" * MAX_PLAINTEXT_BYTES)) == MAX_ENVELOPE_BYTES
    with pytest.raises(ValueError, match="at most"):
        client.seal(b"x" * (MAX_PLAINTEXT_BYTES + 1))
    assert _refusal(_keys(initiator=False), b"\x01\x03" + b"x" * MAX_ENVELOPE_BYTES) is EnvelopeRefusal.MALFORMED


@given(st.data())
def test_any_flipped_bit_of_any_envelope_is_refused(data: st.DataObject) -> None:
    kind = data.draw(st.integers(0, 2))
    envelope = bytearray(
        [
            seal_knock(TICKET, SESSION, KNOCK, nonce=NONCE),
            seal_welcome(TICKET, SESSION, CLIENT_EPOCH, WELCOME, nonce=NONCE),
            _keys(initiator=True).seal(b"hello"),
        ][kind]
    )
    bit = data.draw(st.integers(0, len(envelope) * 8 - 1))
    envelope[bit // 8] ^= 1 << bit % 8
    altered = bytes(envelope)
    with pytest.raises(EnvelopeRefusedError):
        open_knock(TICKET, altered)
    with pytest.raises(EnvelopeRefusedError):
        open_welcome(TICKET, SESSION, CLIENT_EPOCH, altered)
    with pytest.raises(EnvelopeRefusedError):
        _keys(initiator=False).open(altered)


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else(garbage: bytes) -> None:
    for attempt in (
        lambda: open_knock(TICKET, garbage),
        lambda: open_welcome(TICKET, SESSION, CLIENT_EPOCH, garbage),
        lambda: _keys(initiator=True).open(garbage),
    ):
        with pytest.raises(EnvelopeRefusedError):
            attempt()


@given(st.binary(min_size=1, max_size=40))
def test_a_lengthened_or_shortened_envelope_is_refused(more: bytes) -> None:
    envelope = _keys(initiator=True).seal(b"some plain text that is long enough to cut")
    assert _refusal(_keys(initiator=False), envelope + more) is EnvelopeRefusal.FORGED
    assert _refusal(_keys(initiator=False), envelope[: -len(more)]) is EnvelopeRefusal.FORGED


def test_a_repeated_envelope_is_refused() -> None:
    gateway = _keys(initiator=False)
    envelope = _keys(initiator=True).seal(b"once")
    gateway.open(envelope)
    assert _refusal(gateway, envelope) is EnvelopeRefusal.REPLAYED


@given(st.permutations(range(6)))
def test_only_rising_counters_are_taken(order: list[int]) -> None:
    client, gateway = _keys(initiator=True), _keys(initiator=False)
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
    client = _keys(initiator=True)
    assert _refusal(client, client.seal(b"mine")) is EnvelopeRefusal.FORGED


def test_an_envelope_of_another_session_is_refused() -> None:
    envelope = _keys(initiator=True, session=OTHER_SESSION).seal(b"theirs")
    assert _refusal(_keys(initiator=False), envelope) is EnvelopeRefusal.WRONG_SESSION
    renamed = envelope[:2] + SESSION + envelope[18:]
    assert _refusal(_keys(initiator=False), renamed) is EnvelopeRefusal.UNKNOWN_EPOCH


def test_an_envelope_of_other_epochs_is_refused() -> None:
    envelope = _keys(initiator=True, epoch=b"h" * 16).seal(b"old")
    assert _refusal(_keys(initiator=False), envelope) is EnvelopeRefusal.UNKNOWN_EPOCH
    tag = _keys(initiator=False).epoch_tag
    assert _refusal(_keys(initiator=False), envelope[:18] + tag + envelope[26:]) is EnvelopeRefusal.FORGED


def test_a_refused_envelope_does_not_move_the_counter() -> None:
    gateway = _keys(initiator=False)
    client = _keys(initiator=True)
    first = client.seal(b"first")
    forged = first[:30] + b"\xff" * 8 + first[38:]
    assert _refusal(gateway, forged) is EnvelopeRefusal.FORGED
    assert gateway.open(first) == b"first"


def test_a_welcome_answers_one_knock_only() -> None:
    welcome = seal_welcome(TICKET, SESSION, CLIENT_EPOCH, WELCOME, nonce=NONCE)
    for session, epoch, refusal in (
        (SESSION, b"d" * 16, EnvelopeRefusal.UNKNOWN_EPOCH),
        (OTHER_SESSION, CLIENT_EPOCH, EnvelopeRefusal.WRONG_SESSION),
    ):
        with pytest.raises(EnvelopeRefusedError) as caught:
            open_welcome(TICKET, session, epoch, welcome)
        assert caught.value.refusal is refusal


def test_one_type_does_not_open_as_another() -> None:
    knock = seal_knock(TICKET, SESSION, KNOCK, nonce=NONCE)
    assert _refusal(_keys(initiator=False), knock) is EnvelopeRefusal.UNEXPECTED
    with pytest.raises(EnvelopeRefusedError) as caught:
        open_knock(TICKET, _keys(initiator=True).seal(b""))
    assert caught.value.refusal is EnvelopeRefusal.UNEXPECTED


@pytest.mark.parametrize("changes", [{"expires_at": 0}, {"expires_at": 2_000_000_000}, {"secret": bytes(32)}])
def test_another_expiry_or_secret_gives_other_rooms_and_keys(changes: dict[str, object]) -> None:
    other = replace(TICKET, **changes)  # type: ignore[arg-type]
    assert room_id(other) != room_id(TICKET)
    with pytest.raises(EnvelopeRefusedError):
        open_knock(other, seal_knock(TICKET, SESSION, KNOCK, nonce=NONCE))
    with pytest.raises(EnvelopeRefusedError):
        open_welcome(other, SESSION, CLIENT_EPOCH, seal_welcome(TICKET, SESSION, CLIENT_EPOCH, WELCOME, nonce=NONCE))
    assert (
        _refusal(_keys(initiator=False, ticket=other), _keys(initiator=True).seal(b"")) is EnvelopeRefusal.UNKNOWN_EPOCH
    )


def test_the_room_does_not_depend_on_the_rendezvous() -> None:
    assert room_id(TICKET) == room_id(replace(TICKET, rendezvous_url="wss://elsewhere"))
    assert len(bytes.fromhex(room_id(TICKET))) == 16


def test_misuse_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="session id has 16 bytes"):
        seal_knock(TICKET, b"short", KNOCK, nonce=NONCE)
