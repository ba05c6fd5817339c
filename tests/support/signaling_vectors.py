"""What docs/vectors.json says about tickets and signaling. Keys are fixed and known to all: use none of them."""

from __future__ import annotations

import base64
import enum
import hashlib
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.signaling.application import describe, write_text
from perdure.signaling.envelope import (
    PROLOGUE,
    AnsweringGateway,
    Knock,
    KnockingClient,
    Refusal,
    RefusalReason,
    Welcome,
)
from perdure.signaling.frames import (
    Challenge,
    ClientFrame,
    Deliver,
    Join,
    Joined,
    Presence,
    RefusalCode,
    Refused,
    Role,
    Send,
    ServerFrame,
    Vouch,
    encode_frame,
)
from perdure.signaling.gateway_proof import gateway_join, room_id
from perdure.signaling.messages import (
    Answer,
    Bye,
    Candidate,
    ChannelMessage,
    IceServers,
    Offer,
    RTCIceServer,
    UnknownMessage,
)
from perdure.signaling.noise import PROTOCOL, Initiator, Responder, public_bytes
from perdure.signaling.reliable_channel import Body, encode_body
from perdure.ticket import PREFIX, Ticket

CLIENT, GATEWAY, CLIENTS_EPHEMERAL, GATEWAYS_EPHEMERAL, RENDEZVOUS = (
    X25519PrivateKey.from_private_bytes(bytes(range(first, first + 32))) for first in (32, 64, 96, 128, 160)
)
SECRET = bytes(range(32))
NO_TICKET = bytes(32)
"""The pre-shared key of a REFUSAL."""

TICKET = Ticket("wss://rendezvous.example", public_bytes(GATEWAY), SECRET)
TICKETS = [TICKET, Ticket("ws://[2001:db8::7]:8765/v2", public_bytes(GATEWAY), SECRET, expires_at=4_102_444_800)]
NOW = 1_800_000_000
"""Unix seconds, at which the refused tickets are read."""

SESSION, INSTANCE = bytes(range(16)), bytes(range(16, 32))
KNOCK = Knock(SESSION, TICKET.ticket_id, 1)
ICE_SERVERS = (RTCIceServer("stun:stun.example:3478"), RTCIceServer("turn:turn.example:3478", "ada", "pass"))
WELCOME = Welcome(INSTANCE, True, ICE_SERVERS)
REFUSAL = Refusal(RefusalReason.EXPIRED, "yesterday")

CLIENT_ID, GATEWAY_ID = bytes(range(200, 216)), bytes(range(216, 232))
"""Of the two peers at the rendezvous; and of the two ends of an application's own signaling."""

CHALLENGE = Challenge(public_bytes(RENDEZVOUS), bytes(range(240, 256)))

SDP = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
MESSAGES: list[ChannelMessage] = [
    Offer(1, SDP),
    Offer(4, SDP, restarts=3, cause="network-changed"),
    Answer(4, SDP),
    Candidate(4, "candidate:1 1 udp 2122260223 192.0.2.7 50000 typ host", "0", 0),
    Candidate(4, ""),
    Bye("done"),
    IceServers(ICE_SERVERS),
    IceServers(),
    Offer(6, SDP, standby=True),
]
BODIES = [
    Body(1, 1, 0, MESSAGES[0]),
    Body(7, 5, 3, MESSAGES[3]),
    Body(8, 5, 3, MESSAGES[5], missing=True),
    Body(ack=3),
    Body(ack=3, missing=True),
    Body(),
]
FRAMES: list[ClientFrame | ServerFrame] = [
    CHALLENGE,
    Join(room_id(TICKET.gateway), Role.CLIENT, CLIENT_ID.hex()),
    gateway_join(GATEWAY, GATEWAY_ID.hex(), "home", CHALLENGE),
    Joined(),
    Joined((CLIENT_ID.hex(), GATEWAY_ID.hex())),
    Send("", b"body"),
    Send(CLIENT_ID.hex(), b"body"),
    Vouch(),
    Vouch((CLIENT_ID.hex(), GATEWAY_ID.hex())),
    Deliver(GATEWAY_ID.hex(), b"body"),
    Presence(CLIENT_ID.hex(), True),
    Presence(CLIENT_ID.hex(), False),
    Refused(RefusalCode.OCCUPIED, "another gateway (home) serves with the same key"),
]

