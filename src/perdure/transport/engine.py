"""What the engine has once for a whole process: field trials, loopback candidates, and the list of local networks.

1. Field trials and loopback are fixed with the process's first connection.
2. The list belongs to the engine's factory, which reads it when it begins and then every 2 s. The factory goes by
   itself 1 to 5 ms after the last connection was closed and let go of (measured); the next connection begins another.
   There is no second one beside it, and nothing makes it look earlier.
3. A connection that has not opened yet gathers on what a later reading brings.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
import weakref
from typing import TYPE_CHECKING

import webrtc
import wrtc

from perdure.transport import data_channel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perdure.ice_server import IceServer
    from perdure.transport.data_channel import DataChannel

FIELD_TRIALS = {
    "WebRTC-Sctp-Snap": "Enabled",
    "WebRTC-IceHandshakeDtls": "Enabled",
}
"""Shorten a set-up: SCTP's first messages travel in the offer and the answer, and DTLS's in ICE's checks. At 50 ms RTT
a channel opened 129 ms after the offer instead of 275; at 5 % loss after 245 ms at worst instead of 1.5 s (measured).
An end that has them agrees with one that has not on the long way (60 runs of 60, whichever it was)."""

ONE_SOCKET = {"PythonWebRTC-ConnectedSockets": "Disabled"}
"""Has a candidate send by one socket alone, the one that is bound to its address. By default the engine's wrapper opens
another one beside it, half a second after a pair was selected, connects it to the peer, and tells nobody. That one
sends as the routes lead. It saves 8 % of the CPU of a bulk transfer (14.4 ms a MB instead of 15.7, measured)."""

REREAD_INTERVAL = 2.0
"""Seconds after which the engine has read its list anew by itself: then nothing needs to wait any more."""

PATIENCE = 0.05
"""Seconds without any progress after which new carriers go on with the engine's old list: many turns of the event
loop, in which the tubes that the change has hit close theirs, and ten times what the factory takes to go."""

COLLECT_AFTER = 0.01
"""Seconds after which garbage is collected, once: something else must hold an engine object in a cycle."""

_LOOK_INTERVAL = 0.001
"""Seconds between looks at the factory; the engine does not tell when it goes."""

_current: weakref.WeakSet[object] = weakref.WeakSet()
"""The process's carriers with a connection that was made since the last change of the networks."""

_outdated: weakref.WeakSet[object] = weakref.WeakSet()
"""Those that were made before, and keep the list of networks of that time alive."""

_loopback_allowed = False

_process = 0
"""Which has made a connection; 0: none has yet."""


def prepare(*, loopback: bool, one_socket: bool = False) -> None:
    """Set what is fixed with the first connection. Field trials that cannot be set any more are done without.

    Args:
        one_socket: whether a candidate sends by one socket alone.

    Raises:
        RuntimeError: loopback candidates are asked for after the process has made a connection without them; or the
            process was forked from one that has made a connection: the engine would wait for ever.
    """
    global _loopback_allowed
    if _process not in {0, os.getpid()}:
        raise RuntimeError(
            "this process was forked from one that has a tunnel, and WebRTC's threads stayed there: begin the child "
            'before the first tunnel, or with multiprocessing.set_start_method("spawn")'
        )
    if loopback and not _loopback_allowed:
        try:
            webrtc.allow_loopback()
        except webrtc.InvalidStateError as error:
            text = "loopback=True comes too late: this process has made a connection without it, and one choice holds"
            raise RuntimeError(f"{text} for all of a process") from error
        _loopback_allowed = True
    trials = FIELD_TRIALS | ONE_SOCKET if one_socket else FIELD_TRIALS
    wanted = {name: group for name, group in trials.items() if name not in webrtc.field_trials}
    if wanted:
        try:
            webrtc.field_trials.update(wanted)
        except webrtc.InvalidStateError:
            return


def configuration(servers: Sequence[IceServer], *, relay_only: bool) -> webrtc.RTCConfiguration:
    """What a connection gathers with."""
    policy = webrtc.RTCIceTransportPolicy.relay if relay_only else webrtc.RTCIceTransportPolicy.all
    return webrtc.RTCConfiguration(
        ice_transport_policy=policy,
        ice_servers=[
            webrtc.RTCIceServer(urls=[server.url], username=server.username, credential=server.credential)
            for server in servers
        ],
    )


def connect(owner: object, wanted: webrtc.RTCConfiguration) -> tuple[webrtc.RTCPeerConnection, DataChannel]:
    """A connection of `owner` with its channel, which is negotiated in advance."""
    global _process
    _process = os.getpid()
    connection, channel = data_channel.connect(wanted)
    _current.add(owner)
    return connection, channel


def let_go(owner: object, connection: webrtc.RTCPeerConnection, channel: DataChannel) -> None:
    """Close them, and leave nothing that keeps the factory alive."""
    channel.let_go()
    connection.off()
    connection.close()
    connection._chain = None  # the wrapper's only cycle: without it, nothing waits for a garbage collection
    _current.discard(owner)
    _outdated.discard(owner)


class Renewal:
    """Has new carriers wait for the list of networks of before a change to go."""

    def __init__(self) -> None:
        self._outdated_until = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether the engine may still have the list of before."""
        return time.monotonic() < self._outdated_until and wrtc._alive_factories() > 0

    def begin(self) -> None:
        """The networks have changed just now."""
        _outdated.update(_current)
        _current.clear()  # each tube asks for a renewal: what is outdated already is not looked at again
        self._outdated_until = time.monotonic() + REREAD_INTERVAL

    async def wait(self) -> None:
        """Until the list is gone, or will not go. Cancelling it disturbs nobody else's waiting."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._wait_until_gone())
        await asyncio.wait([self._task])

    async def _wait_until_gone(self) -> None:
        progress_at, left, has_collected = time.monotonic(), len(_outdated), False
        while self.is_under_way:
            if len(_outdated) < left:
                progress_at = time.monotonic()
            left = len(_outdated)
            idle_seconds = time.monotonic() - progress_at
            if idle_seconds >= PATIENCE:
                return
            if not left and not has_collected and idle_seconds >= COLLECT_AFTER:
                has_collected = True
                gc.collect()
            await asyncio.sleep(_LOOK_INTERVAL)
        self._outdated_until = 0.0
