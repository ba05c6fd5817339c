"""perdure: WebRTC tunnels that outlive the network.

What is named here is public, and is loaded when it is first used: the engine is heavy, and `perdure --help` is not.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.config import IceServer, ResourceLimits, RestartPolicy, SessionLimits, TransportConfig
    from perdure.core.actions import StateChanged
    from perdure.core.decision import Decision, DecisionReason, Rung
    from perdure.core.decision import Trigger as NetworkChangeType
    from perdure.core.state import CLOSE_REASONS, Reason, State
    from perdure.delivery import SignalHandler
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
    from perdure.manager import Endpoint, OnStream, TunnelConnectionManager
    from perdure.netmon.monitor import NetworkMonitor, NetworkMoved
    from perdure.registry import Capacity, TubeRegistry, get_connection_manager
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
        TurnCredentialsRefreshed,
    )
    from perdure.transport.base import Transport
    from perdure.tube import ConnectionMetrics, StreamSink
    from perdure.wire import ResetCode

__version__ = "0.1.0"

_HOMES = {
    "perdure.config": ("IceServer", "ResourceLimits", "RestartPolicy", "SessionLimits", "TransportConfig"),
    "perdure.core.actions": ("StateChanged",),
    "perdure.core.decision": ("DecisionReason", "Decision", "Rung"),
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
    "perdure.delivery": ("SignalHandler",),
    "perdure.manager": ("Endpoint", "OnStream", "TunnelConnectionManager"),
    "perdure.netmon.monitor": ("NetworkMonitor", "NetworkMoved"),
    "perdure.registry": ("Capacity", "TubeRegistry", "get_connection_manager"),
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
        "TurnCredentialsRefreshed",
    ),
    "perdure.transport.base": ("Transport",),
    "perdure.tube": ("ConnectionMetrics", "StreamSink"),
    "perdure.wire": ("ResetCode",),
}
_HOME = {name: (home, name) for home, names in _HOMES.items() for name in names}
_HOME["NetworkChangeType"] = ("perdure.core.decision", "Trigger")

__all__ = [
    "CLOSE_REASONS",
    "Capacity",
    "CarrierError",
    "ChannelClosed",
    "ConnectionMetrics",
    "ConnectionStateChanged",
    "Decision",
    "DecisionReason",
    "Endpoint",
    "IceCandidate",
    "IceRestartOffer",
    "IceServer",
    "Keepalive",
    "ListenError",
    "NetworkChangeDetected",
    "NetworkChangeType",
    "NetworkMonitor",
    "NetworkMoved",
    "NotAuthorisedError",
    "OnStream",
    "PeerError",
    "PerdureError",
    "ProtocolError",
    "Reason",
    "RendezvousError",
    "ResetCode",
    "ResourceLimits",
    "RestartPolicy",
    "Rung",
    "SessionLimits",
    "SessionTimeoutWarning",
    "Signal",
    "SignalHandler",
    "SignalingChannel",
    "State",
    "StateChanged",
    "StreamSink",
    "TicketError",
    "Transport",
    "TransportConfig",
    "TubeRegistry",
    "TunnelConnectionManager",
    "TurnCredentialsRefreshed",
    "get_connection_manager",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, there = _HOME[name]
    return getattr(import_module(home), there)


logging.getLogger(__name__).addHandler(logging.NullHandler())
