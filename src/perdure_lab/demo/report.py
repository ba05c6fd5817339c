"""What the demo says of itself, from the process that plays it to the one that shows it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

CONNECTIONS = 4


@dataclass
class FaultResult:
    name: str
    at: float
    """Seconds since the traffic began."""
    silence: float | None = None
    """Seconds without a byte in the direction that waited longest; `None` while it is measured, or was when the demo
    was ended."""
    recovered: bool = False


@dataclass
class Report:
    """What the demo did and saw."""

    network: str = ""
    """"private": a network of its own, as the lab makes it; or "loopback"."""
    seconds: float = 0.0
    faults: list[FaultResult] = field(default_factory=list)
    connections: int = CONNECTIONS
    connections_kept: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    bytes_lost_or_wrong: int = 0
    skipped: list[str] = field(default_factory=list)

    @property
    def silences(self) -> list[float]:
        return [fault.silence for fault in self.faults if fault.silence is not None]

    @property
    def recovery_median(self) -> float | None:
        return statistics.median(self.silences) if self.silences else None

    @property
    def recovery_max(self) -> float | None:
        return max(self.silences, default=None)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, every connection is still there, and bytes came again after every fault."""
        return (
            self.bytes_lost_or_wrong == 0
            and self.connections_kept == self.connections
            and self.bytes_sent > 0
            and all(fault.recovered or fault.silence is None for fault in self.faults)
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """What the demo is doing."""

    phase: str
    state: str = "starting"
    """The client's tube."""
    elapsed: float = 0.0
    rate: float | None = None
    """Bytes delivered a second, in all, since the last moment that had one."""
    outage: float = 0.0
    """Seconds that the longest silent direction has been silent."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the process that plays the demo is asked for."""

    seconds: float
    is_private: bool
    """In a network of its own."""


@dataclass(frozen=True, slots=True)
class Told:
    """Exactly one field is set."""

    moment: Moment | None = None
    fault: FaultResult | None = None
    """One that begins, or the last one, when it is over."""
    report: Report | None = None
    """The last word."""
    refusal: str | None = None
    """The last word: the network could not be built."""
    problem: str | None = None
    """The last word: something else could not be had."""
