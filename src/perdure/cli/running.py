"""What the verbs share: standard output and logging, Ctrl-C, and one asyncio run.

asyncio is imported where it runs: it would be a third of the time of `perdure --help`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.eventlog import JsonFormatter, KeyValueFormatter

if TYPE_CHECKING:
    import asyncio

STOPS = [signal.SIGINT, signal.SIGTERM]
if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup's wish is respected
    STOPS.append(signal.SIGHUP)


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def set_up_logging(level: LogLevel, *, as_json: bool) -> None:
    """One line an event on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else KeyValueFormatter())
    handler.setLevel(level.value.upper())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("perdure").setLevel(level.value.upper())


def raise_descriptor_limit() -> None:
    """Let this process have as many descriptors as its hard limit allows: the soft one is for programs that use select,
    which cannot watch more than 1024."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def say(text: str) -> None:
    """A line on standard output; what its encoding lacks is escaped.

    Where it cannot be written the work goes on: in silence where nobody reads it any more, and else `output_failed`.
    """
    if sys.stdout is None:  # the caller has closed it
        return
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for the rest of the process)
    except OSError as error:
        sys.stdout = _Unwritable(open(os.devnull, "wb"))  # noqa: SIM115 (likewise)
        warn(f"perdure: standard output cannot be written: {error.strerror}")


def output_failed() -> bool:
    """Whether standard output could not be written, for another reason than that nobody reads it."""
    return isinstance(sys.stdout, _Unwritable)


class _Unwritable(io.TextIOWrapper):
    """In the place of a standard output that could not be written."""


def warn(text: str) -> None:
    """A line on standard error, as far as that can be written."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (what could not be written would be tried again at the end)


def try_to_write(path: Path) -> None:
    """Open it, and leave it as it was; a pipe is not tried, as opening one can wait, or be its end.

    Raises:
        OSError: it cannot be written.
    """
    is_new = not path.exists()
    is_device = path.is_char_device()
    if is_new or is_device or path.is_file() or path.is_dir():
        with path.open("ab", buffering=0) as file:
            try:
                if is_new or (is_device and not file.isatty()):
                    file.write(b"\n")  # a full disk takes a new file's name, but nothing in it
            finally:
                if is_new:
                    Path(os.path.realpath(path)).unlink()


def end_on_signals() -> None:
    """From now until `run_until_stopped`, SIGINT, SIGTERM and SIGHUP end the process at once: a clean end too.

    Nothing is held yet that would need unwinding, and SystemExit in the middle of an import would show.
    """
    for number in STOPS:
        signal.signal(number, lambda number, frame: os._exit(0))


def run_until_stopped(start: Callable[[], Coroutine[object, object, None]], *, on_uvloop: bool = False) -> bool:
    """Run `start()` until it ends, or a signal (SIGINT, SIGTERM, SIGHUP) cancels it: a clean end; whether one did.
    `on_uvloop`: on its event loop, where it is installed.

    A second signal does not wait for the farewell: the process ends at once, with 128 and the signal's number, as
    shells say it.
    """
    import asyncio

    # A signal while asyncio makes its loop would leave half of one; it waits until the loop can take it.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    with asyncio.Runner(loop_factory=loop_factory() if on_uvloop else None) as runner:
        return runner.run(_until_stopped(start))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed (`perdure[uvloop]`); `None`: asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _until_stopped(start: Callable[[], Coroutine[object, object, None]]) -> bool:
    import asyncio

    from perdure.cli.service_manager import feed_watchdog, tell_stopping

    loop = asyncio.get_running_loop()
    task = loop.create_task(start())
    watchdog = loop.create_task(feed_watchdog())
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        tell_stopping()
        for number in STOPS:
            # A plain handler, which needs no event loop: it also ends a process whose loop is held up, or has ended.
            loop.remove_signal_handler(number)
            signal.signal(number, lambda number, frame: os._exit(128 + number))
        task.cancel()

    for number in STOPS:
        loop.add_signal_handler(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise
    finally:
        watchdog.cancel()
    return stopped
