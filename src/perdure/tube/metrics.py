"""One tube's figures at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from perdure.tube.clock import clock

if TYPE_CHECKING:
    from perdure.core.activity import Activity
    from perdure.tube.driver import Driver
    from perdure.tube.publisher import EventPublisher


@dataclass(frozen=True, slots=True)
class ConnectionMetrics:
    """One tube's figures. Instants are aware datetimes (UTC), durations seconds, rates 0 … 1.

    Attributes:
        last_activity: when the user was last active; recovery's own traffic does not count.
        ice_restart_attempts, reconnection_attempts: ICE restarts, and carriers after a loss, that this end began.
        last_restart_time: when the last of either began; `None` before the first.
        packet_loss_rate: 0 … 1, the share of ICE's checks that had no answer lately.
        rtt: seconds, smoothed, the peer's delay of acknowledgements included; `None` before the first measurement.
        quality: 0 … 1, the path's score.
        bytes_sent, bytes_received: streams' bytes, each once.
        bytes_buffered: bytes held now, unacknowledged and unsent.
        streams: how many there are now.
        descriptions, candidates: the peer's SDP descriptions and ICE candidates in the first set-up.
        recovery_descriptions, recovery_candidates: the same, after it.
        connection_established_time: when the tube was first connected; `None` before.
        signals_dropped, signals_failed: signals that the handler never got, and those at which it raised.
    """

    last_activity: datetime
    ice_restart_attempts: int
    reconnection_attempts: int
    last_restart_time: datetime | None
    packet_loss_rate: float
    rtt: float | None
    quality: float
    bytes_sent: int
    bytes_received: int
    bytes_buffered: int
    streams: int
    descriptions: int
    recovery_descriptions: int
    candidates: int
    recovery_candidates: int
    connection_established_time: datetime | None
    signals_dropped: int
    signals_failed: int


def metrics(driver: Driver, publisher: EventPublisher, established_at: float | None) -> ConnectionMetrics:
    """`established_at`: on `clock`."""
    core, session = driver.core, driver.carriers.session
    activity: Activity = core.activity
    return ConnectionMetrics(
        last_activity=_datetime(max(activity.last_at, session.traffic.last_data_at or 0.0)),
        ice_restart_attempts=driver.ice_restarts,
        reconnection_attempts=driver.rebuilds,
        last_restart_time=None if driver.restarted_at is None else _datetime(driver.restarted_at),
        packet_loss_rate=core.loss_rate,
        rtt=core.liveness.rtt.srtt,
        quality=core.quality,
        bytes_sent=session.traffic.sent_bytes,
        bytes_received=session.traffic.received_bytes,
        bytes_buffered=session.streams.buffered_bytes,
        streams=len(session.streams),
        descriptions=activity.descriptions,
        recovery_descriptions=activity.recovery_descriptions,
        candidates=activity.candidates,
        recovery_candidates=activity.recovery_candidates,
        connection_established_time=None if established_at is None else _datetime(established_at),
        signals_dropped=publisher.dropped,
        signals_failed=publisher.failed,
    )


def _datetime(at: float) -> datetime:
    """An instant of `clock` on the wall."""
    return datetime.now(UTC) - timedelta(seconds=clock() - at)
