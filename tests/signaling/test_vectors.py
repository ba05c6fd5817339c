"""What docs/vectors.json says about tickets and signaling, read as another implementation would: from the file alone.

tests/test_vectors.py writes the file.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.errors import ProtocolError, TicketError
from perdure.signaling.application import describe, read_description, read_text, write_text
from perdure.signaling.envelope import (
    AnsweringGateway,
    DataKeys,
    EnvelopeRefusedError,
    Knock,
    KnockingClient,
    Refusal,
    Welcome,
)
from perdure.signaling.frames import Challenge, Join, decode_client_frame, decode_server_frame, encode_frame
from perdure.signaling.gateway_proof import gateway_join, is_proved, room_id
from perdure.signaling.noise import Keys
from perdure.signaling.reliable_channel import decode_body, encode_body
from perdure.ticket import Ticket, parse_ticket
from support.pages import DOCS
from support.signaling_vectors import described

TOLD: dict[str, Any] = json.loads((DOCS / "vectors.json").read_text())
HANDSHAKE: dict[str, Any] = TOLD["handshake"]


def private(name: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(HANDSHAKE["private_keys"][name]))


def public(name: str) -> bytes:
    return bytes.fromhex(HANDSHAKE["public_keys"][name])


def envelope(name: str) -> bytes:
    return bytes.fromhex(HANDSHAKE[name]["envelope"])


SECRET = bytes.fromhex(HANDSHAKE["welcome"]["pre_shared_key"])


def answering() -> AnsweringGateway:
    return AnsweringGateway(private("gateway"), envelope("knock"))


def knocking() -> KnockingClient:
    return KnockingClient(
        private("client"), public("gateway"), SECRET, answering().knock, ephemeral=private("client_ephemeral")
    )


def data_keys(by: str) -> DataKeys:
    """The keys of one end, of the file's."""
    sealing, opening = ("client_to_gateway_key", "gateway_to_client_key")[:: 1 if by == "client" else -1]
    found = (bytes.fromhex(HANDSHAKE[name]) for name in (sealing, opening, "handshake_hash"))
    return DataKeys(Keys(*found))


@pytest.mark.parametrize("told", TOLD["tickets"])
def test_a_ticket_is_its_fields_and_they_are_the_ticket(told: dict[str, Any]) -> None:
    ticket = parse_ticket(told["text"], now=TOLD["tickets refused"]["now"])
    fields = bytes.fromhex(told["gateway_key"]), bytes.fromhex(told["secret"]), told["expires_at"]
    assert ticket == Ticket(told["rendezvous_url"], *fields)
    assert ticket.encode() == told["text"]
    assert ticket.ticket_id.hex() == told["ticket_id"]


@pytest.mark.parametrize("told", TOLD["tickets with white space"])
def test_white_space_in_a_ticket_does_not_matter(told: dict[str, str]) -> None:
    assert parse_ticket(told["text"], now=TOLD["tickets refused"]["now"]).encode() == told["read as"]


@pytest.mark.parametrize("why", TOLD["tickets refused"]["texts"])
def test_a_wrong_ticket_is_refused(why: str) -> None:
    with pytest.raises(TicketError) as refused:
        parse_ticket(TOLD["tickets refused"]["texts"][why], now=TOLD["tickets refused"]["now"])
    assert refused.value.expired == (why == "expired")


def test_a_gateways_key_names_its_room_and_its_proof_is_taken() -> None:
    told = TOLD["gateway proof"]
    gateway, rendezvous = (
        X25519PrivateKey.from_private_bytes(bytes.fromhex(told[f"{end}_private_key"]))
        for end in ("gateway", "rendezvous")
    )
    challenge = Challenge(bytes.fromhex(told["rendezvous_key"]), bytes.fromhex(told["nonce"]))
    join = gateway_join(gateway, told["peer_id"], "home", challenge)
    assert join.gateway is not None
    assert (join.room, join.gateway.proof.hex()) == (told["room"], told["proof"])
    assert room_id(bytes.fromhex(TOLD["room"]["gateway_key"])) == TOLD["room"]["room"] == told["room"]
    assert is_proved(join, rendezvous, challenge.nonce)
    assert not is_proved(join, rendezvous, bytes(16))


def test_the_gateway_reads_the_knock_and_the_client_makes_the_same() -> None:
    asked = answering()
    assert described(asked.knock) == HANDSHAKE["knock"]["inside"]
    assert asked.client_key == public("client")
    assert knocking().envelope == envelope("knock")


def test_the_client_reads_the_welcome_and_the_gateway_makes_the_same() -> None:
    opened = knocking().open(envelope("welcome"))
    assert not isinstance(opened, Refusal)
    assert described(opened[0]) == HANDSHAKE["welcome"]["inside"]
    made, gateways = answering().welcome(SECRET, opened[0], ephemeral=private("gateway_ephemeral"))
    assert made == envelope("welcome")
    assert opened[1].seal(b"x") == data_keys("client").seal(b"x")
    assert gateways.seal(b"x") == data_keys("gateway").seal(b"x")