MESSAGES_SKIPPED = [
    '{"seq":7,"first":5,"ack":3,"message":{"type":"hello"}}',
    '{"seq":7,"first":5,"ack":3,"message":{"type":"hello","generation":"of a later version","sdp":[]}}',
]
"""Of a kind that version 2 does not have."""
BODIES_REFUSED = [
    "",
    "[]",
    '{"seq":1}',
    '{"seq":0,"message":{"type":"bye","reason":""}}',
    '{"seq":1,"first":2,"message":{"type":"bye","reason":""}}',
    '{"ack":9007199254740992}',
    '{"ack":-1}',
    '{"seq":1,"message":{}}',
    '{"seq":1,"message":{"type":1}}',
    f'{{"seq":1,"message":{{"type":"{"x" * 201}"}}}}',
    '{"seq":1,"message":{"type":"offer","generation":0,"sdp":"v=0"}}',
    '{"seq":1,"message":{"type":"answer","generation":1}}',
    '{"seq":1,"message":{"type":"ice-servers","iceServers":[{"username":"ada"}]}}',
    f'{{"seq":1,"message":{{"type":"ice-servers","iceServers":[{{"urls":"stun:{"x" * 508}"}}]}}}}',
    '{"seq":1,"message":{"type":"ice-servers","iceServers":[' + ",".join(['{"urls":"stun:a"}'] * 17) + "]}}",
]
FRAMES_REFUSED = [
    "",
    '{"type":"hello"}',
    '{"type":"presence","peer_id":"00","present":true}',
    f'{{"type":"presence","peer_id":"{CLIENT_ID.hex().upper()}","present":true}}',
    f'{{"type":"presence","peer_id":"{CLIENT_ID.hex()}","present":true,"more":1}}',
    '{"type":"send","to":"","body":""}',
    f'{{"type":"deliver","sender":"{CLIENT_ID.hex()}","body":"not base64"}}',
    '{"type":"challenge","key":"AAAA","nonce":"AAAA"}',
]


def signaling_vectors() -> dict[str, Any]:
    return {
        "tickets": [described_ticket(ticket) for ticket in TICKETS],
        "tickets with white space": [{"text": text, "read as": TICKET.encode()} for text in spaced_tickets()],
        "tickets refused": {"now": NOW, "texts": refused_tickets()},
        "room": {"gateway_key": TICKET.gateway.hex(), "room": room_id(TICKET.gateway)},
        "gateway proof": gateway_proof(),
        "handshake": handshake(),
        "data": data(),
        "bodies": [{"body": described(body), "text": encode_body(body).decode()} for body in BODIES],
        "messages": [
            {"message": described(message), "text": encode_body(Body(1, 1, 0, message)).decode()}
            for message in MESSAGES
        ],
        "messages skipped": [
            {"body": described(Body(7, 5, 3, UnknownMessage("hello"))), "text": text} for text in MESSAGES_SKIPPED
        ],
        "bodies refused": BODIES_REFUSED,
        "rendezvous frames": [{"frame": described(frame), "text": encode_frame(frame)} for frame in FRAMES],
        "rendezvous frames refused": FRAMES_REFUSED,
        "application texts": application_texts(),
    }


def described(value: object) -> Any:
    """Fields by the names that they have in JSON; bytes in hexadecimal."""
    match value:
        case msgspec.Struct():
            kind = {"type": value.__struct_config__.tag} if value.__struct_config__.tag else {}
            fields = msgspec.structs.fields(value)
            return kind | {field.encode_name: described(getattr(value, field.name)) for field in fields}
        case bytes():
            return value.hex()
        case enum.Enum():
            return value.value
        case tuple():
            return [described(each) for each in value]
    return value


def described_ticket(ticket: Ticket) -> dict[str, Any]:
    return {
        "rendezvous_url": ticket.rendezvous_url,
        "gateway_key": ticket.gateway.hex(),
        "secret": ticket.secret.hex(),
        "expires_at": ticket.expires_at,
        "ticket_id": ticket.ticket_id.hex(),
        "bytes": ticket_bytes(ticket.encode()).hex(),
        "text": ticket.encode(),
    }


