"""What a user may set: each value frozen, checked once, and described where it stands. Pure.

`docs/timers.md` and `perdure config show` are made from these descriptions.
"""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Annotated, TypeAlias, cast, get_type_hints

from perdure.wire import MAX_STREAMS

if TYPE_CHECKING:
    from collections.abc import Mapping

KIB = 1024
MIB = 1024 * KIB

SMALLEST_SHARE_BYTES = 64 * KIB
"""What a stream may always hold, so that others which nobody reads cannot stop it."""

MAX_VALUES = 32
"""In one field, such as the stages of a warning: more would be a mistake, and each is a timer."""

_MONTH = 86400.0 * 30

Value: TypeAlias = bool | int | float | tuple[float, ...]
"""What a field holds."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field means, and which numbers it takes; one without bounds is a bool."""

    text: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    zero: str = ""
    """What 0 means, where 0 is allowed beside the range."""

    @property
    def bounds(self) -> str:
        """`0.01 to 3600`, `64 KiB to 1 GiB`, `true or false`."""
        if self.low == -math.inf:
            return "true or false"
        show = show_bytes if self.unit == "bytes" else show_number
        return f"{show(self.low)} to {show(self.high)}"

    @property
    def range(self) -> str:
        """The bounds with their unit and exception: `1 to 60 s, or 0 (never)`."""
        bounds = f"{self.bounds} {self.unit}" if self.unit not in {"", "bytes"} else self.bounds
        return f"{bounds}, or 0 ({self.zero})" if self.zero else bounds

    def allows(self, value: float) -> bool:
        return self.low <= value <= self.high or (value == 0 and bool(self.zero))


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When and how a path is recovered."""

    max_restart_attempts: Annotated[
        int,
        Setting("Attempts in a row that may fail before the tube does; a new network event starts over.", "", 1, 1000),
    ] = 3
    restart_backoff_base: Annotated[
        float, Setting("The wait after the first failed attempt; doubled after each further one.", "s", 0.01, 3600)
    ] = 5.0
    restart_backoff_max: Annotated[float, Setting("The longest wait between two attempts.", "s", 0.01, 86400)] = 60.0
    attempt_timeout: Annotated[
        float,
        Setting(
            "From an offer to a resumed session. ICE with a relay at 300 ms RTT needs about 3 s; 10 s leaves room.",
            "s",
            0.1,
            600,
        ),
    ] = 10.0
    ice_restart_timeout: Annotated[
        float,
        Setting(
            "From a restart's offer to data on the path; then the carrier is built anew. A restart takes two round "
            "trips of signaling and the first checks: below 1 s even through a relay.",
            "s",
            0.1,
            600,
        ),
    ] = 3.0
    handover_grace: Annotated[
        float,
        Setting(
            "After a recovery that a network event began, further events wait this long for its result: the first "
            "checks on a new path may fail on stale mappings, and one change must not burn the backoff.",
            "s",
            0,
            60,
        ),
    ] = 1.0
    storm_budget: Annotated[
        int, Setting("Restarts a minute, whatever the network does; further ones wait.", "", 1, 1000)
    ] = 6
    timeout_threshold: Annotated[
        float,
        Setting(
            "Silence after which a path counts as lost in any case: that of an idle ping, and the most that is "
            "granted to a slow path while data waits for an answer.",
            "s",
            1,
            3600,
        ),
    ] = 30.0
    silence_floor: Annotated[
        float,
        Setting(
            "Silence, while data waits for an answer, below which no path is suspected; above it RFC 6298's "
            "retransmission timeout decides. 300 ms leaves room for a stalled process.",
            "s",
            0.05,
            60,
        ),
    ] = 0.3
    stall_timeout: Annotated[
        float,
        Setting(
            "A peer that acknowledges nothing for this long, but answers a later ping, ends the session.", "s", 1, 86400
        ),
    ] = 30.0
    abandon_after: Annotated[
        float, Setting("Without a carrier for this long, the peer is given up.", "s", 1, _MONTH)
    ] = 3600.0
    quality_threshold: Annotated[
        float, Setting("The quality (0 to 1) below which CONNECTED becomes DEGRADED.", "", 0, 1)
    ] = 0.8
    connection_health_check_interval: Annotated[
        float,
        Setting("Between two looks at the engine's statistics; an eighth of it while DEGRADED.", "s", 1, 86400),
    ] = 120.0
    ice_keepalive_enabled: Annotated[bool, Setting("Whether an idle path is pinged.")] = True
    ice_keepalive_interval: Annotated[
        float, Setting("Without a byte for this long, the peer is asked whether it is there.", "s", 1, 86400)
    ] = 300.0

    def __post_init__(self) -> None:
        check_settings(self)
        if self.restart_backoff_max < self.restart_backoff_base:
            base, most = show_number(self.restart_backoff_base), show_number(self.restart_backoff_max)
            raise ValueError(f"restart_backoff_max is {most}, below restart_backoff_base ({base} s)")


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a tube lives that nobody uses."""

    session_timeout: Annotated[
        float, Setting("Without the user's activity for this long, the tube is closed.", "s", 1, _MONTH, zero="never")
    ] = 3600.0
    session_timeout_warning: Annotated[
        float, Setting("Without the user's activity for this long, the first warning is given.", "s", 1, _MONTH)
    ] = 1140.0
    session_timeout_warning_stages: Annotated[
        tuple[float, ...],
        Setting("When further warnings are given; those that lie behind the timeout are not.", "s", 1, _MONTH),
    ] = (1800.0, 2700.0, 3300.0, 3540.0)
    session_duration_limit: Annotated[
        float, Setting("The tube is closed this long after it began, used or not.", "s", 1, _MONTH, zero="never")
    ] = 0.0

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """What tubes may hold."""

    max_tubes: Annotated[int, Setting("Tubes in one registry.", "", 1, 10**6)] = 1000
    max_concurrent_creates: Annotated[
        int, Setting("Tubes in one registry that are being set up at the same time.", "", 1, 10**6)
    ] = 100
    max_streams: Annotated[int, Setting("Streams in one tube.", "", 1, MAX_STREAMS)] = 1024
    stream_window_bytes: Annotated[
        int,
        Setting(
            "Credit granted to the peer, each stream: what may be under way or unread here. Many streams get less "
            "each.",
            "bytes",
            64 * KIB,
            1024 * MIB,
        ),
    ] = 2 * MIB
    stream_buffer_bytes: Annotated[
        int,
        Setting(
            "Unacknowledged and unsent bytes kept, each stream; a full buffer stops reading the TCP socket.",
            "bytes",
            64 * KIB,
            1024 * MIB,
        ),
    ] = 2 * MIB
    session_buffer_bytes: Annotated[
        int,
        Setting(
            "The same over all streams of a tube; beyond it each stream still has 64 KiB. It also bounds the credit "
            "that many streams are granted together.",
            "bytes",
            64 * KIB,
            2**40,
        ),
    ] = 64 * MIB
    total_buffer_bytes: Annotated[int, Setting("The same over all tubes of a registry.", "bytes", 64 * KIB, 2**40)] = (
        1024 * MIB
    )
    stale_tube_timeout: Annotated[
        float, Setting("A tube that was created and never began to connect is swept after this long.", "s", 1, _MONTH)
    ] = 300.0

    def __post_init__(self) -> None:
        check_settings(self)
        if self.session_buffer_bytes < self.stream_buffer_bytes:
            raise ValueError(
                f"session_buffer_bytes is {self.session_buffer_bytes}, below stream_buffer_bytes "
                f"({self.stream_buffer_bytes})"
            )


