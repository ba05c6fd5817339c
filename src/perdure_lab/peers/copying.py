"""TCP copied through data channels as it comes: a channel a connection, no framing, nothing kept for a resume.

A receiver cannot slow a channel down, so a slow target makes the memory grow: for measurements with one that reads.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

import webrtc

HIGH_WATER_BYTES = 1 << 17
"""Stop reading at this much unsent. Both ends in one process: 50 to 75 MB/s up to here, 45 from 256 KiB on."""

LOW_WATER_BYTES = 1 << 16
"""Go on at this much: a message is still there while the event loop wakes up."""

MESSAGE_BYTES = 65536
"""The largest that every peer takes."""

LABEL = "tcp"
"""Of a channel that carries a connection."""


class Copy(asyncio.Protocol):
    """One TCP connection and one channel, copied both ways. The end of a direction is an empty text message."""

    def __init__(self, channel: webrtc.RTCDataChannel) -> None:
        self._channel = channel
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes | str] = []  # came before the TCP connection
        self._unsent: list[bytes | str] = []  # came before the channel
        self._open_directions = 2
        channel.buffered_amount_low_threshold = LOW_WATER_BYTES
        channel.on("open", lambda _: self._on_open())
        channel.on("bufferedamountlow", lambda _: self._resume_reading())
        channel.on("message", self._on_message)
        channel.on("close", self._on_close)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        for data in self._early:
            self._write(data)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        for start in range(0, len(data), MESSAGE_BYTES):
            self._send(data[start : start + MESSAGE_BYTES])
        if self._channel.ready_state != "open" or self._channel.buffered_amount >= HIGH_WATER_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._send("")
        self._end_direction()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel.close()

    def _on_open(self) -> None:
        for data in self._unsent:
            self._send(data)
        self._unsent.clear()
        self._resume_reading()

    def _send(self, data: bytes | str) -> None:
        """A channel that is closing or closed takes nothing: the other end was faster, and its event is under way."""
        match self._channel.ready_state:
            case "connecting":
                self._unsent.append(data)
            case "open":
                self._channel.send(data)

    def _on_message(self, event: webrtc.MessageEvent) -> None:
        assert isinstance(event.data, bytes | str)
        self._write(event.data)

    def _on_close(self, _: webrtc.Event) -> None:
        if self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes | str) -> None:
        if self._transport is None:
            self._early.append(data)
        elif isinstance(data, bytes):
            self._transport.write(data)
        else:
            with contextlib.suppress(OSError):  # the other side was faster
                self._transport.write_eof()
            self._end_direction()

    def _end_direction(self) -> None:
        self._open_directions -= 1
        if self._open_directions == 0 and self._transport is not None:
            self._transport.close()

    def _resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


class Dialer:
    """Dials `target` for each channel that carries a connection."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._dials: set[asyncio.Task[object]] = set()

    def channel(self, channel: webrtc.RTCDataChannel) -> None:
        if channel.label != LABEL:
            return
        copy = Copy(channel)  # now, not after the dial: the first message may come with the channel
        dial = asyncio.create_task(asyncio.get_running_loop().create_connection(lambda: copy, *self._target))
        self._dials.add(dial)
        dial.add_done_callback(self._dials.discard)
