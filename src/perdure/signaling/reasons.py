"""Why a connection to the rendezvous failed, or why a gateway does not let a client in: a few words for a person."""

from __future__ import annotations

import errno
import re
import socket
import ssl

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, PayloadTooBig

from perdure.admission import Verdict
from perdure.errors import ProtocolError
from perdure.signaling.envelope import Refusal, RefusalReason
from perdure.ticket import instant_text
from perdure.wire import printable

_ERRNO_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ENETUNREACH: "network unreachable",
    errno.ENETDOWN: "network down",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ETIMEDOUT: "no answer",
    errno.EADDRNOTAVAIL: "no usable local address",
    errno.EMFILE: "too many open files",
}

REFUSAL_FOR = {
    Verdict.UNKNOWN: RefusalReason.UNKNOWN,
    Verdict.EXPIRED: RefusalReason.EXPIRED,
    Verdict.REVOKED: RefusalReason.REVOKED,
    Verdict.USED_UP: RefusalReason.USED_UP,
    Verdict.NOT_AUTHORIZED: RefusalReason.NOT_AUTHORIZED,
}
"""What the gateway says, by what its tickets judged."""

_NO_PONG = 1011
"""The code with which `websockets` gives a connection up whose pings are not answered."""

_REFUSALS = {
    RefusalReason.FULL: ("it has no room for another session", "trying again"),
    RefusalReason.UNKNOWN: ("the gateway does not know this ticket", "ask its owner for a new one"),
    RefusalReason.EXPIRED: ("the ticket has expired", "ask the gateway's owner for a new one"),
    RefusalReason.REVOKED: ("the ticket was revoked", "ask the gateway's owner for a new one"),
    RefusalReason.USED_UP: ("the ticket is used up", "ask the gateway's owner for a new one"),
    RefusalReason.NOT_AUTHORIZED: (
        "the gateway does not know this client's key",
        "send its owner what `perdure client-key` prints",
    ),
}
"""What a client is told, and its next step."""


def describe_failure(error: BaseException) -> str:
    """A few words for `error`; never an address or what was sent."""
    match error:
        case socket.gaierror():
            return "name not known"
        case ssl.SSLCertVerificationError():
            return f"certificate not trusted ({error.verify_message})"
        case ssl.SSLError():
            return "TLS failed"
        case InvalidStatus():
            return f"HTTP {error.response.status_code}"
        case InvalidHandshake() | ProtocolError() | EOFError():
            return "it does not answer as a perdure rendezvous"
        case ConnectionClosed():
            return _describe_close(error)
        case OSError():
            return _describe_os_error(error)
        case _:
            return f"{type(error).__name__}"


def is_silence(error: BaseException) -> bool:
    """Whether nothing came at all, and nobody said anything: the path may be dead."""
    if isinstance(error, ConnectionClosed):
        return error.sent is not None and error.sent.code == _NO_PONG
    return isinstance(error, TimeoutError)


def describe_refusal(refusal: Refusal, *, now: float) -> str:
    """A sentence for `refusal`, with what the gateway says about it, and the next step.

    Args:
        now: Unix seconds by this machine's clock, for an expired ticket: this clock may be wrong, or the gateway's.
    """
    (words, next_step), detail = _REFUSALS[refusal.reason], printable(refusal.detail)
    if refusal.reason is RefusalReason.FULL and detail:
        return detail
    if refusal.reason is RefusalReason.EXPIRED:
        detail = "; ".join(filter(None, [detail, f"this machine's clock says {instant_text(now)}"]))
    return f"{words} ({detail}); {next_step}" if detail else f"{words}; {next_step}"


def _describe_close(error: ConnectionClosed) -> str:
    if isinstance(error.__cause__, PayloadTooBig):
        return "it sent too long a frame"
    if is_silence(error):
        return "no answer to pings"
    if error.rcvd is None:
        return "connection lost"
    match error.rcvd.code:
        case 1001 | 1012:
            return "the rendezvous is shutting down"
        case 1009:
            return "the rendezvous found a frame too long"
        case code:
            return f"the rendezvous closed the connection ({code})"


def _describe_os_error(error: OSError) -> str:
    number = error.errno
    if number is None and (found := re.search(r"\[Errno (\d+)\]", str(error))):
        number = int(found[1])  # asyncio gathers the failures of several addresses in one text.
    if number is None:
        return "no answer" if isinstance(error, TimeoutError) else "connection failed"
    return _ERRNO_WORDS.get(number) or f"connection failed ({errno.errorcode.get(number, number)})"
