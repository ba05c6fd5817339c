"""What one end says of itself in HELLO, RESUME and CLOSE, as bytes and back. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.errors import ProtocolError
from perdure.wire.frames import (
    DEFAULT_PARAMETERS,
    MAX_ACK_DELAY_MS,
    MAX_PARAMETERS_BYTES,
    MIN_MESSAGE_BYTES,
    OUR_PARAMETERS,
    PROTOCOL_VERSION,
    ParameterId,
    Parameters,
)
from perdure.wire.integers import decode_integers, decode_varint, encode_integers, encode_varint, take

if TYPE_CHECKING:
    from collections.abc import Sequence


def encode_parameters(parameters: Parameters) -> bytes:
    """Their length, and then of each its id, its length and its value."""
    values = (
        (ParameterId.VERSIONS, encode_integers(parameters.lowest_version, parameters.highest_version)),
        (ParameterId.INITIAL_CREDIT, encode_varint(parameters.initial_credit_bytes)),
        (ParameterId.MAX_MESSAGE, encode_varint(parameters.max_message_bytes)),
        (ParameterId.MAX_ACK_DELAY, encode_varint(parameters.max_ack_delay_ms)),
        (ParameterId.CARRIERS, encode_varint(parameters.carriers)),
    )
    listed = b"".join([encode_integers(name, len(value)) + value for name, value in values])
    return encode_varint(len(listed)) + listed


_OUR_PARAMETERS = encode_parameters(OUR_PARAMETERS)


def decode_parameters(message: bytes, view: memoryview, at: int) -> tuple[Parameters, int]:
    if message.startswith(_OUR_PARAMETERS, at):  # as nearly always; one object for all sessions
        return OUR_PARAMETERS, at + len(_OUR_PARAMETERS)
    length, at = decode_varint(message, at)
    if length > MAX_PARAMETERS_BYTES:
        raise ProtocolError(f"parameters of {length} bytes, over {MAX_PARAMETERS_BYTES}")
    listed, end = take(view, at, length)
    values: dict[int, bytes] = {}
    data, at = bytes(listed), 0
    while at < len(data):
        (name, size), at = decode_integers(data, at, 2)
        value, at = take(memoryview(data), at, size)
        if name in values:
            raise ProtocolError(f"parameter {name} is said twice")
        values[name] = bytes(value)
    return _parameters(values), end


def _parameters(values: dict[int, bytes]) -> Parameters:
    def integers(name: ParameterId, *default: int) -> Sequence[int]:
        if name not in values:
            return default
        found, at = decode_integers(values[name], 0, len(default))
        if at != len(values[name]):
            raise ProtocolError(f"parameter {name.name} has {len(values[name])} bytes, {at} of them its value")
        return found

    default = DEFAULT_PARAMETERS
    lowest, highest = integers(ParameterId.VERSIONS, default.lowest_version, default.highest_version)
    if lowest > highest:
        raise ProtocolError(f"versions from {lowest} to {highest}")
    if not lowest <= PROTOCOL_VERSION <= highest:
        return Parameters(lowest, highest)  # what the rest means is not ours to judge
    (credit,) = integers(ParameterId.INITIAL_CREDIT, default.initial_credit_bytes)
    (message,) = integers(ParameterId.MAX_MESSAGE, default.max_message_bytes)
    (delay,) = integers(ParameterId.MAX_ACK_DELAY, default.max_ack_delay_ms)
    (carriers,) = integers(ParameterId.CARRIERS, default.carriers)
    if message < MIN_MESSAGE_BYTES:
        raise ProtocolError(f"the peer takes messages of {message} bytes; it must take {MIN_MESSAGE_BYTES}")
    if delay > MAX_ACK_DELAY_MS:
        raise ProtocolError(f"the peer acknowledges after {delay} ms; {MAX_ACK_DELAY_MS} are the most")
    if not carriers:
        raise ProtocolError("the peer says that it has no carrier at a time")
    return Parameters(lowest, highest, credit, message, delay, carriers)
