"""What is fuzzed, by name, and what an input of it may cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fuzz import handshakes, messages, texts

CORPUS = Path(__file__).parent / "corpus"

MAX_INPUT_BYTES = 64 * 1024
"""The longest message of a peer, and the longest file that is read."""

PEER_MILLISECONDS = 20.0
"""What an input of a peer may cost: a turn of the event loop holds up all tubes of the process."""

FILE_MILLISECONDS = 1000.0
"""What a user's own TOML file may cost, which is read once, by Python's own TOML reader."""


@dataclass(frozen=True, slots=True)
class Harness:
    """`run` raises nothing, whatever it is given: what its reader promises to raise, it takes."""

    run: Callable[[bytes], None]
    max_milliseconds: float = PEER_MILLISECONDS


HARNESSES: Mapping[str, Harness] = MappingProxyType(
    {
        "frames": Harness(messages.frames),
        "parameters": Harness(messages.parameters),
        "signaling": Harness(messages.signaling),
        "in-band": Harness(messages.in_band),
        "rendezvous": Harness(messages.rendezvous),
        "description": Harness(messages.description),
        "candidates": Harness(messages.candidates),
        "names": Harness(messages.names),
        "envelopes": Harness(handshakes.envelopes),
        "knocks": Harness(handshakes.knocks),
        "answers": Harness(handshakes.answers),
        "tickets": Harness(texts.tickets),
        "records": Harness(texts.records),
        "keys": Harness(texts.keys),
        "ice-servers": Harness(texts.ice_servers),
        "application": Harness(texts.application_texts),
        "settings": Harness(texts.settings, FILE_MILLISECONDS),
        "scenarios": Harness(texts.scenarios, FILE_MILLISECONDS),
    }
)


def kept(name: str) -> list[bytes]:
    """The inputs that a harness begins with."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
