"""What the long-running verbs share: logging, Ctrl-C, and one asyncio run.

asyncio is imported where it runs: it would be a third of the time of `perdure --help`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from enum import StrEnum

from perdure.eventlog import JsonFormatter, KeyValueFormatter

_STOPS = [signal.SIGINT, signal.SIGTERM]
if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup's wish is respected
    _STOPS.append(signal.SIGHUP)


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def set_up_logging(level: LogLevel, *, as_json: bool) -> None:
    """One line an event on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else KeyValueFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("perdure").setLevel(level.value.upper())


def say(text: str) -> None:
    """A line on standard output; where nobody reads it any more, the work goes on."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for the rest of the process)


def end_on_signals() -> None:
    """From now until `run_until_stopped`, SIGINT, SIGTERM and SIGHUP end the process at once: a clean end too.

    Nothing is held yet that would need unwinding, and SystemExit in the middle of an import would show.
    """
    for number in _STOPS:
        signal.signal(number, lambda number, frame: os._exit(0))


def run_until_stopped(start: Callable[[], Coroutine[object, object, None]]) -> bool:
    """Run `start()` until it ends, or a signal (SIGINT, SIGTERM, SIGHUP) cancels it: a clean end; whether one did.

    A second signal does not wait for the farewell.
    """
    import asyncio

    # A signal while asyncio makes its loop would leave half of one; it waits until the loop can take it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    return asyncio.run(_until_stopped(start))


async def _until_stopped(start: Callable[[], Coroutine[object, object, None]]) -> bool:
    import asyncio

    loop = asyncio.get_running_loop()
    task = loop.create_task(start())
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if stopped:
            signal.raise_signal(signal.SIGKILL)
        stopped = True
        task.cancel()

    for number in _STOPS:
        loop.add_signal_handler(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise
    return stopped
