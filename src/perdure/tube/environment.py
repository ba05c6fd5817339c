"""What a tube is made with: what it shares with the other tubes of its registry, and how it reaches its peer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextvars import Context
    from random import Random

    from perdure.config import ResourceLimits, RestartPolicy, SessionLimits
    from perdure.session import ByteBudget
    from perdure.signaling.base import SignalingChannel
    from perdure.transport.base import Transport


@dataclass(slots=True)
class Environment:
    """What the tubes of one registry share.

    Attributes:
        limits: may be replaced; tubes that exist are told by `Session.set_limits`.
        random: for jitter.
        context: in which timers call back: the registry's own, not that of whoever used a tube last.
    """

    transport: Transport
    policy: RestartPolicy
    session_limits: SessionLimits
    limits: ResourceLimits
    budget: ByteBudget
    random: Random
    context: Context


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a session, and the signaling by which it reaches the other end.

    Attributes:
        session_id: 16 random bytes, the same at both ends; empty where the acceptor learns it from the first offer.
        key: 32 random bytes where this end begins the session; `None` at the end that accepts it.
    """

    session_id: bytes
    key: bytes | None
    channel: SignalingChannel

    @property
    def is_initiator(self) -> bool:
        """Whether this end begins the session: it makes the first offer, and goes on where offers cross."""
        return self.key is not None

    @property
    def tube_id(self) -> str:
        """The name that the tube has in both ends' logs: 48 bits tell a gateway's few hundred clients apart."""
        return self.session_id.hex()[:12]
