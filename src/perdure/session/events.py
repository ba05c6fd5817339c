"""What a session tells its driver."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.wire import CloseCode, ResetCode


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream to `target`; answer with `accept` or `reset`."""

    stream_id: int
    target: bytes


@dataclass(frozen=True, slots=True)
class StreamAccepted:
    """The peer accepted the stream that was opened here."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamData:
    """The next bytes of a stream. The view keeps its message alive; call `consume` when they have gone on."""

    stream_id: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class StreamFinished:
    """The peer will send no more on this stream (half-close); it still reads."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The stream ended both ways before its time; the session has forgotten it."""

    stream_id: int
    code: ResetCode


@dataclass(frozen=True, slots=True)
class StreamWritable:
    """A stream that had no room takes bytes again."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class SessionResumed:
    """Both ends proved that they own the session; streams flow on the carrier of `generation`."""

    generation: int
    resent_bytes: int
    """Bytes that were under way when the last carrier was lost, now sent again."""
    peer_carriers: int
    """How many carriers the peer has at a time."""


@dataclass(frozen=True, slots=True)
class PeerSwitched:
    """The peer goes on on the current carrier too: nothing more is read from the one before it, of `generation`."""

    generation: int


@dataclass(frozen=True, slots=True)
class SpareProved:
    """The peer is proved on the spare, and the session goes on there once its padding has gone."""

    generation: int


@dataclass(frozen=True, slots=True)
class StandbyProved:
    """Both ends are proved on the carrier that stands by."""

    generation: int


@dataclass(frozen=True, slots=True)
class StandbyAsked:
    """The peer asks on the carrier that stands by; `answer` is to be sent there, to all that it asks in a message."""

    generation: int
    answer: bytes


@dataclass(frozen=True, slots=True)
class StandbyAnswered:
    """The peer has answered there what was asked last."""

    generation: int


@dataclass(frozen=True, slots=True)
class RttMeasured:
    """The peer answered a PING, or acknowledged bytes that were sent once, after this long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CarrierUnusable:
    """The peer broke the protocol on this carrier; nothing more is read from it."""

    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The peer ended the session, or asked for one that this end cannot serve; every stream is gone."""

    code: CloseCode
    reason: str
    by_peer: bool
    """False: this end refused, and its last message still has to go out."""


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """The peer said something of signaling through the carrier of `generation`; nobody has read it yet."""

    generation: int
    body: bytes


StreamEvent = StreamOpened | StreamAccepted | StreamData | StreamFinished | StreamReset | StreamWritable
BesideEvent = SpareProved | StandbyProved | StandbyAsked | StandbyAnswered
CarrierEvent = SessionResumed | PeerSwitched | CarrierUnusable | SessionClosed
SessionEvent = StreamEvent | BesideEvent | CarrierEvent | RttMeasured | SignalReceived


def joined(events: list[SessionEvent]) -> list[SessionEvent]:
    """`events` with the bytes of one stream that follow each other as one: a peer may send them one by one."""
    found: list[SessionEvent] = []
    run: list[StreamData] = []
    for event in events:
        if run and not (isinstance(event, StreamData) and event.stream_id == run[0].stream_id):
            found.append(_one(run))
            run = []
        if isinstance(event, StreamData):
            run.append(event)
        else:
            found.append(event)
    if run:
        found.append(_one(run))
    return found


def _one(run: list[StreamData]) -> StreamData:
    if len(run) == 1:
        return run[0]
    return StreamData(run[0].stream_id, memoryview(b"".join([each.data for each in run])))
