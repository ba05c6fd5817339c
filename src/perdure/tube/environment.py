"""What a tube is made with: what it shares with the other tubes of its registry, and how it reaches its peer."""

from __future__ import annotations

from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from random import SystemRandom
from typing import TYPE_CHECKING

from perdure.config import ResourceLimits, RestartPolicy, SessionLimits, TransportConfig
from perdure.core.relay_troubles import RelayTroubles
from perdure.session import ByteBudget
from perdure.tube.arguments import check_methods, check_type
from perdure.tube.standby_places import StandbyPlaces

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from perdure.admission import Holder
    from perdure.signaling.base import SignalingChannel
    from perdure.transport.base import Transport


@dataclass(slots=True)
class Environment:
    """What the tubes of one registry share.

    Attributes:
        limits: may be replaced; tubes that exist are told by `StreamTable.limits`.
        random: for jitter.
        context: in which timers call back: the registry's own, not that of whoever used a tube last.
        relay_troubles: what is wrong with TURN servers now.
    """

    transport: Transport
    policy: RestartPolicy
    session_limits: SessionLimits
    limits: ResourceLimits
    budget: ByteBudget
    random: Random
    context: Context
    standby_places: StandbyPlaces
    relay_troubles: Callable[[], RelayTroubles] = RelayTroubles


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a session, and the signaling by which it reaches the other end.

    Attributes:
        session_id: 16 random bytes, the same at both ends; empty where the acceptor learns it from the first offer.
        holder: at a gateway, who is at the other end.
        key: 32 random bytes where this end begins the session; `None` at the end that accepts it.
    """

    session_id: bytes
    key: bytes | None
    channel: SignalingChannel
    holder: Holder | None = None

    @property
    def is_initiator(self) -> bool:
        """Whether this end begins the session: it makes the first offer, and goes on where offers cross."""
        return self.key is not None

    @property
    def tube_id(self) -> str:
        """The name that the tube has in both ends' logs: 48 bits tell a gateway's few hundred clients apart."""
        return self.session_id.hex()[:12]


def environment(
    transport: TransportConfig | Transport | None,
    policy: RestartPolicy | None,
    session_limits: SessionLimits | None,
    limits: ResourceLimits | None,
    random: Random | None,
) -> Environment:
    """What the tubes of a registry share, where `None` is the default.

    Raises:
        TypeError: an argument is of another type.
    """
    for name, value, kind in (
        ("policy", policy, RestartPolicy),
        ("session_limits", session_limits, SessionLimits),
        ("limits", limits, ResourceLimits),
    ):
        if value is not None:
            check_type(name, value, kind, f"of {kind.__name__}")
    limits = limits or ResourceLimits()
    policy = policy or RestartPolicy()
    if isinstance(transport, TransportConfig) and transport.relay_only:
        policy = replace(policy, direct_retry_interval=0.0)  # no path can do without
    return Environment(
        transport=_transport(transport),
        policy=policy,
        session_limits=session_limits or SessionLimits(),
        limits=limits,
        budget=ByteBudget(limits.total_buffer_bytes),
        random=random or SystemRandom(),
        context=copy_context(),
        standby_places=StandbyPlaces(),
    )


def _transport(wanted: TransportConfig | Transport | None) -> Transport:
    if wanted is not None and not isinstance(wanted, TransportConfig):
        methods = ("offer", "answer", "set_ice_servers", "renew")
        check_methods("transport is a TransportConfig, or", wanted, methods)
        return wanted
    from perdure.transport.rtc import RtcTransport  # the engine is loaded where it is needed

    return RtcTransport(wanted or TransportConfig())
