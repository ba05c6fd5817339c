"""What is fuzzed of the messages of a peer, of the rendezvous and of this network, once they are opened."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure import wire
from perdure.core.peer_offers import MAX_CANDIDATES_OF_CARRIER
from perdure.errors import ProtocolError
from perdure.signaling import frames as rendezvous_frames
from perdure.signaling import reliable_channel
from perdure.signaling.gateway_proof import is_proved
from perdure.signaling.in_band import InBandSignals
from perdure.signaling.messages import MAX_SDP_BYTES
from perdure.transport import mdns_message
from perdure.transport.candidate import base_address
from perdure.transport.description import read_description, without_candidates
from perdure.transport.reach import MAX_ENDPOINTS, Reach, protocol_of

RENDEZVOUS = X25519PrivateKey.from_private_bytes(bytes([5]) * 32)
"""The key of a rendezvous."""


def frames(data: bytes) -> None:
    """A message of the data channel. Each frame that is read can be written, and is read again as it was."""
    try:
        for frame in wire.decode_message(data):
            assert list(wire.decode_message(wire.encode_frame(frame))) == [frame]
    except ProtocolError:
        pass


def parameters(data: bytes) -> None:
    """What HELLO says of an end, behind a session's id and key."""
    hello = wire.Hello(bytes(wire.SESSION_ID_BYTES), bytes(wire.SESSION_KEY_BYTES), wire.OUR_PARAMETERS)
    ours = wire.encode_frame(hello)
    head = ours[: 1 + wire.SESSION_ID_BYTES + wire.SESSION_KEY_BYTES]
    assert ours.startswith(head)
    frames(head + data)


def signaling(data: bytes) -> None:
    """A sealed message that was opened."""
    try:
        body = reliable_channel.decode_body(data)
    except ProtocolError:
        return
    assert reliable_channel.decode_body(reliable_channel.encode_body(body)) == body


def in_band(data: bytes) -> None:
    """What a SIGNAL holds. What is read is written, and read again as it was."""
    try:
        message = InBandSignals(0.0).read(data, 0.0)
    except ProtocolError:
        return
    if message is not None and (body := InBandSignals(0.0).write(message, 0.0)) is not None:
        assert InBandSignals(0.0).read(body, 0.0) == message


def description(data: bytes) -> None:
    """A peer's session description. What the engine is given says the same to another reader, without candidates."""
    text = data[:MAX_SDP_BYTES].decode("utf-8", "surrogateescape")
    without_candidates(text)
    try:
        found = read_description(text)
    except ValueError as error:
        if not str(error).startswith(("the session description has ", "the peer takes messages of ")):
            raise
        return
    assert read_description(found.sdp) == replace(found, candidates=())


def candidates(data: bytes) -> None:
    """A peer's candidates, one a line, as many as a carrier takes."""
    lines = data.decode("utf-8", "replace").split("\n", MAX_CANDIDATES_OF_CARRIER)[:MAX_CANDIDATES_OF_CARRIER]
    reach = Reach(loopback=data[:1] == b"l", tcp=data[1:2] == b"t")
    taken = {tuple(line.split(" ")[4:6]) for line in lines if reach.refusal(line) is None}
    assert len(taken) <= MAX_ENDPOINTS
    for line in lines[:4]:
        protocol_of(line)
        base_address(line, lines)


def rendezvous(data: bytes) -> None:
    """A frame of a peer for the rendezvous, and of the rendezvous for a peer."""
    for decode in (rendezvous_frames.decode_client_frame, rendezvous_frames.decode_server_frame):
        try:
            frame = decode(data)
        except ProtocolError as error:
            assert len(str(error)) <= rendezvous_frames.MAX_REASON_CHARACTERS
            continue
        assert decode(rendezvous_frames.encode_frame(frame)) == frame
        if isinstance(frame, rendezvous_frames.Join):
            assert not is_proved(frame, RENDEZVOUS, bytes(16)), "nobody makes a proof by chance"


def names(data: bytes) -> None:
    """A message of mDNS, by anybody on this network."""
    for name, address in mdns_message.answers(data):
        assert name == name.lower()
        assert isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