def ticket_bytes(text: str) -> bytes:
    encoded = text.removeprefix(PREFIX)
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


def ticket_text(body: bytes) -> str:
    """A text whose checksum is right, whatever is in it."""
    raw = hashlib.sha256(b"perdure ticket" + body).digest()[:4] + body
    return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def spaced_tickets() -> list[str]:
    """As mail programs and files have it."""
    text = TICKET.encode()
    return [f" \t{text}\r\n", f"{text[:76]}\r\n{text[76:]}\r\n", f"{text[:4]} {text[4:60]}\n\v\f{text[60:]}"]


def refused_tickets() -> dict[str, str]:
    text, body = TICKET.encode(), ticket_bytes(TICKET.encode())[4:]
    head, url = body[:72], TICKET.rendezvous_url.encode()
    unused_bit = chr(ord(text[-1]) + 1)  # the last of its 6 bits means nothing: 101 bytes are 808 bits, 135 * 6 = 810
    assert ticket_bytes(text[:-1] + unused_bit) == ticket_bytes(text)
    return {
        "empty": "",
        "another prefix": "perdure3-" + text.removeprefix(PREFIX),
        "of version 1": "perdure1-" + text.removeprefix(PREFIX),
        "truncated": text[:-4],
        "quoted by a mail program": f"> {text[:70]}\n> {text[70:]}\n",
        "white space beyond ASCII": text[:70] + "\u00a0" + text[70:],
        "mistyped": text[:40] + ("A" if text[40] != "A" else "B") + text[41:],
        "padded": text + "=",
        "an unused bit of the last character is set": text[:-1] + unused_bit,
        "no rendezvous": ticket_text(head),
        "a rendezvous that is no WebSocket": ticket_text(head + b"https" + url.removeprefix(b"wss")),
        "a rendezvous without a host": ticket_text(head + b"wss://"),
        "a port that is none": ticket_text(head + url + b":65536"),
        "a control character in the rendezvous": ticket_text(head + url + b"/\x1b[2J"),
        "a rendezvous that is not UTF-8": ticket_text(head + url + b"/\xff"),
        "expired": Ticket(TICKET.rendezvous_url, TICKET.gateway, SECRET, expires_at=NOW).encode(),
        "over 1024 characters": ticket_text(head + url + b"/" + b"a" * 1000),
    }


def gateway_proof() -> dict[str, Any]:
    join = gateway_join(GATEWAY, GATEWAY_ID.hex(), "home", CHALLENGE)
    assert join.gateway is not None
    return {
        "gateway_private_key": GATEWAY.private_bytes_raw().hex(),
        "gateway_key": public_bytes(GATEWAY).hex(),
        "rendezvous_private_key": RENDEZVOUS.private_bytes_raw().hex(),
        "rendezvous_key": CHALLENGE.key.hex(),
        "nonce": CHALLENGE.nonce.hex(),
        "room": join.room,
        "peer_id": join.peer_id,
        "proof": join.gateway.proof.hex(),
    }


