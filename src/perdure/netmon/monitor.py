"""Tells everyone in the process, within milliseconds, that the network under them moved, or that they slept.

A source hints, the debounce says when to look, two snapshots say what changed. One monitor serves all tubes of a
process.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure.core.decision import Trigger
from perdure.eventlog import error_fields, log_event
from perdure.netmon.debounce import Debounce
from perdure.netmon.engine_address_cache import EngineAddressCache
from perdure.netmon.netlink import NetlinkSource
from perdure.netmon.state import Snapshot, detailed, diff
from perdure.netmon.wakeup import SleepWatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from perdure.netmon.source import Source
    from perdure.netmon.state import Change
    from perdure.netmon.wakeup import Sleep

_logger = logging.getLogger("perdure.netmon")

TICK_INTERVAL = 1.0
"""Seconds between two looks at the clocks: a person who opens the lid waits longer than that for the screen. It costs
0.03 % of a core."""

MAX_FAILED_LOOKS = 10
"""In a row, one with each tick, after which a source is given up: a lack of descriptors ends, a sandbox that the
process has entered meanwhile does not."""

MAX_REASONS = 8
"""Told in one line; a machine with 200 interfaces has more."""


@dataclass(frozen=True, slots=True)
class NetworkMoved:
    """The network under this process moved, or the process slept."""

    change: Change | None
    """What changed; `None` for a wake-up."""
    trigger: Trigger
    """INTERFACE_CHANGE, IP_ADDRESS_CHANGE or WAKE_UP."""
    has_address: bool
    """Whether there is an address from which something could be reached; taken for granted until a look succeeds."""
    is_new_address: bool
    """Whether the WebRTC engine, if it runs, cannot know the addresses yet that are used now."""
    slept_seconds: float = 0.0
    detail: str = ""
    """The reasons, for the log."""

    def invalidates(self, address: str | None) -> bool | None:
        """Whether a connection from this local address cannot be trusted any more; `None` where that is not known."""
        return None if address is None or self.change is None else self.change.invalidates(address)


def clocks() -> tuple[float, float]:
    """Seconds on a clock that stands still during sleep, and on one that runs on where the system has it."""
    return time.monotonic(), time.monotonic() if _ALWAYS is None else time.clock_gettime(_ALWAYS)


_ALWAYS: int | None = (
    # On macOS `time.monotonic` stands still during sleep, and CLOCK_MONOTONIC does not. Windows has one clock, which
    # runs on: there the late tick tells.
    getattr(time, "CLOCK_MONOTONIC", None) if sys.platform == "darwin" else getattr(time, "CLOCK_BOOTTIME", None)
)


class NetworkMonitor:
    """Watches the network from `start` to `close`, or as an async context manager.

    All of it is used, and listeners are called, on the event loop's thread.
    """

    def __init__(
        self,
        source: Source | None = None,
        *,
        clocks: Callable[[], tuple[float, float]] = clocks,
        tick_interval: float = TICK_INTERVAL,
        sleep_watch: SleepWatch | None = None,
    ) -> None:
        self._source = source
        self._clocks = clocks
        self._tick_interval = tick_interval
        self._sleep_watch = sleep_watch or SleepWatch(tick_interval)
        self._listeners: dict[object, Callable[[NetworkMoved], None]] = {}
        self._debounce = Debounce()
        self._engine_addresses = EngineAddressCache()
        self._snapshot = Snapshot()
        self._shown_by: Source | None = None
        """Who showed the snapshot; `None`: nobody yet."""
        self._is_held = False
        """Whether the last look saw half a change, which the next one tells, whole or not."""
        self._failed_looks = 0
        """In a row, until now."""
        self._look_timer: asyncio.TimerHandle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._is_started = False
        self._is_closed = False

    @property
    def snapshot(self) -> Snapshot:
        """The network as last judged; empty before `start`."""
        return self._snapshot

    def subscribe(self, listener: Callable[[NetworkMoved], None]) -> Callable[[], None]:
        """Call `listener` with each event from now on, until the returned function is called.

        What it raises is logged, and harms nobody.
        """
        key = object()
        self._listeners[key] = listener

        def unsubscribe() -> None:
            self._listeners.pop(key, None)

        return unsubscribe

    async def start(self) -> None:
        """Look for the first time, and watch. If this is cancelled, `close` it.

        Raises:
            RuntimeError: it was started or closed before.
        """
        if self._is_started or self._is_closed:
            raise RuntimeError("a network monitor is started once, and not after it was closed")
        self._is_started = True
        source = self._source or await _system_source()
        if not self._is_closed:
            self._begin(source)
            self._tick()

    def close(self) -> None:
        """Stop watching; nobody is told anything any more. May be called again."""
        self._is_closed = True
        for timer in (self._look_timer, self._tick_timer):
            if timer is not None:
                timer.cancel()
        self._look_timer = self._tick_timer = None
        if self._source is not None:
            self._source.close()
        self._listeners.clear()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, source: Source) -> None:
        self._source = source
        try:
            source.watch(self._hinted, self._watch_ended)  # before the look, so that nothing is missed between them
        except Exception as error:
            self._fall_back(error)
        if (shown := self._show()) is not None:
            self._judged(shown)
            self._engine_addresses.saw(shown, self._clocks()[0])

    def _watch_ended(self, error: OSError) -> None:
        """Perhaps at the moment of a change, so that what polling finds different is told."""
        self._fall_back(error)
        self._look(self._read_clocks())

    def _fall_back(self, error: Exception) -> None:
        """The source cannot be used: go on by polling."""
        assert self._source is not None
        self._source.close()
        _log_no_source(self._source.name, error)
        self._source = _polling_source()
        self._source.watch(self._hinted, self._watch_ended)

    def _show(self) -> Snapshot | None:
        """The network now; `None`: nobody can say it.

        A source that cannot read this network would not read it later either, and one that never showed anything, or
        nothing any more, is perhaps not permitted to.
        """
        assert self._source is not None
        try:
            shown = self._source.look()
        except Exception as error:  # see `Source.look`
            may_work_later = (
                isinstance(error, OSError) and self._shown_by is self._source and self._failed_looks < MAX_FAILED_LOOKS
            )
            if self._source.name == _POLLING or may_work_later:
                self._could_not_look(error)
                return None
            self._fall_back(error)
            return self._show()
        self._failed_looks = 0
        return shown

    def _could_not_look(self, error: Exception) -> None:
        """No descriptor was left, for example: said once, and tried again with the next tick."""
        if not self._failed_looks:
            log_event(_logger, logging.WARNING, "network-look-failed", **error_fields(error))
        self._failed_looks += 1

    def _judged(self, shown: Snapshot) -> None:
        """The snapshot is from now on what the source showed."""
        if self._shown_by is not self._source:
            assert self._source is not None
            routes = ", ".join(f"{route.family.value} on {route.interface}" for route in shown.defaults)
            log_event(
                _logger,
                logging.INFO,
                "network-watched",
                source=self._source.name,
                addresses=len(shown.bindable),
                default_routes=routes or "none",
            )
        self._snapshot, self._shown_by = shown, self._source

    def _hinted(self) -> None:
        if self._is_closed:
            return
        self._debounce.hinted(asyncio.get_running_loop().time())
        if self._look_timer is None:
            self._look_when_due()

    def _look_when_due(self) -> None:
        """Hints put the time off, so it is asked for again when it has come."""
        self._look_timer = None
        loop = asyncio.get_running_loop()
        due_at = self._debounce.due_at
        if due_at is None:
            return
        if due_at <= loop.time():
            self._look(self._read_clocks())
        else:
            self._look_timer = loop.call_at(due_at, self._look_when_due)

    def _tick(self) -> None:
        self._tick_timer = asyncio.get_running_loop().call_later(self._tick_interval, self._tick)
        slept = self._read_clocks()
        if slept.seconds or self._failed_looks:
            self._look(slept)

    def _read_clocks(self) -> Sleep:
        slept = self._sleep_watch.read(*self._clocks())
        self._engine_addresses.stopped(slept.stopped)
        return slept

    def _look(self, slept: Sleep) -> None:
        """Look at the network, and tell of a sleep and of what is different."""
        shown = self._show()
        change = self._change_to(shown)
        after = change.after
        self._debounce.looked(asyncio.get_running_loop().time())
        if shown is not None:
            self._engine_addresses.saw(after, self._clocks()[0])

        self._is_held = is_held = change.is_half and not self._is_held
        if is_held:
            self._hinted()  # look again soon: the rest of it is probably under way
        elif shown is not None:
            self._judged(shown)

        if slept.seconds:
            # First, so that a carrier which a long sleep has ended is not judged by the change alone.
            self._tell(None, Trigger.WAKE_UP, after, slept.seconds, f"this process slept {slept.seconds:.1f} s")
        if not is_held:
            self._tell_change(change)

    def _change_to(self, shown: Snapshot | None) -> Change:
        """From the snapshot to what the source shows; nothing, where either is missing."""
        before = self._snapshot
        if shown is None:
            return diff(before, before)
        if self._shown_by is None:
            return diff(shown, shown)
        return diff(before, shown if self._shown_by is self._source else detailed(shown, before))

    def _tell_change(self, change: Change) -> None:
        if change.is_nothing:
            return
        reasons = change.reasons
        more = f"; {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
        detail = "; ".join(reasons[:MAX_REASONS]) + more
        if change.trigger is None:
            log_event(_logger, logging.DEBUG, "network-unimportant", detail=detail)
        else:
            self._tell(change, change.trigger, change.after, 0.0, detail)

    def _tell(self, change: Change | None, trigger: Trigger, after: Snapshot, slept: float, detail: str) -> None:
        is_new_address = self._engine_addresses.is_new(after, self._clocks()[0])
        has_address = after.has_address or self._shown_by is None
        moved = NetworkMoved(change, trigger, has_address, is_new_address, slept, detail)
        log_event(
            _logger,
            logging.INFO,
            "network-moved",
            trigger=trigger.value,
            has_address=has_address,
            is_new_address=is_new_address,
            detail=detail,
        )
        for key, listener in list(self._listeners.items()):
            if key not in self._listeners:
                continue  # another listener has unsubscribed it, or closed the monitor
            try:
                listener(moved)
            except Exception as error:
                log_event(_logger, logging.ERROR, "network-listener-failed", error, **error_fields(error))


_POLLING = "polling"


async def _system_source() -> Source:
    """What this system has to offer; psutil is imported in a thread, as that would hold the loop up."""
    return NetlinkSource() if sys.platform == "linux" else await asyncio.to_thread(_polling_source)


def _log_no_source(name: str, error: Exception) -> None:
    log_event(_logger, logging.WARNING, "network-source-failed", source=name, instead=_POLLING, **error_fields(error))


def _polling_source() -> Source:
    from perdure.netmon.polling import PollingSource

    return PollingSource()
