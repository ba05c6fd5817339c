"""The session: many ordered byte streams over one carrier after another. Pure: time and key are arguments.

A driver owns a `Session` and a carrier. It feeds `receive` and pulls `next_message` while the carrier's buffer is
shallow; pulling, not a returned list, is what lets the carrier's backpressure decide when a stream's bytes are framed.
"""

from perdure.session.budget import ByteBudget
from perdure.session.events import (
    BesideEvent,
    CarrierUnusable,
    PeerSwitched,
    RttMeasured,
    SessionClosed,
    SessionEvent,
    SessionResumed,
    SignalReceived,
    SpareProved,
    StandbyAnswered,
    StandbyAsked,
    StandbyProved,
    StreamAccepted,
    StreamData,
    StreamEvent,
    StreamFinished,
    StreamOpened,
    StreamReset,
    StreamWritable,
)
from perdure.session.handshake import channel_binding
from perdure.session.session import Session
from perdure.session.spare_padding import PADDING_BUFFER_BYTES

__all__ = [
    "PADDING_BUFFER_BYTES",
    "BesideEvent",
    "ByteBudget",
    "CarrierUnusable",
    "PeerSwitched",
    "RttMeasured",
    "Session",
    "SessionClosed",
    "SessionEvent",
    "SessionResumed",
    "SignalReceived",
    "SpareProved",
    "StandbyAnswered",
    "StandbyAsked",
    "StandbyProved",
    "StreamAccepted",
    "StreamData",
    "StreamEvent",
    "StreamFinished",
    "StreamOpened",
    "StreamReset",
    "StreamWritable",
    "channel_binding",
]
