"""TURN: where credentials come from and when to ask for new ones, which servers the engine is given, and what their
failures mean."""

from perdure.turn.endpoint import IceServersEndpoint
from perdure.turn.provider import FixedIceServers, IceServerProvider, IssuedIceServers
from perdure.turn.shared_secret import SharedSecret

__all__ = ["FixedIceServers", "IceServerProvider", "IceServersEndpoint", "IssuedIceServers", "SharedSecret"]
