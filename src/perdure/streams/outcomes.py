"""Why a stream was refused or ended, as the exceptions that a program expects of a connection."""

from __future__ import annotations

import errno
from typing import assert_never

from perdure.errors import NotAuthorisedError, PeerError
from perdure.wire import ResetCode

REASONS = {
    ResetCode.NOT_ALLOWED: "the gateway refuses it: it is not in its allow list",
    ResetCode.REFUSED: "the target refused the connection",
    ResetCode.TIMED_OUT: "the target did not answer in time",
    ResetCode.UNREACHABLE: "the gateway cannot reach or resolve it",
    ResetCode.LIMIT: "the gateway carries as many streams as it may",
    ResetCode.ABORTED: "the other end broke the connection off",
    ResetCode.SESSION_LOST: "the tube that carried it has ended",
}
"""A sentence for each code, for logs and errors."""


def refusal(code: ResetCode | None, target: str) -> Exception:
    """What opening a stream to `target` raises where the other end answered with `code`; `None`: it was closed here.

    `NotAuthorisedError`, `PeerError`, or the `OSError` that a direct connection to the target would have raised.
    """
    if code is None:
        return ConnectionAbortedError(errno.ECONNABORTED, f"{target}: the connection was closed here")
    text = f"{target}: {REASONS[code]}"
    match code:
        case ResetCode.NOT_ALLOWED:
            return NotAuthorisedError(text, target=target)
        case ResetCode.REFUSED | ResetCode.LIMIT:
            return ConnectionRefusedError(errno.ECONNREFUSED, text)
        case ResetCode.TIMED_OUT:
            return TimeoutError(errno.ETIMEDOUT, text)
        case ResetCode.UNREACHABLE:
            return OSError(errno.EHOSTUNREACH, text)
        case ResetCode.ABORTED:
            return ConnectionResetError(errno.ECONNRESET, text)
        case ResetCode.SESSION_LOST:
            return PeerError(text, reason=code.name)
        case _:
            assert_never(code)


def loss(code: ResetCode, target: str) -> ConnectionResetError:
    """What a connection that was there ends with."""
    return ConnectionResetError(errno.ECONNRESET, f"{target}: {REASONS[code]}")