def handshake() -> dict[str, Any]:
    """One KNOCK, and both answers to it."""
    knocking = KnockingClient(CLIENT, TICKET.gateway, SECRET, KNOCK, ephemeral=CLIENTS_EPHEMERAL)
    welcome, _ = AnsweringGateway(GATEWAY, knocking.envelope).welcome(SECRET, WELCOME, ephemeral=GATEWAYS_EPHEMERAL)
    refusal = AnsweringGateway(GATEWAY, knocking.envelope).refuse(REFUSAL, ephemeral=GATEWAYS_EPHEMERAL)
    knock_payload = Responder(GATEWAY, prologue=PROLOGUE).read(knocking.envelope[1:])
    client = Initiator(CLIENT, TICKET.gateway, ephemeral=CLIENTS_EPHEMERAL, prologue=PROLOGUE)
    client.write(knock_payload)
    welcome_payload, keys = client.read(welcome[5:], SECRET)
    refusal_payload, _ = client.read(refusal[5:], NO_TICKET)
    ends = {
        "client": CLIENT,
        "gateway": GATEWAY,
        "client_ephemeral": CLIENTS_EPHEMERAL,
        "gateway_ephemeral": GATEWAYS_EPHEMERAL,
    }
    return {
        "protocol": PROTOCOL.decode(),
        "prologue": PROLOGUE.hex(),
        "private_keys": {name: key.private_bytes_raw().hex() for name, key in ends.items()},
        "public_keys": {name: public_bytes(key).hex() for name, key in ends.items()},
        "knock": {"inside": described(KNOCK), "payload": knock_payload.decode(), "envelope": knocking.envelope.hex()},
        "welcome": {
            "inside": described(WELCOME),
            "payload": welcome_payload.decode(),
            "pre_shared_key": SECRET.hex(),
            "envelope": welcome.hex(),
        },
        "refusal": {
            "inside": described(REFUSAL),
            "payload": refusal_payload.decode(),
            "pre_shared_key": NO_TICKET.hex(),
            "envelope": refusal.hex(),
        },
        "handshake_hash": keys.handshake_hash.hex(),
        "client_to_gateway_key": keys.sealing.hex(),
        "gateway_to_client_key": keys.opening.hex(),
        "knocks refused": {
            "empty": "",
            "of version 1": f"11{knocking.envelope.hex()[2:]}",
            "of an unknown type": f"25{knocking.envelope.hex()[2:]}",
            "truncated": knocking.envelope[:-1].hex(),
            "altered": altered(knocking.envelope, 60).hex(),
            "an ephemeral key of small order": (knocking.envelope[:1] + bytes(32) + knocking.envelope[33:]).hex(),
        },
        "answers refused": {
            "of another knock": altered(welcome, 1).hex(),
            "altered": altered(welcome, 60).hex(),
            "a refusal as a welcome": (welcome[:1] + refusal[1:]).hex(),
            "a knock": knocking.envelope.hex(),
        },
    }


def altered(envelope: bytes, place: int) -> bytes:
    return envelope[:place] + bytes([envelope[place] ^ 1]) + envelope[place + 1 :]


def data() -> dict[str, Any]:
    """DATA under the keys of `handshake`: two envelopes in each direction, then what the gateway refuses."""
    knocking = KnockingClient(CLIENT, TICKET.gateway, SECRET, KNOCK, ephemeral=CLIENTS_EPHEMERAL)
    asked = AnsweringGateway(GATEWAY, knocking.envelope)
    welcome, gateways = asked.welcome(SECRET, WELCOME, ephemeral=GATEWAYS_EPHEMERAL)
    opened = knocking.open(welcome)
    assert not isinstance(opened, Refusal)
    sealed = [
        (by, counter, body, keys.seal(body))
        for by, keys in (("client", opened[1]), ("gateway", gateways))
        for counter, body in enumerate((encode_body(BODIES[0]), encode_body(BODIES[3])), 1)
    ]
    first, second, reflected = sealed[0][3], sealed[1][3], sealed[3][3]
    return {
        "envelopes": [
            {"by": by, "counter": counter, "body": body.decode(), "envelope": envelope.hex()}
            for by, counter, body, envelope in sealed
        ],
        "then refused by the gateway": {
            "repeated": second.hex(),
            "an earlier counter": first.hex(),
            "its own": reflected.hex(),
            "another counter in clear": altered(second, 12).hex(),
            "of other keys": altered(second, 1).hex(),
            "truncated": second[:-1].hex(),
        },
    }


def application_texts() -> dict[str, Any]:
    """What an application carries itself; nothing of it is sealed."""
    return {
        "messages": [
            {
                "session": SESSION.hex(),
                "sender": CLIENT_ID.hex(),
                "receiver": receiver.hex(),
                "body": described(body),
                "text": write_text(SESSION, CLIENT_ID, body, receiver=receiver),
            }
            for body, receiver in ((BODIES[0], b""), (BODIES[2], GATEWAY_ID), (BODIES[3], GATEWAY_ID))
        ],
        "descriptions": [
            {"session": SESSION.hex(), "message": described(message), "text": describe(SESSION, message)}
            for message in MESSAGES
            if isinstance(message, Offer | Answer)
        ],
        "refused": [
            "",
            '{"seq":1}',
            f'{{"session":"{SESSION.hex()}"}}',
            f'{{"session":"{SESSION.hex()}","sender":"00"}}',
            f'{{"session":"{SESSION.hex()}","sender":"{CLIENT_ID.hex()}","seq":1}}',
        ],
    }
