"""What `perdure status` asks a running command, and what that answers: JSON, a line each. Pure.

Instants are Unix seconds, durations seconds, sizes bytes. A field that a later version adds is ignored by an older one.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

MAX_QUESTION_BYTES = 4096
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""1,024 tunnels with 1,024 streams each would be more; a gateway tells of so many streams in all: `MAX_STREAMS`."""

MAX_STREAMS = 10_000
"""Of all tunnels together, that a status shows; `more_streams` says how many there are beyond."""


class PathStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """The path in use."""

    kind: str
    """`direct` or `relay`."""
    protocol: str
    local: str | None = None
    remote: str | None = None
    relay: str | None = None
    """The TURN server's URL, where this end's candidate is there."""


class StreamStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One connection that a tunnel carries."""

    id: int
    target: str
    opened_here: bool
    buffered_bytes: int = 0
    """Held for the other end: not sent, or sent and not acknowledged."""


class ChangeStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change of a tunnel's state."""

    at: float
    before: str
    after: str
    reason: str
    detail: str = ""


class DecisionStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What recovery decided."""

    at: float
    trigger: str | None
    action: str
    reason: str
    detail: str = ""


class TunnelStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One tunnel: a client's session, or one of a gateway's."""

    name: str
    state: str
    since: float
    """Since when it is in that state."""
    sent_bytes: int
    received_bytes: int
    buffered_bytes: int
    quality: float
    """0 … 1."""
    loss: float
    """0 … 1, the share of ICE's checks that had no answer lately."""
    rtt: float | None = None
    path: PathStatus | None = None
    ticket: str | None = None
    """At a gateway: the ticket's name, and the client's key."""
    key: str | None = None
    streams: tuple[StreamStatus, ...] = ()
    more_streams: int = 0
    changes: tuple[ChangeStatus, ...] = ()
    """The last ones, the oldest first."""
    decisions: tuple[DecisionStatus, ...] = ()
    """Likewise, "nothing" included."""


class ProcessStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One running command."""

    role: str
    """`client` or `gateway`."""
    pid: int
    version: str
    started_at: float
    now: float
    """When this was asked, by the clock of the process."""
    rendezvous: str
    """Its URL, without a login."""
    signaling: str
    """A sentence: whether the rendezvous is reached, and what is in the way."""
    forwards: tuple[str, ...] = ()
    """`localhost:5432 -> 10.0.0.5:5432`, as they were printed."""
    tunnels: tuple[TunnelStatus, ...] = ()


class AskStatus(msgspec.Struct, frozen=True, tag="status", tag_field="ask"):
    """Answered with a `ProcessStatus`."""


class AskReconnect(msgspec.Struct, frozen=True, tag="reconnect", tag_field="ask"):
    """Build new carriers now; answered with `Done`."""

    name: str | None = None
    """The tunnel; `None`: all."""


class AskClose(msgspec.Struct, frozen=True, tag="close", tag_field="ask"):
    """End a tunnel, or one of its streams; answered with `Done`."""

    name: str
    stream: int | None = None


Question: TypeAlias = AskStatus | AskReconnect | AskClose


class Done(msgspec.Struct, frozen=True, tag="done", tag_field="answer"):
    """What was done to how many."""

    count: int


class Refused(msgspec.Struct, frozen=True, tag="refused", tag_field="answer"):
    """Why nothing was done."""

    why: str


class Told(msgspec.Struct, frozen=True, tag="status", tag_field="answer"):
    """The answer to `AskStatus`."""

    status: ProcessStatus


Answer: TypeAlias = Done | Refused | Told

_questions = msgspec.json.Decoder(Question)
_answers = msgspec.json.Decoder(Answer)


def encode(message: Question | Answer) -> bytes:
    """One line."""
    return msgspec.json.encode(message) + b"\n"


def read_question(line: bytes) -> Question:
    """Raises `ValueError` with what is wrong."""
    return _questions.decode(line)


def read_answer(line: bytes) -> Answer:
    """Raises `ValueError` with what is wrong."""
    return _answers.decode(line)
