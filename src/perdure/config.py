"""What a user may set, each value frozen and checked once. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from perdure.wire import MAX_STREAMS

KIB = 1024
MIB = 1024 * KIB

SMALLEST_SHARE_BYTES = 64 * KIB
"""What a stream may always hold, so that others which nobody reads cannot stop it."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a lost carrier is built again."""

    max_restart_attempts: int = 3
    """Attempts in a row that may fail before the tube does."""
    restart_backoff_base: float = 5.0
    """Seconds after the first failed attempt; doubled after each further one."""
    restart_backoff_max: float = 60.0
    """Seconds: the longest wait between two attempts."""
    attempt_timeout: float = 10.0
    """Seconds from an offer to a resumed session. ICE with a relay at 300 ms RTT needs about 3 s; 10 s leaves room."""
    probe_after: float = 0.5
    """Seconds of silence, while an answer is due, before the path is probed."""
    lost_after: float = 1.5
    """Seconds of silence, while an answer is due, before the carrier counts as lost."""
    keepalive_interval: float = 300.0
    """Seconds without a byte before an idle path is pinged."""
    stall_timeout: float = 30.0
    """Seconds that a peer which still talks may leave sent bytes unacknowledged, before the session is ended."""

    abandon_after: float = 3600.0
    """Seconds without a carrier after which the peer is given up; as long as a session may be idle."""

    def __post_init__(self) -> None:
        _check("abandon_after", self.abandon_after, 1, 86400 * 30, "s")
        _check("max_restart_attempts", self.max_restart_attempts, 1, 1000)
        _check("restart_backoff_base", self.restart_backoff_base, 0.01, 3600, "s")
        _check("restart_backoff_max", self.restart_backoff_max, self.restart_backoff_base, 86400, "s")
        _check("attempt_timeout", self.attempt_timeout, 0.1, 600, "s")
        _check("probe_after", self.probe_after, 0.05, 600, "s")
        _check("lost_after", self.lost_after, self.probe_after, 3600, "s")
        _check("keepalive_interval", self.keepalive_interval, 1, 86400, "s")
        _check("stall_timeout", self.stall_timeout, self.lost_after, 86400, "s")


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """What one session may hold in memory."""

    max_streams: int = 1024
    stream_window_bytes: int = 2 * MIB
    """Credit granted to the peer, each stream: what may be under way or unread here. Many streams get less each."""
    stream_buffer_bytes: int = 2 * MIB
    """Unacknowledged and unsent bytes kept, each stream; a full buffer stops reading the TCP socket."""
    session_buffer_bytes: int = 64 * MIB
    """The same over all streams of a session; beyond it each stream still has `SMALLEST_SHARE_BYTES`. It also bounds
    the credit that many streams are granted together."""

    def __post_init__(self) -> None:
        _check("max_streams", self.max_streams, 1, MAX_STREAMS)
        _check("stream_window_bytes", self.stream_window_bytes, 64 * KIB, 1024 * MIB, "bytes")
        _check("stream_buffer_bytes", self.stream_buffer_bytes, 64 * KIB, 1024 * MIB, "bytes")
        _check("session_buffer_bytes", self.session_buffer_bytes, self.stream_buffer_bytes, 2**40, "bytes")


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server: `stun:HOST[:PORT]`, `turn:HOST[:PORT][?transport=udp|tcp]` or `turns:…`."""

    url: str
    username: str | None = None
    credential: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        scheme, _, rest = self.url.partition(":")
        if scheme not in {"stun", "stuns", "turn", "turns"} or not rest or rest.startswith("//"):
            raise ValueError(
                f"an ICE server looks like stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT, not {self.url!r}"
            )
        if scheme.startswith("turn") and (not self.username or not self.credential):
            raise ValueError(f"the TURN server {self.url!r} needs a user name and a password")


def parse_ice_server(text: str) -> IceServer:
    """`stun:HOST:PORT`, or `turn:USER:PASSWORD@HOST:PORT` (USER may hold colons, as coturn's REST names do).

    Raises:
        ValueError: it is neither. The message does not repeat the password.
    """
    scheme, _, rest = text.partition(":")
    login, at, host = rest.rpartition("@")
    if not at:
        return IceServer(text)
    username, colon, password = login.rpartition(":")
    if not colon:
        raise ValueError(
            f"the ICE server at {host!r} has a user name but no password: {scheme}:USER:PASSWORD@HOST:PORT"
        )
    return IceServer(f"{scheme}:{host}", username, password)


@dataclass(frozen=True, slots=True)
class TransportConfig:
    """How carriers are built."""

    ice_servers: tuple[IceServer, ...] = ()
    loopback: bool = False
    """Also gather 127.0.0.1 and ::1 as candidates, for both ends on one machine."""


def _check(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, outside {low} to {high} {unit}".rstrip())
