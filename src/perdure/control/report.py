"""A registry's tubes as `perdure status` shows them, and what is remembered for that: each tube's last changes."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from perdure.control.messages import (
    MAX_STREAMS,
    ChangeStatus,
    DecisionStatus,
    PathStatus,
    StreamStatus,
    TunnelStatus,
)
from perdure.tube.clock import clock

if TYPE_CHECKING:
    from perdure.core.actions import StateChanged
    from perdure.manager import TunnelConnectionManager
    from perdure.registry import TubeRegistry
    from perdure.transport.base import Path

KEPT_CHANGES = 8
KEPT_DECISIONS = 8
"""The last ones of each tunnel."""


class Report:
    """What is known of the tubes that are created from now on."""

    def __init__(self, tubes: TubeRegistry) -> None:
        self._tubes = tubes
        self._changes: dict[str, deque[ChangeStatus]] = {}
        self._created_at: dict[str, float] = {}
        self.close = tubes.add_tube_callback(self._created)
        """Learn no more."""

    def tunnels(self) -> tuple[TunnelStatus, ...]:
        """All that there are now."""
        managers = list(self._tubes)
        for gone in self._created_at.keys() - {manager.tube_id for manager in managers}:
            del self._created_at[gone], self._changes[gone]
        left = MAX_STREAMS
        told = []
        for manager in managers:
            tunnel = self._tunnel(manager, left)
            left -= len(tunnel.streams)
            told.append(tunnel)
        return tuple(told)

    def _created(self, manager: TunnelConnectionManager) -> None:
        changes: deque[ChangeStatus] = deque(maxlen=KEPT_CHANGES)
        self._changes[manager.tube_id] = changes
        self._created_at[manager.tube_id] = time.time()

        def changed(change: StateChanged) -> None:
            before, after = change.before.value, change.after.value
            changes.append(ChangeStatus(time.time(), before, after, change.reason.value, change.detail))

        manager.add_state_change_callback(changed)

    def _tunnel(self, manager: TunnelConnectionManager, most_streams: int) -> TunnelStatus:
        tube_id, metrics, changes = manager.tube_id, manager.metrics, tuple(self._changes.get(manager.tube_id, ()))
        holder = manager.tube.streams.holder
        streams = list(manager.tube.streams)
        wall = time.time() - clock()
        return TunnelStatus(
            name=tube_id,
            state=manager.state.value,
            since=changes[-1].at if changes else self._created_at.get(tube_id, time.time()),
            sent_bytes=metrics.bytes_sent,
            received_bytes=metrics.bytes_received,
            buffered_bytes=metrics.bytes_buffered,
            quality=round(metrics.quality, 3),
            loss=round(metrics.packet_loss_rate, 3),
            rtt=metrics.rtt,
            path=_path(manager.path),
            ticket=None if holder is None else holder.ticket,
            key=None if holder is None else holder.short_key,
            streams=tuple(
                StreamStatus(stream.stream_id, str(stream.target), stream.is_ours, stream.get_write_buffer_size())
                for stream in streams[:most_streams]
            ),
            more_streams=max(len(streams) - most_streams, 0),
            changes=changes,
            decisions=tuple(
                DecisionStatus(
                    round(wall + decision.at, 3),
                    None if decision.trigger is None else decision.trigger.value,
                    decision.action.value,
                    decision.reason.value,
                    decision.detail,
                )
                for decision in manager.decisions[-KEPT_DECISIONS:]
            ),
        )


def _path(path: Path | None) -> PathStatus | None:
    if path is None:
        return None
    kind = "relay" if path.is_relayed else "direct"
    return PathStatus(kind, path.protocol, path.local_address, path.remote_address, path.relay_url)
