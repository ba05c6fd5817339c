"""docs/vectors.json, which other implementations of the wire are tried against. This file, as a program, writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import ProtocolError
from perdure.session import channel_binding
from perdure.session.handshake import ownership_proof
from perdure.wire import (
    MAX_INTEGER,
    Accept,
    Ack,
    Close,
    CloseCode,
    Data,
    Fin,
    Frame,
    Gone,
    Hello,
    Open,
    Padding,
    Parameters,
    Ping,
    Pong,
    Reset,
    ResetCode,
    Resume,
    Signal,
    StreamPosition,
    Window,
    decode_message,
    decode_varint,
    encode_frame,
    encode_varint,
)
from support.signaling_vectors import signaling_vectors

FILE = Path(__file__).parent.parent / "docs" / "vectors.json"

SESSION_ID = bytes(range(16))
KEY = bytes(range(100, 132))
ONE, OTHER = bytes(range(32)), bytes(range(255, 223, -1))
PROOF = bytes(range(50, 82))
PARAMETERS = Parameters(2, 3, 1000, 16384, 100, 2)
POSITIONS = (StreamPosition(1, 5, 65_536, False), StreamPosition(2, 70_000, 2_097_152, True))

INTEGERS = [0, 37, 63, 64, 15_293, 16_383, 16_384, 494_878_333, 2**30 - 1, 2**30, MAX_INTEGER]

FRAMES: list[Frame] = [
    Hello(SESSION_ID, KEY),
    Hello(SESSION_ID, KEY, PARAMETERS),
    Resume(SESSION_ID, 3, PROOF, ()),
    Resume(
        SESSION_ID,
        70_000,
        PROOF,
        (StreamPosition(1, 5, 65_536, False), StreamPosition(2, 70_000, 2_097_152, True)),
        PARAMETERS,
    ),
    Open(1, 2_097_152, b"db.example:5432"),
    Accept(1, 2_097_152),
    Data(1, 0, memoryview(b"hello")),
    Data(300, 70_000, memoryview(b"")),
    Ack(1, 6),
    Window(1, 4_194_304),
    Fin(1, 5),
    Reset(1, ResetCode.REFUSED),
    Gone(1),
    Ping(7),
    Pong(7),
    Close(CloseCode.DONE, "bye"),
    Close(CloseCode.VERSION, "", PARAMETERS),
    Signal(b'{"type":"withdraw","generation":5}'),
    Padding(3),
]


def described(frame: Frame) -> dict[str, Any]:
    """Its type and its fields, bytes in hexadecimal."""
    fields = {name: plain(getattr(frame, name)) for name in frame.__dataclass_fields__}
    return {"frame": type(frame).__name__.upper(), **fields, "bytes": encode_frame(frame).hex()}


def plain(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, Parameters | StreamPosition):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return [plain(each) for each in value] if isinstance(value, tuple) else value


def vectors() -> dict[str, Any]:
    binding = channel_binding(ONE, OTHER)
    return {
        "version": 2,
        "integers": [{"value": value, "bytes": encode_varint(value).hex()} for value in INTEGERS],
        "integers refused": [(2**53 | 0xC0 << 56).to_bytes(8, "big").hex(), "ffffffffffffffff", "40", "c0000000000000"],
        "frames": [described(frame) for frame in FRAMES],
        "skipped": ["4200", "7f03aabbcc", "ff00"],
        "refused": ["", "00", "3f", "4003aabb", "0401000548656c6c", "0901" * 513],
        "binding": {"certificates": [OTHER.hex(), ONE.hex()], "bytes": binding.hex()},
        "proofs": [
            {
                "key": KEY.hex(),
                "session_id": SESSION_ID.hex(),
                "generation": generation,
                "binding": binding.hex(),
                "by": "initiator" if by_initiator else "acceptor",
                "bytes": ownership_proof(KEY, SESSION_ID, generation, binding, by_initiator=by_initiator).hex(),
            }
            for generation, by_initiator in ((1, True), (1, False), (70_000, True))
        ],
        **signaling_vectors(),
    }


def test_the_vectors_are_what_this_code_says() -> None:
    assert json.loads(FILE.read_text()) == json.loads(json.dumps(vectors())), (
        "python3 tests/test_vectors.py writes them"
    )


def test_what_the_vectors_say_is_what_this_code_reads() -> None:
    told = json.loads(FILE.read_text())
    for integer in told["integers"]:
        assert decode_varint(bytes.fromhex(integer["bytes"]), 0) == (integer["value"], len(integer["bytes"]) // 2)
    assert [frame for each in told["frames"] for frame in decode_message(bytes.fromhex(each["bytes"]))] == FRAMES
    for text in [*told["refused"], *(f"09{integer}" for integer in told["integers refused"])]:
        with pytest.raises(ProtocolError):
            list(decode_message(bytes.fromhex(text)))
    for text in told["skipped"]:
        assert [type(frame).__name__ for frame in decode_message(bytes.fromhex(text))] == ["Unknown"]


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1) + "\n")
