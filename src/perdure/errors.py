"""The errors that perdure raises when the world fails; misuse is `ValueError` or `RuntimeError`.

PerdureError
 ├── TicketError          a ticket, a key or the state folder cannot be used: malformed, expired, unreadable
 ├── RendezvousError      the rendezvous cannot be reached, or refuses us
 ├── PeerError            the other end cannot be reached, or ended the session
 ├── NotAuthorisedError   the other end understood and said no
 ├── ListenError          a local address cannot be listened on
 ├── ProtocolError        what came from outside does not follow the protocol
 └── CarrierError         the WebRTC engine refused or failed

A RendezvousError and a PeerError are ConnectionErrors, too, a NotAuthorisedError is a PermissionError, a ListenError an
OSError: a program that opens or takes connections through a tunnel catches OSError, as without one.
"""

from __future__ import annotations

from perdure.urls import without_login, without_logins


class PerdureError(Exception):
    """The root of what perdure raises. `str()` of it says what happened, to what, and what to do. It holds no URL's
    user name and password."""

    def __init__(self, message: str) -> None:
        super().__init__(without_logins(message))

    def __reduce__(self) -> tuple[object, ...]:
        """For pickle and copy: a worker process' errors reach whoever waits for it."""
        return _restored, (type(self), self.args, dict(self.__dict__))


def _restored(kind: type[PerdureError], args: tuple[object, ...], fields: dict[str, object]) -> PerdureError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class TicketError(PerdureError):
    """A ticket cannot be used, or what holds tickets and keys: a file, the state folder."""

    def __init__(self, message: str, *, expired: bool = False) -> None:
        super().__init__(message)
        self.expired = expired


class RendezvousError(PerdureError, ConnectionError):
    """The rendezvous at `url` (without a login) cannot be reached, or refuses us for good."""

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = without_login(url)


class PeerError(PerdureError, ConnectionError):
    """The other end cannot be reached, or ended the session for `reason`."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotAuthorisedError(PerdureError, PermissionError):
    """The other end refuses `target`, or this ticket."""

    def __init__(self, message: str, *, target: str) -> None:
        super().__init__(message)
        self.target = target


class ListenError(PerdureError, OSError):
    """The local `address` cannot be listened on."""

    def __init__(self, message: str, *, address: str) -> None:
        super().__init__(message)
        self.address = address


class ProtocolError(PerdureError):
    """Bytes from outside do not follow the protocol; nothing of them was applied beyond the frame before."""


class CarrierError(PerdureError):
    """The engine refused or failed an operation on the carrier of `generation`."""

    def __init__(self, message: str, *, generation: int) -> None:
        super().__init__(message)
        self.generation = generation