@cache
def settings_of(kind: type) -> Mapping[str, Setting]:
    """The described fields of a configuration class, in their order."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        each.name: next(extra for extra in hints[each.name].__metadata__ if isinstance(extra, Setting))
        for each in fields(kind)
    }


@cache
def defaults_of(kind: type) -> Mapping[str, Value]:
    """What its fields are when nobody sets them."""
    return {each.name: cast("Value", each.default) for each in fields(kind)}


def check_settings(config: object) -> None:
    """Check each field of `config`. Raises `ValueError` that names the field, the value and the range."""
    kind: type = type(config)
    for name in settings_of(kind):
        check_setting(kind, name, getattr(config, name))


def check_setting(kind: type, name: str, value: object) -> None:
    """Whether `value` may stand in the field `name` of `kind`.

    Raises:
        ValueError: it names the field, the value and the range.
    """
    setting = settings_of(kind)[name]
    match defaults_of(kind)[name]:
        case bool():
            if not isinstance(value, bool):
                raise ValueError(f"{name} is {_show(value)}, not {setting.range}")
        case tuple():
            if not isinstance(value, tuple):
                raise ValueError(
                    f"{name} is {_show(value)}, not a tuple (in TOML: a list) of numbers from {setting.range}"
                )
            if len(value) > MAX_VALUES:
                raise ValueError(f"{name} has {len(value)} values, more than {MAX_VALUES}")
            for index, each in enumerate(value):
                _check_number(f"{name}[{index}]", each, setting, whole=False)
        case default:
            _check_number(name, value, setting, whole=isinstance(default, int))


def _check_number(name: str, value: object, setting: Setting, *, whole: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or value != value:  # nan
        what = "a whole number" if whole else "a number"
        raise ValueError(f"{name} is {_show(value)}, not {what} from {setting.range}")
    if not setting.allows(value):
        raise ValueError(f"{name} is {show_number(value)}, outside {setting.range}")


def show_number(value: float) -> str:
    """As a person writes it: `2592000`, `0.05`."""
    if abs(value) < 1e15:
        return str(int(value)) if value == int(value) else repr(value)
    try:
        return f"{value:g}"
    except OverflowError:  # an int that no float holds; its digits are no help to anybody
        return "beyond 1e308" if value > 0 else "beyond -1e308"


def _show(value: object) -> str:
    """`value` as Python writes it, but of bounded length."""
    if isinstance(value, int) and not isinstance(value, bool):
        return show_number(value)  # which knows ints that Python refuses to write
    return reprlib.repr(value)


def show_bytes(size: float) -> str:
    """`64 KiB`: in the largest unit that leaves a whole number, which may be bytes."""
    for unit, name in ((1024**4, "TiB"), (1024**3, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{show_number(size / unit)} {name}"
    return f"{show_number(size)} bytes"


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

    def __post_init__(self) -> None:
        """Raises `TypeError` where a field is of another type. It does not show it: a URL may hold a password."""
        if not isinstance(self.ice_servers, tuple | list):
            raise TypeError(f"ice_servers is a tuple of IceServer, not {type(self.ice_servers).__name__}")
        for server in self.ice_servers:
            if not isinstance(server, IceServer):
                raise TypeError(f"an ICE server is an IceServer(url, …), not {type(server).__name__}")
        object.__setattr__(self, "ice_servers", tuple(self.ice_servers))
        if not isinstance(self.loopback, bool):
            raise TypeError(f"loopback is true or false, not {type(self.loopback).__name__}")
