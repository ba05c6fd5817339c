"""perdure: WebRTC tunnels that outlive the network.

    async with perdure.connect("@home.ticket") as tunnel:
        reader, writer = await tunnel.open_connection("127.0.0.1", 22)

`connect` and `serve` need a rendezvous between them. With signaling of your own: `TubeRegistry`.

`perdure.__all__` has the public names. Each is loaded when it is first used: the engine is heavy, and `perdure --help`
is not. So ask for help by name: `help(perdure.connect)`.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.capacity import Capacity
    from perdure.client import Tunnel, connect
    from perdure.config import ResourceLimits, RestartPolicy, SessionLimits, TransportConfig
    from perdure.core.actions import StateChanged
    from perdure.core.decision import Decision, DecisionReason, RecoveryAction
    from perdure.core.decision import Trigger as NetworkChangeType
    from perdure.core.state import CLOSE_REASONS, Reason, State
    from perdure.delivery import SignalHandler, SignalIterator
    from perdure.errors import (
        CarrierError,
        ListenError,
        NotAuthorisedError,
        PeerError,
        PerdureError,
        ProtocolError,
        RendezvousError,
        TicketError,
    )
    from perdure.gateway import Gateway, serve
    from perdure.ice_server import IceServer
    from perdure.manager import TunnelConnectionManager
    from perdure.netmon.monitor import NetworkMonitor, NetworkMoved
    from perdure.registry import TubeRegistry
    from perdure.roles import PATIENT_POLICY, UNLIMITED_SESSION
    from perdure.signaling.base import SignalingChannel
    from perdure.signals import (
        ChannelClosed,
        ConnectionStateChanged,
        IceCandidate,
        IceRestartOffer,
        Keepalive,
        NetworkChangeDetected,
        SessionTimeoutWarning,
        Signal,
        SignalsDropped,
        TurnCredentialsFailed,
        TurnCredentialsRefreshed,
        TurnServerFailed,
    )
    from perdure.streams.allow import AllowList, parse_allow
    from perdure.streams.handlers import StreamHandler
    from perdure.streams.streams import Incoming
    from perdure.streams.target import Target
    from perdure.streams.transport import StreamTransport
    from perdure.ticket import Ticket, parse_ticket
    from perdure.ticket_store import TicketStore
    from perdure.transport.base import Path, Transport
    from perdure.tube import ConnectionMetrics, Endpoint
    from perdure.turn import FixedIceServers, IceServerProvider, IceServersEndpoint, IssuedIceServers, SharedSecret
    from perdure.wire import ResetCode

__version__ = "0.2.0.dev0"

_HOMES = {
    "perdure.config": ("ResourceLimits", "RestartPolicy", "SessionLimits", "TransportConfig"),
    "perdure.ice_server": ("IceServer",),
    "perdure.core.actions": ("StateChanged",),
    "perdure.core.decision": ("DecisionReason", "Decision", "RecoveryAction"),
    "perdure.core.state": ("CLOSE_REASONS", "Reason", "State"),
    "perdure.errors": (
        "CarrierError",
        "ListenError",
        "NotAuthorisedError",
        "PeerError",
        "PerdureError",
        "ProtocolError",
        "RendezvousError",
        "TicketError",
    ),
    "perdure.delivery": ("SignalHandler", "SignalIterator"),
    "perdure.capacity": ("Capacity",),
    "perdure.client": ("Tunnel", "connect"),
    "perdure.gateway": ("Gateway", "serve"),
    "perdure.manager": ("TunnelConnectionManager",),
    "perdure.netmon.monitor": ("NetworkMonitor", "NetworkMoved"),
    "perdure.registry": ("TubeRegistry",),
    "perdure.roles": ("PATIENT_POLICY", "UNLIMITED_SESSION"),
    "perdure.signaling.base": ("SignalingChannel",),
    "perdure.signals": (
        "ChannelClosed",
        "ConnectionStateChanged",
        "IceCandidate",
        "IceRestartOffer",
        "Keepalive",
        "NetworkChangeDetected",
        "SessionTimeoutWarning",
        "Signal",
        "SignalsDropped",
        "TurnCredentialsFailed",
        "TurnCredentialsRefreshed",
        "TurnServerFailed",
    ),
    "perdure.streams.handlers": ("StreamHandler",),
    "perdure.streams.streams": ("Incoming",),
    "perdure.streams.allow": ("AllowList", "parse_allow"),
    "perdure.streams.target": ("Target",),
    "perdure.streams.transport": ("StreamTransport",),
    "perdure.ticket": ("Ticket", "parse_ticket"),
    "perdure.ticket_store": ("TicketStore",),
    "perdure.transport.base": ("Path", "Transport"),
    "perdure.tube": ("ConnectionMetrics", "Endpoint"),
    "perdure.turn": ("FixedIceServers", "IceServerProvider", "IceServersEndpoint", "IssuedIceServers", "SharedSecret"),
    "perdure.wire": ("ResetCode",),
}
_HOME = {name: (home, name) for home, names in _HOMES.items() for name in names}
_HOME["NetworkChangeType"] = ("perdure.core.decision", "Trigger")

__all__ = [
    "CLOSE_REASONS",
    "PATIENT_POLICY",
    "UNLIMITED_SESSION",
    "AllowList",
    "Capacity",
    "CarrierError",
    "ChannelClosed",
    "ConnectionMetrics",
    "ConnectionStateChanged",
    "Decision",
    "DecisionReason",
    "Endpoint",
    "FixedIceServers",
    "Gateway",
    "IceCandidate",
    "IceRestartOffer",
    "IceServer",
    "IceServerProvider",
    "IceServersEndpoint",
    "Incoming",
    "IssuedIceServers",
    "Keepalive",
    "ListenError",
    "NetworkChangeDetected",
    "NetworkChangeType",
    "NetworkMonitor",
    "NetworkMoved",
    "NotAuthorisedError",
    "Path",
    "PeerError",
    "PerdureError",
    "ProtocolError",
    "Reason",
    "RecoveryAction",
    "RendezvousError",
    "ResetCode",
    "ResourceLimits",
    "RestartPolicy",
    "SessionLimits",
    "SessionTimeoutWarning",
    "SharedSecret",
    "Signal",
    "SignalHandler",
    "SignalIterator",
    "SignalingChannel",
    "SignalsDropped",
    "State",
    "StateChanged",
    "StreamHandler",
    "StreamTransport",
    "Target",
    "Ticket",
    "TicketError",
    "TicketStore",
    "Transport",
    "TransportConfig",
    "TubeRegistry",
    "Tunnel",
    "TunnelConnectionManager",
    "TurnCredentialsFailed",
    "TurnCredentialsRefreshed",
    "TurnServerFailed",
    "connect",
    "parse_allow",
    "parse_ticket",
    "serve",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, there = _HOME[name]
    return getattr(import_module(home), there)


def __dir__() -> list[str]:
    return __all__


logging.getLogger(__name__).addHandler(logging.NullHandler())
