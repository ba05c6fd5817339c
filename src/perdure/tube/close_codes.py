"""Why a tube ends, in the core's words and in those of CLOSE."""

from __future__ import annotations

from perdure.core.state import Reason
from perdure.wire import CloseCode

CLOSE_CODES = {
    Reason.SESSION_TIMEOUT: CloseCode.TIMED_OUT,
    Reason.SESSION_LIMIT: CloseCode.TIMED_OUT,
    Reason.SHUT_DOWN: CloseCode.SHUT_DOWN,
}
"""What this end says; for any other reason DONE."""

CLOSE_REASONS = {
    CloseCode.DONE: Reason.CLOSED_BY_PEER,
    CloseCode.TIMED_OUT: Reason.CLOSED_BY_PEER,
    CloseCode.SHUT_DOWN: Reason.CLOSED_BY_PEER,
    CloseCode.UNKNOWN_SESSION: Reason.UNKNOWN_SESSION,
    CloseCode.PROTOCOL: Reason.PROTOCOL,
    CloseCode.VERSION: Reason.PROTOCOL,
}
"""What the peer has said."""