def test_the_client_reads_the_refusal_and_the_gateway_makes_the_same() -> None:
    opened = knocking().open(envelope("refusal"))
    assert isinstance(opened, Refusal)
    assert described(opened) == HANDSHAKE["refusal"]["inside"]
    assert answering().refuse(opened, ephemeral=private("gateway_ephemeral")) == envelope("refusal")


@pytest.mark.parametrize(("name", "kind"), [("knock", Knock), ("welcome", Welcome), ("refusal", Refusal)])
def test_a_payload_is_the_json_of_what_is_inside(name: str, kind: type[Knock | Welcome | Refusal]) -> None:
    inside = msgspec.json.decode(HANDSHAKE[name]["payload"], type=kind)
    assert described(inside) == HANDSHAKE[name]["inside"]


@pytest.mark.parametrize("why", HANDSHAKE["knocks refused"])
def test_a_wrong_knock_is_refused(why: str) -> None:
    with pytest.raises(EnvelopeRefusedError):
        AnsweringGateway(private("gateway"), bytes.fromhex(HANDSHAKE["knocks refused"][why]))


@pytest.mark.parametrize("why", HANDSHAKE["answers refused"])
def test_a_wrong_answer_is_refused(why: str) -> None:
    with pytest.raises(EnvelopeRefusedError):
        knocking().open(bytes.fromhex(HANDSHAKE["answers refused"][why]))


def test_data_opens_at_the_other_end_in_its_order_and_nothing_else_does() -> None:
    gateway = data_keys("gateway")
    ends = {"client": gateway, "gateway": data_keys("client")}
    makers = {by: data_keys(by) for by in ends}
    for told in TOLD["data"]["envelopes"]:
        sealed = bytes.fromhex(told["envelope"])
        assert ends[told["by"]].open(sealed).decode() == told["body"]
        assert makers[told["by"]].seal(told["body"].encode()) == sealed
        assert makers[told["by"]].sealed == told["counter"]
    for sealed in TOLD["data"]["then refused by the gateway"].values():
        with pytest.raises(EnvelopeRefusedError):
            gateway.open(bytes.fromhex(sealed))


@pytest.mark.parametrize("told", TOLD["bodies"])
def test_a_body_is_its_text(told: dict[str, Any]) -> None:
    body = decode_body(told["text"])
    assert described(body) == told["body"]
    assert encode_body(body).decode() == told["text"]


@pytest.mark.parametrize("told", TOLD["messages"])
def test_a_message_is_read_in_a_body(told: dict[str, Any]) -> None:
    body = decode_body(told["text"])
    assert described(body.message) == told["message"]
    assert encode_body(body).decode() == told["text"]


@pytest.mark.parametrize("told", TOLD["messages skipped"])
def test_a_message_of_an_unknown_type_is_a_body_all_the_same(told: dict[str, Any]) -> None:
    assert described(decode_body(told["text"])) == told["body"]


@pytest.mark.parametrize("text", TOLD["bodies refused"])
def test_a_wrong_body_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_body(text)


@pytest.mark.parametrize("told", TOLD["rendezvous frames"])
def test_a_frame_of_the_rendezvous_is_its_text(told: dict[str, Any]) -> None:
    is_of_a_peer = told["frame"]["type"] in ("join", "send", "vouch")
    frame = decode_client_frame(told["text"]) if is_of_a_peer else decode_server_frame(told["text"])
    assert described(frame) == told["frame"]
    assert encode_frame(frame) == told["text"]
    if isinstance(frame, Join) and frame.gateway is not None:
        assert frame.gateway.proof.hex() == TOLD["gateway proof"]["proof"]


@pytest.mark.parametrize("text", TOLD["rendezvous frames refused"])
def test_a_wrong_frame_is_refused_by_both(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_client_frame(text)
    with pytest.raises(ProtocolError):
        decode_server_frame(text)


@pytest.mark.parametrize("told", TOLD["application texts"]["messages"])
def test_an_applications_text_is_its_fields(told: dict[str, Any]) -> None:
    receiver = bytes.fromhex(told["receiver"])
    session, sender, body = read_text(told["text"], receiver=receiver)
    assert (session.hex(), sender.hex(), described(body)) == (told["session"], told["sender"], told["body"])
    assert write_text(session, sender, body, receiver=receiver) == told["text"]


@pytest.mark.parametrize("told", TOLD["application texts"]["descriptions"])
def test_a_description_that_an_application_carries_is_its_fields(told: dict[str, Any]) -> None:
    session, message = read_description(told["text"], told["message"]["type"])
    assert (session.hex(), described(message)) == (told["session"], told["message"])
    assert describe(session, message) == told["text"]


@pytest.mark.parametrize("text", TOLD["application texts"]["refused"])
def test_a_wrong_text_of_an_application_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        read_text(text, receiver=bytes(16))
