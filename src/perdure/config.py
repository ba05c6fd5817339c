"""What a user may set: each value frozen, checked once, and described where it stands. Pure.

`docs/timers.md` and `perdure config show` are made from these descriptions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from perdure.fields import KIB, MIB, ClashError, check_fields, number, show_number
from perdure.ice_server import IceServer, parse_ice_server, read_ice_servers
from perdure.wire import MAX_STREAMS

SMALLEST_SHARE_BYTES = 64 * KIB
"""What a stream may always hold, so that others which nobody reads cannot stop it."""

TURN_TTL = 3600.0
"""Seconds that made TURN credentials last: short enough that a leaked password is soon worthless, and long enough that
an hour without the provider costs a living tunnel nothing."""

MAX_VALUES = 32
"""In one field, such as the stages of a warning: more would be a mistake, and each is a timer."""

_MONTH = 86400.0 * 30


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When and how a path is recovered."""

    max_restart_attempts: Annotated[
        int,
        number("", 1, 1000),
        "Attempts in a row that may fail before the tube does; a new network event starts over.",
    ] = 3
    restart_backoff_base: Annotated[
        float, number("s", 0.01, 3600), "The wait after the first failed attempt; doubled after each further one."
    ] = 5.0
    restart_backoff_max: Annotated[float, number("s", 0.01, 86400), "The longest wait between two attempts."] = 60.0
    attempt_timeout: Annotated[
        float,
        number("s", 0.1, 600),
        "From an offer to a resumed session. ICE with a relay at 300 ms RTT needs about 3 s; 10 s leaves room.",
    ] = 10.0
    ice_restart_timeout: Annotated[
        float,
        number("s", 0.1, 600),
        (
            "From a restart's offer to data on the path; then the carrier is built anew. A restart takes two round "
            "trips of signaling and the first checks: below 1 s even through a relay."
        ),
    ] = 3.0
    handover_grace: Annotated[
        float,
        number("s", 0, 60),
        (
            "After a recovery that a network event began, further events wait this long for its result: the first "
            "checks on a new path may fail on stale mappings, and one change must not burn the backoff."
        ),
    ] = 1.0
    max_restarts_per_minute: Annotated[
        int,
        number("", 1, 1000),
        (
            "ICE restarts and new carriers a minute that a network can cause; further ones wait. A warm spare counts "
            "when it is used."
        ),
    ] = 16
    timeout_threshold: Annotated[
        float,
        number("s", 1, 3600),
        (
            "Silence after which a path counts as lost in any case: that of an idle ping, and the most that is "
            "granted to a slow path while data waits for an answer."
        ),
    ] = 30.0
    suspicion_floor: Annotated[
        float,
        number("s", 0.05, 60),
        (
            "Silence, while data waits for an answer, below which no path is suspected; above it RFC 6298's "
            "retransmission timeout decides. A suspect path gets another carrier beside it. 200 ms is Linux' least "
            "retransmission timeout."
        ),
    ] = 0.2
    silence_floor: Annotated[
        float,
        number("s", 0.05, 60),
        (
            "The same for a path to count as lost, which takes three such timeouts: with 400 ms a "
            "peer that stands still for a second is not lost."
        ),
    ] = 0.4
    warm_spare: Annotated[
        Literal["auto", "off"],
        (
            "Whether a tube in use holds a second carrier on another uplink of this machine, if it has one (Linux). "
            "It takes some 300 bytes a second, and saves the set-up when a link dies without a word."
        ),
    ] = "auto"
    stall_timeout: Annotated[
        float,
        number("s", 1, 86400),
        "A peer that acknowledges nothing for this long, but answers a later ping, ends the session.",
    ] = 30.0
    abandon_after: Annotated[
        float, number("s", 1, _MONTH), "Without a carrier for this long, the peer is given up."
    ] = 3600.0
    quality_threshold: Annotated[
        float, number("", 0, 1), "The quality (0 to 1) below which CONNECTED becomes DEGRADED."
    ] = 0.8
    connection_health_check_interval: Annotated[
        float,
        number("s", 1, 86400),
        "Between two looks at the engine's statistics; an eighth of it while DEGRADED.",
    ] = 120.0
    direct_retry_interval: Annotated[
        float,
        number("s", 60, 86400, zero="never"),
        "A path through a TURN server is tried without one after this long, then after twice as long, and so on.",
    ] = 600.0
    ice_keepalive_enabled: Annotated[bool, "Whether an idle path is pinged."] = True
    ice_keepalive_interval: Annotated[
        float, number("s", 1, 86400), "Without a byte for this long, the peer is asked whether it is there."
    ] = 300.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.restart_backoff_max < self.restart_backoff_base:
            base, most = show_number(self.restart_backoff_base), show_number(self.restart_backoff_max)
            reason = f"{{}} is {most}, below {{}}, which is {base} s"
            raise ClashError(reason, "restart_backoff_max", "restart_backoff_base")


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a tube lives that nobody uses."""

    session_timeout: Annotated[
        float, number("s", 1, _MONTH, zero="never"), "Without the user's activity for this long, the tube is closed."
    ] = 3600.0
    session_timeout_warning: Annotated[
        float, number("s", 1, _MONTH), "Without the user's activity for this long, the first warning is given."
    ] = 1140.0
    session_timeout_warning_stages: Annotated[
        tuple[Annotated[float, number("s", 1, _MONTH)], ...],
        Meta(max_length=MAX_VALUES),
        "When further warnings are given; those that lie behind the timeout are not.",
    ] = (1800.0, 2700.0, 3300.0, 3540.0)
    session_duration_limit: Annotated[
        float, number("s", 1, _MONTH, zero="never"), "The tube is closed this long after it began, used or not."
    ] = 0.0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """What tubes may hold."""

    max_tubes: Annotated[int, number("", 1, 10**6), "Tubes in one registry."] = 1000
    max_concurrent_creates: Annotated[
        int, number("", 1, 10**6), "Tubes in one registry that are being set up at the same time."
    ] = 100
    max_streams: Annotated[int, number("", 1, MAX_STREAMS), "Streams in one tube."] = 1024
    stream_window_bytes: Annotated[
        int,
        number("bytes", 64 * KIB, 1024 * MIB),
        "Credit granted to the peer, each stream: what may be under way or unread here. Many streams get less each.",
    ] = 2 * MIB
    stream_buffer_bytes: Annotated[
        int,
        number("bytes", 64 * KIB, 1024 * MIB),
        "Unacknowledged and unsent bytes kept, each stream; a full buffer stops reading the TCP socket.",
    ] = 2 * MIB
    session_buffer_bytes: Annotated[
        int,
        number("bytes", 64 * KIB, 2**40),
        (
            "The same over all streams of a tube; beyond it each stream still has 64 KiB. It also bounds the credit "
            "that many streams are granted together."
        ),
    ] = 64 * MIB
    total_buffer_bytes: Annotated[int, number("bytes", 64 * KIB, 2**40), "The same over all tubes of a registry."] = (
        1024 * MIB
    )
    stale_tube_timeout: Annotated[
        float, number("s", 1, _MONTH), "A tube that was created and never began to connect is swept after this long."
    ] = 300.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.session_buffer_bytes < self.stream_buffer_bytes:
            reason = f"{{}} is {self.session_buffer_bytes}, below {{}}, which is {self.stream_buffer_bytes}"
            raise ClashError(reason, "session_buffer_bytes", "stream_buffer_bytes")


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Where clients find a gateway, and what they may reach: for serve alone."""

    rendezvous: Annotated[
        str,
        Meta(extra={"form": "ws://HOST:PORT or wss://HOST", "secret": True}),
        "The rendezvous that clients meet at.",
    ] = ""
    allow: Annotated[
        tuple[str, ...],
        Meta(extra={"form": "HOST:PORTS"}),
        "What clients may reach, as a list: a name, an address or a network such as `10.0.0.0/8`, with `22`, `80,443`, "
        "`8000-8100` or `*`.",
    ] = ()
    deny: Annotated[
        tuple[str, ...],
        Meta(extra={"form": "HOST:PORTS"}),
        "What they may not reach though it is allowed, likewise.",
    ] = ()

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """Where TURN credentials that expire come from."""

    turn_secret_file: Annotated[
        str,
        Meta(extra={"form": "FILE"}),
        "Holds the secret of the servers in `turn_urls`, with which credentials are made.",
    ] = ""
    turn_urls: Annotated[
        tuple[str, ...],
        Meta(max_length=MAX_VALUES, extra={"form": "turn:HOST:PORT"}),
        "The TURN servers that have that secret, as a list; also with `?transport=tcp`, and as `turns:HOST:PORT`.",
    ] = ()
    turn_ttl: Annotated[float, number("s", 10, 7 * 86400), "How long the credentials last that are made with it."] = (
        TURN_TTL
    )
    ice_servers_url: Annotated[
        str,
        Meta(extra={"form": "https://HOST/PATH", "secret": True}),
        "Asked for ICE servers with credentials, which it answers in JSON.",
    ] = ""
    ice_servers_token_file: Annotated[
        str, Meta(extra={"form": "FILE"}), "Holds the bearer token that it wants; read each time."
    ] = ""
    turn_ca: Annotated[
        str,
        Meta(extra={"form": "FILE"}),
        "Certificates (PEM) that are trusted beside the system's, for `turns:` servers and `ice_servers_url`.",
    ] = ""
    turn_credential_refresh_interval: Annotated[
        float,
        number("s", 1, 86400),
        (
            "Between two fetches of credentials, at most; where they say how long they last, they are fetched again at "
            "two thirds of it. Ten minutes notice a changed secret or server within ten minutes."
        ),
    ] = 600.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.turn_secret_file and self.ice_servers_url:
            raise ClashError("{} and {} are both set; give one of them", "turn_secret_file", "ice_servers_url")
        if bool(self.turn_secret_file) != bool(self.turn_urls):
            raise ClashError("{} and {} go together; give both or none", "turn_secret_file", "turn_urls")
        if self.turn_ttl != TURN_TTL and not self.turn_secret_file:
            raise ClashError("{} is set without {}", "turn_ttl", "turn_secret_file")
        if self.ice_servers_token_file and not self.ice_servers_url:
            raise ClashError("{} is set without {}", "ice_servers_token_file", "ice_servers_url")


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """How carriers find their way."""

    ice_servers: Annotated[
        tuple[str, ...],
        Meta(
            max_length=MAX_VALUES,
            extra={"form": "stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT", "secret": True},
        ),
        (
            "STUN and TURN servers, as a list. Without one only machines that reach each other directly connect. A "
            "file that holds a password should be readable by you alone."
        ),
    ] = ()
    loopback: Annotated[
        bool, "Whether 127.0.0.1, ::1 and link-local addresses are used too, for both ends on one machine."
    ] = False
    relay_only: Annotated[
        bool,
        "Whether nothing but TURN servers is used, so that no candidate shows the other end this machine's addresses.",
    ] = False
    own_interfaces: Annotated[
        bool,
        (
            "Whether, on Linux, packets leave by the interface that has their candidate's address, where there are "
            "several uplinks. Without it, or policy routes, all leave by the default route's, and a standby link is "
            "used only after the routes change."
        ),
    ] = True

    def __post_init__(self) -> None:
        check_fields(self)

    def config(self, turn: TurnSettings | None = None) -> TransportConfig:
        """With what `turn` says of them.


        Raises:
            ValueError: a text is no ICE server.
        """
        servers = tuple(map(parse_ice_server, self.ice_servers))
        turn = turn or TurnSettings()
        return TransportConfig(
            servers,
            loopback=self.loopback,
            relay_only=self.relay_only,
            own_interfaces=self.own_interfaces,
            turn_ca=turn.turn_ca or None,
            turn_credential_refresh_interval=turn.turn_credential_refresh_interval,
        )


