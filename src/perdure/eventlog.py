"""One line an event: a name and its fields, for people (key=value) and for machines (JSON).

The message itself says all of it, so that an application's own logging shows it too.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import math
import threading
import time
import traceback
from collections.abc import Mapping
from datetime import datetime

from perdure.line_limit import LeftOut, LineLimit
from perdure.urls import without_logins

Field = str | int | float | bool | None

MAX_ERROR_LENGTH = 200
"""Characters of an exception's text in the log."""


class LoggedEvent:
    """A log record's `msg`: `tube-state tube=1f3a before=connected reason="the carrier was lost"`."""

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: Mapping[str, Field]) -> None:
        self.name = name
        self.fields = {
            key: without_logins(value) if isinstance(value, str) and "@" in value else value
            for key, value in fields.items()
        }

    def __str__(self) -> str:
        return shown_fields(self.name, self.fields)


def shown_fields(name: str, fields: Mapping[str, Field]) -> str:
    """An event as a person reads it."""
    return " ".join([name, *(f"{key}={_shown(value)}" for key, value in fields.items())])


def instant(at: float) -> str:
    """Unix seconds as RFC 3339 has them, with this machine's time zone."""
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="milliseconds")


def log_event(
    logger: logging.Logger, level: int, name: str, raised: BaseException | None = None, /, **fields: Field
) -> None:
    """Log `name` with `fields`, and the traceback of what an application's own code `raised`.

    Secrets and tickets are never fields. A URL in a field is logged without its user name and password. Of many lines
    of one name (and `tube`) some are left out, and counted: see `perdure.line_limit`.
    """
    if logger.isEnabledFor(level):
        tube = fields.get("tube")
        if _LIMITER.admits(name, tube if isinstance(tube, str) else None, level):
            _write(logger, level, LoggedEvent(name, fields), raised)


def tell_left_out() -> None:
    """Log now how many lines were left out; it happens by itself when 10 s are over, and at the process' end."""
    _LIMITER.tell_all()


def _write(logger: logging.Logger, level: int, event: LoggedEvent, raised: BaseException | None = None) -> None:
    # Not `logger.log`: it looks for the caller's line, which costs more than all the rest and tells nobody much.
    info = None if raised is None else (type(raised), raised, raised.__traceback__)
    logger.handle(logger.makeRecord(logger.name, level, "", 0, event, (), info))


class _Limiter:
    """The process' `LineLimit`, in real time. Lines come from any thread, with and without an event loop."""

    def __init__(self) -> None:
        self._limit = LineLimit()
        self._lock = threading.RLock()  # what is collected meanwhile may log
        self._timer: threading.Timer | None = None

    def admits(self, kind: str, tube: str | None, level: int) -> bool:
        with self._lock:
            now = time.monotonic()
            told = self._limit.due(now)
            is_admitted = self._limit.admits(kind, tube, level, now)
            if not is_admitted:
                self._set_timer(now)
        _tell(told)
        return is_admitted

    def tell_all(self) -> None:
        with self._lock:
            told = self._limit.rest(time.monotonic())
        _tell(told)

    def _set_timer(self, now: float) -> None:
        if self._timer is None and (due_at := self._limit.next_due_at) < math.inf:
            timer = threading.Timer(due_at - now, self._expired)
            timer.daemon = True
            with contextlib.suppress(RuntimeError):  # the system gives no thread: the next line tells it
                timer.start()
                self._timer = timer

    def _expired(self) -> None:
        with self._lock:
            self._timer = None
            now = time.monotonic()
            told = self._limit.due(now)
            self._set_timer(now)
        _tell(told)


def _tell(told: list[LeftOut]) -> None:
    """A line each."""
    for each in told:
        fields: dict[str, Field] = {} if each.tube is None else {"tube": each.tube}
        fields |= {"count": each.count, "seconds": round(each.seconds, 1)}
        _write(logging.getLogger("perdure"), each.level, LoggedEvent("lines-left-out", {"kind": each.kind, **fields}))


_LIMITER = _Limiter()
atexit.register(_LIMITER.tell_all)


def error_fields(error: BaseException) -> dict[str, str]:
    """An exception as fields: type, text, and the innermost place that raised. One without a text harms nobody."""
    try:
        text = str(error)[:MAX_ERROR_LENGTH]
    except Exception:
        text = ""
    places = [f"{frame.f_code.co_name}:{line}" for frame, line in traceback.walk_tb(error.__traceback__)]
    return {"error": type(error).__qualname__, "text": text, "at": "".join(places[-1:])}


class KeyValueFormatter(logging.Formatter):
    """`2026-12-01T12:00:01.234+01:00 INFO tube-state tube=1f3a before=connected after=reconnecting reason="…"`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """See `instant`."""
        return instant(record.created)

    def format(self, record: logging.LogRecord) -> str:
        return without_logins(super().format(record))


class JsonFormatter(logging.Formatter):
    """`{"time": 1763856000.25, "level": "INFO", "event": "tube-state", "tube": "1f3a", …}`; time in Unix seconds."""

    def format(self, record: logging.LogRecord) -> str:
        event = record.msg
        if not isinstance(event, LoggedEvent):  # another library's
            event = LoggedEvent(without_logins(record.getMessage()), {})
        line: dict[str, Field] = {
            "time": round(record.created, 4),
            "level": record.levelname,
            "event": event.name,
            **event.fields,
        }
        if record.exc_info:
            line["exception"] = without_logins(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def _shown(value: Field) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)
    if not text.isprintable():
        return json.dumps(text)  # what a peer says must not reach a terminal as control characters
    return text if text and not set(text) & set(' "=') else json.dumps(text, ensure_ascii=False)
