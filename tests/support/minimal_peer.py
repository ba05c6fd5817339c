"""The minimal client of docs/protocol.md, on another WebRTC engine. It imports nothing of perdure.

It leaves out what the page lets a minimal client leave out. The numbers are those of the page's sections.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import websockets
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 2**40
"""This client grants at once all that its peer may ever send."""

# 4. The handshake.


class Knock:
    def __init__(
        self, key: X25519PrivateKey, gateway: bytes, secret: bytes, inside: str, ephemeral: X25519PrivateKey
    ) -> None:
        self._key, self._secret = key, secret
        self._e = ephemeral
        self._h = self._ck = b"Noise_IKpsk2_25519_AESGCM_SHA256"
        self._k = b""
        self._mix_hash(b"perdure 2")
        self._mix_hash(gateway)
        public = self._e.public_key().public_bytes_raw()
        self._mix_hash(public)
        self._mix_key(public)
        self._mix_key(dh(self._e, gateway))
        static = self._seal(key.public_key().public_bytes_raw())
        self._mix_key(dh(key, gateway))
        self.envelope = b"\x21" + public + static + self._seal(inside.encode())
        self.tag = hashlib.sha256(self.envelope).digest()[:4]

    def open(self, envelope: bytes) -> tuple[dict[str, Any], DataKeys]:
        assert envelope[0] == 0x22, "not a WELCOME"
        theirs, sealed = envelope[5:37], envelope[37:]
        self._mix_hash(theirs)
        self._mix_key(theirs)
        self._mix_key(dh(self._e, theirs))
        self._mix_key(dh(self._key, theirs))
        self._ck, mixed, self._k = self._hkdf(self._secret)
        self._mix_hash(mixed)
        inside = AESGCM(self._k).decrypt(bytes(12), sealed, self._h)
        self._mix_hash(sealed)
        to_gateway, to_client, _ = self._hkdf(b"")
        return json.loads(inside), DataKeys(to_gateway, to_client, self._h[:4])

    def _hkdf(self, material: bytes) -> tuple[bytes, bytes, bytes]:
        t = hmac.digest(self._ck, material, "sha256")
        o1 = hmac.digest(t, b"\x01", "sha256")
        o2 = hmac.digest(t, o1 + b"\x02", "sha256")
        return o1, o2, hmac.digest(t, o2 + b"\x03", "sha256")

    def _mix_hash(self, data: bytes) -> None:
        self._h = hashlib.sha256(self._h + data).digest()

    def _mix_key(self, material: bytes) -> None:
        self._ck, self._k, _ = self._hkdf(material)

    def _seal(self, plain: bytes) -> bytes:
        sealed = AESGCM(self._k).encrypt(bytes(12), plain, self._h)
        self._mix_hash(sealed)
        return sealed


def dh(private: X25519PrivateKey, public: bytes) -> bytes:
    return private.exchange(X25519PublicKey.from_public_bytes(public))


@dataclass
class DataKeys:
    to_gateway: bytes
    to_client: bytes
    tag: bytes
    sealed: int = 0
    opened: int = 0

    def seal(self, plain: bytes) -> bytes:
        self.sealed += 1
        head = b"\x23" + self.tag + struct.pack(">Q", self.sealed)
        return head + AESGCM(self.to_gateway).encrypt(bytes(4) + head[5:], plain, head)

    def open(self, envelope: bytes) -> bytes:
        head, (counter,) = envelope[:13], struct.unpack(">Q", envelope[5:13])
        assert head[1:5] == self.tag
        assert counter > self.opened
        self.opened = counter
        return AESGCM(self.to_client).decrypt(bytes(4) + head[5:], envelope[13:], head)


# 8. Frames.


def varint(value: int) -> bytes:
    for size, mark in ((1, 0), (2, 0x40), (4, 0x80), (8, 0xC0)):
        if value < 1 << (8 * size - 2):
            data = bytearray(value.to_bytes(size, "big"))
            data[0] |= mark
            return bytes(data)
    raise ValueError(value)


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        self.at += size
        assert self.at <= len(self.data)
        return self.data[self.at - size : self.at]

    def n(self) -> int:
        first = self.take(1)
        rest = self.take((1 << (first[0] >> 6)) - 1)
        return int.from_bytes(bytes([first[0] & 0x3F]) + rest, "big")


@dataclass
class Stream:
    stream_id: int
    target: bytes
    sent: bytearray = field(default_factory=bytearray)
    """All that was ever written: this client has the memory."""
    framed: int = 0
    acknowledged: int = 0
    limit: int = 0
    is_known: bool = False
    fin: bool = False
    fin_framed: bool = False
    fin_acknowledged: bool = False
    received: bytearray = field(default_factory=bytearray)
    fin_received: bool = False
    accepted: bool = False

    @property
    def position(self) -> int:
        return len(self.received) + self.fin_received


class MinimalPeer:
    """`async with MinimalPeer(ticket) as peer`. What it received is in its streams."""

    def __init__(self, ticket: str) -> None:
        raw = base64.urlsafe_b64decode(ticket.removeprefix("perdure2-") + "==")
        assert raw[:4] == hashlib.sha256(b"perdure ticket" + raw[4:]).digest()[:4]
        self.gateway, self.secret, self.url = raw[12:44], raw[44:76], raw[76:].decode()
        self.key = X25519PrivateKey.generate()
        self.session_id, self.session_key = os.urandom(16), os.urandom(32)
        self.current = self.generation = 0
        self.connection: RTCPeerConnection
        self.carriers = 0
        self.peer_knows_us = self.is_resumed = False
        self.streams: dict[int, Stream] = {}
        self.seq = self.taken = 0
        self.unacked: dict[int, dict[str, Any]] = {}
        self.changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self.socket = await websockets.connect(self.url.rstrip("/") + "/v2")
        assert json.loads(await self.socket.recv())["type"] == "challenge"
        room = hashlib.sha256(b"perdure room" + self.gateway).hexdigest()[:32]
        await self._say(type="join", room=room, role="client", peer_id=os.urandom(16).hex())
        joined = json.loads(await self.socket.recv())
        assert joined.get("peers"), "the gateway is there"
        ticket_id = hashlib.sha256(b"perdure ticket id" + self.secret).digest()[:16]
        inside = json.dumps({"session": text(self.session_id), "ticket": text(ticket_id), "number": 1})
        knock = Knock(self.key, self.gateway, self.secret, inside, X25519PrivateKey.generate())
        await self._send(knock.envelope)
        _, self.keys = knock.open(base64.b64decode(json.loads(await self.socket.recv())["body"]))
        self.tasks = [asyncio.create_task(self._read_signaling())]
        await self.offer()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await self.connection.close()
        await self.socket.close()

    # 3 and 5. Signaling.

    async def _say(self, **frame: object) -> None:
        await self.socket.send(json.dumps(frame))

    async def _send(self, envelope: bytes) -> None:
        await self._say(type="send", to="", body=text(envelope))

    async def _message(self, **message: object) -> None:
        self.seq += 1
        self.unacked[self.seq] = message
        body = {"seq": self.seq, "first": min(self.unacked), "ack": self.taken, "message": message}
        await self._send(self.keys.seal(json.dumps(body).encode()))

    async def _read_signaling(self) -> None:
        async for frame in self.socket:
            frame = json.loads(frame)
            if frame["type"] != "deliver":
                continue
            body = json.loads(self.keys.open(base64.b64decode(frame["body"])))
            self.unacked = {seq: each for seq, each in self.unacked.items() if seq > body.get("ack", 0)}
            if "message" not in body:
                continue
            if body["seq"] == max(self.taken + 1, body["first"]):
                self.taken = body["seq"]
                await self._take(body["message"])
            await self._send(self.keys.seal(json.dumps({"ack": self.taken}).encode()))

    # 6. Negotiation.

    async def lose_carrier(self) -> None:
        """Close it, and leave the next offer to the gateway."""
        self.is_resumed = False
        await self.connection.close()

    async def offer(self) -> None:
        """Begin a carrier, in place of the present one."""
        self.is_resumed = False
        if self.current:
            await self.connection.close()
        self.generation = self.current = 2 * (self.current // 2 + 1) + 1
        self.carriers += 1
        self.connection = RTCPeerConnection()
        self.channel = self.connection.createDataChannel("perdure", negotiated=True, id=0)
        generation = self.generation
        self.channel.on("open", lambda: self._opened(generation))
        self.channel.on("message", lambda message: self._received(generation, message))
        await self.connection.setLocalDescription(await self.connection.createOffer())
        await self._message(type="offer", generation=generation, sdp=self.connection.localDescription.sdp)

    async def _take(self, message: dict[str, Any]) -> None:
        kind, generation = message["type"], message.get("generation", 0)
        if kind == "answer" and generation == self.current and self.connection.signalingState == "have-local-offer":
            self.answer = message["sdp"]
            await self.connection.setRemoteDescription(RTCSessionDescription(self.answer, "answer"))
        elif kind == "candidate" and generation == self.current:
            candidate = candidate_from_sdp(message["candidate"].removeprefix("candidate:"))
            candidate.sdpMid, candidate.sdpMLineIndex = message.get("sdpMid"), message.get("sdpMLineIndex")
            await self.connection.addIceCandidate(candidate)
        elif kind == "offer" and generation > self.current and generation % 2 == 0:
            self.current = generation
            await self.offer()

    # 7 and 8. Carrier and session.

    def _opened(self, generation: int) -> None:
        if generation != self.generation:
            return
        ours, theirs = (digest(sdp) for sdp in (self.connection.localDescription.sdp, self.answer))
        self.binding = b"".join(sorted((ours, theirs)))
        message = b"" if self.peer_knows_us else b"\x01" + self.session_id + self.session_key + varint(0)
        message += b"\x02" + self.session_id + varint(generation) + self._proof(b"initiator") + varint(0)
        known = [stream for stream in self.streams.values() if stream.framed or stream.is_known]
        message += varint(len(known))
        for stream in known:
            message += b"".join(varint(value) for value in (stream.stream_id, stream.position, WINDOW, 0))
        self.channel.send(message)

    def _proof(self, role: bytes) -> bytes:
        proved = b"perdure resume 2 " + role + b"\0" + self.session_id + varint(self.generation) + self.binding
        return hmac.digest(self.session_key, proved, "sha256")

    def _received(self, generation: int, message: bytes) -> None:
        if generation != self.generation:
            return
        reader = Reader(message)
        replies = b""
        while reader.at < len(message):
            replies += self._take_frame(reader)
        if replies:
            self.channel.send(replies)
        self.flush()
        self.tasks.append(asyncio.ensure_future(self._tell()))

    def _take_frame(self, reader: Reader) -> bytes:
        kind = reader.take(1)[0]
        if kind == 0x02:
            self._take_resume(reader)
        elif kind == 0x04:
            stream_id, offset = reader.n(), reader.n()
            payload, stream = reader.take(reader.n()), self.streams[stream_id]
            stream.received += payload[max(0, len(stream.received) - offset) :]
            return b"\x05" + varint(stream_id) + varint(stream.position)
        elif kind in (0x05, 0x06, 0x07, 0x0D):
            stream, value = self.streams[reader.n()], reader.n()
            stream.is_known = True
            if kind == 0x05:
                self._acknowledged(stream, value)
            elif kind == 0x07:
                assert value == len(stream.received)
                stream.fin_received = True
                return b"\x05" + varint(stream.stream_id) + varint(stream.position)
            else:
                stream.limit = max(stream.limit, value)
                stream.accepted |= kind == 0x0D
        elif kind == 0x0A:
            return b"\x0b" + varint(reader.n())
        elif kind >= 0x40:
            reader.take(reader.n())
        else:
            raise AssertionError(f"frame 0x{kind:02x}")
        return b""

    def _take_resume(self, reader: Reader) -> None:
        assert reader.take(16) == self.session_id
        assert reader.n() == self.generation
        assert hmac.compare_digest(reader.take(32), self._proof(b"acceptor"))
        parameters = Reader(reader.take(reader.n()))
        self.initial_credit = 65536
        while parameters.at < len(parameters.data):
            name, value = parameters.n(), Reader(parameters.take(parameters.n()))
            if name == 2:
                self.initial_credit = value.n()
        listed = {reader.n(): (reader.n(), reader.n(), reader.n()) for _ in range(reader.n())}
        self.is_resumed = self.peer_knows_us = True
        for stream in self.streams.values():
            stream.limit = max(stream.limit, self.initial_credit)
            if (found := listed.get(stream.stream_id)) is not None:
                stream.is_known = True
                self._acknowledged(stream, found[0])
                stream.limit = max(stream.limit, found[1])
                stream.accepted |= bool(found[2] & 1)
            else:
                assert not stream.is_known or (stream.fin and stream.fin_received), "the session was lost"
            stream.framed, stream.fin_framed = stream.acknowledged, stream.fin_acknowledged

    def _acknowledged(self, stream: Stream, position: int) -> None:
        stream.acknowledged = max(stream.acknowledged, min(position, len(stream.sent)))
        stream.fin_acknowledged |= position > len(stream.sent)

    def flush(self) -> None:
        """Send what may be sent."""
        for stream in self.streams.values() if self.is_resumed else ():
            message = b""
            if not stream.is_known and not stream.framed:
                message = b"\x03" + varint(stream.stream_id) + varint(WINDOW) + varint(len(stream.target))
                message += stream.target
            while part := bytes(stream.sent[stream.framed : min(stream.limit, stream.framed + 16000)]):
                message += b"\x04" + varint(stream.stream_id) + varint(stream.framed) + varint(len(part)) + part
                stream.framed += len(part)
                self.channel.send(message)
                message = b""
            if stream.fin and not stream.fin_framed and stream.framed == len(stream.sent):
                message += b"\x07" + varint(stream.stream_id) + varint(stream.framed)
                stream.fin_framed = True
            if message:
                self.channel.send(message)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    # What its user calls.

    def open(self, target: str, data: bytes) -> Stream:
        """A stream that says `data`, and then FIN."""
        stream = Stream(2 * len(self.streams) + 1, target.encode(), bytearray(data), fin=True)
        stream.limit = self.initial_credit
        self.streams[stream.stream_id] = stream
        self.flush()
        return stream

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds."""
        async with self.changed:
            await self.changed.wait_for(condition)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def digest(sdp: str) -> bytes:
    (line,) = {line for line in sdp.splitlines() if line.startswith("a=fingerprint:sha-256 ")}
    return bytes.fromhex(line.partition(" ")[2].replace(":", ""))
