"""What the process' exit code says."""

from __future__ import annotations

from enum import IntEnum

from perdure.errors import ListenError, NotAuthorisedError, PeerError, PerdureError, RendezvousError, TicketError


class ExitCode(IntEnum):
    DONE = 0
    FAILED = 1
    """A bug; or something was lost in the demo or the lab, or the lab cannot run here; or a conformance case
    failed."""
    USAGE = 2
    RENDEZVOUS_UNREACHABLE = 3
    PEER_UNREACHABLE = 4
    NOT_AUTHORISED = 5
    PORT_IN_USE = 6
    INTERRUPTED = 130
    """The demo, the lab, a simulation or a run of cases was ended before its time, as by Ctrl-C: 128 + SIGINT, as
    shells say it."""


def exit_code_of(error: PerdureError) -> ExitCode:
    """The code that docs/commands.md promises for `error`."""
    match error:
        case TicketError(expired=True) | NotAuthorisedError():
            return ExitCode.NOT_AUTHORISED
        case TicketError():
            return ExitCode.USAGE
        case RendezvousError():
            return ExitCode.RENDEZVOUS_UNREACHABLE
        case PeerError():
            return ExitCode.PEER_UNREACHABLE
        case ListenError():
            return ExitCode.PORT_IN_USE
        case _:
            return ExitCode.FAILED