@dataclass(frozen=True, slots=True)
class TransportConfig:
    """How carriers are built."""

    ice_servers: tuple[IceServer, ...] = ()
    """`IceServer(url, username, credential)`; `stun:HOST:PORT` and `turn:USER:PASSWORD@HOST:PORT` become one."""
    loopback: bool = False
    """Also use 127.0.0.1 and ::1 as candidates, for both ends on one machine, and link-local addresses."""
    tcp_candidates: bool = False
    """Also use ICE candidates for TCP (RFC 6544). A peer can then make this machine connect to any TCP port."""
    relay_only: bool = False
    """Use no candidates but those at TURN servers (W3C: `iceTransportPolicy` "relay"), so that none of them
    shows the peer this machine's addresses."""
    turn_ca: str | None = None
    """A file of certificates (PEM) that `turns:` servers may have, beside the system's roots."""
    turn_credential_refresh_interval: float = TurnSettings().turn_credential_refresh_interval
    """Seconds between two fetches from a provider of ICE servers, at most."""
    own_interfaces: bool = True
    """Linux: packets leave by the interface that has their candidate's address, where there are several uplinks.
    Without it, or policy routes, all leave by the default route's, and a standby link is used only after the routes
    change."""

    def __post_init__(self) -> None:
        """Raises `TypeError` where a field is of another type, and `ValueError` where a text is no ICE server. They do
        not show it: a URL may hold a password."""
        object.__setattr__(self, "ice_servers", read_ice_servers(self.ice_servers))
        for name in ("loopback", "tcp_candidates", "relay_only", "own_interfaces"):
            if not isinstance(value := getattr(self, name), bool):
                raise TypeError(f"{name} is true or false, not {type(value).__name__}")
        if not isinstance(self.turn_ca, str | None):
            raise TypeError(f"turn_ca is the name of a file, not {type(self.turn_ca).__name__}")
