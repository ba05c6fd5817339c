"""What both roles, client and gateway, begin with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import NoneType

from perdure.config import RestartPolicy, SessionLimits, TransportConfig
from perdure.ice_server import IceServer, read_ice_servers
from perdure.ticket_store import TicketStore
from perdure.tube.arguments import check_timeout, check_type

PATIENT_POLICY = RestartPolicy(max_restart_attempts=1000)
"""It is time that ends a tunnel's patience (`abandon_after`), not a count: a network that blocks UDP for a few minutes
must not cost anybody a connection. 1000 attempts last longer than 16 hours. `connect` and `serve` have this policy;
`dataclasses.replace(PATIENT_POLICY, warm_spare="off")` changes one value. A new `RestartPolicy(…)` gives up after 3
attempts, about 45 s."""

UNLIMITED_SESSION = SessionLimits(session_timeout=0.0)
"""A connection through a tunnel may be idle as long as plain TCP lets it. `connect` and `serve` have these limits, to
be changed likewise; new `SessionLimits(…)` end a tunnel that nobody uses for an hour."""


def check_role(wait: object, timeout: object, retry: object, policy: object, session_limits: object) -> None:
    """What both roles are told of their patience.

    Raises:
        TypeError: one is of another type. `None` is neither the role's own policy nor the registry's impatient one.
        ValueError: `timeout` is out of its range.
    """
    check_type("wait", wait, bool, "True or False")
    check_timeout(timeout)
    check_type("retry", retry, bool, "True or False")
    check_type("policy", policy, RestartPolicy, "a RestartPolicy; leave it out for perdure.PATIENT_POLICY")
    check_type(
        "session_limits", session_limits, SessionLimits, "SessionLimits; leave them out for perdure.UNLIMITED_SESSION"
    )


def transport_config(
    ice_servers: Iterable[IceServer | str],
    *,
    loopback: bool,
    relay_only: bool,
    turn_ca: str | None,
) -> TransportConfig:
    """Of ICE servers as a program or a command line names them.

    Raises:
        TypeError, ValueError: one is no ICE server. The message does not repeat a password.
    """
    servers = read_ice_servers(ice_servers)
    return TransportConfig(servers, loopback=loopback, relay_only=relay_only, turn_ca=turn_ca)


def store_of(tickets: TicketStore | Path | str | None) -> TicketStore:
    """A store, or the one in a state folder; `None`: a new one in memory."""
    check_type("tickets", tickets, (TicketStore, Path, str, NoneType), "a TicketStore, or the path of a state folder")
    if isinstance(tickets, TicketStore):
        return tickets
    return TicketStore(None if tickets is None else Path(tickets))
