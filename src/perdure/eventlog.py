"""One line an event: a name and its fields, for people (key=value) and for machines (JSON).

The message itself says all of it, so that an application's own logging shows it too.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping

Field = str | int | float | bool | None

MAX_ERROR_LENGTH = 200
"""Characters of an exception's text in the log."""


class LoggedEvent:
    """A log record's `msg`: `tube-state tube=1f3a before=connected reason="the carrier was lost"`."""

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: Mapping[str, Field]) -> None:
        self.name = name
        self.fields = fields

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{key}={_shown(value)}" for key, value in self.fields.items())])


def log_event(
    logger: logging.Logger, level: int, name: str, raised: BaseException | None = None, /, **fields: Field
) -> None:
    """Log `name` with `fields`, and the traceback of what an application's own code `raised`.

    Secrets and tickets are never fields.
    """
    if logger.isEnabledFor(level):
        # Not `logger.log`: it looks for the caller's line, which costs more than all the rest and tells nobody much.
        info = None if raised is None else (type(raised), raised, raised.__traceback__)
        logger.handle(logger.makeRecord(logger.name, level, "", 0, LoggedEvent(name, fields), (), info))


def error_fields(error: BaseException) -> dict[str, str]:
    """An exception as fields: type, text, and the innermost place that raised. One without a text harms nobody."""
    try:
        text = str(error)[:MAX_ERROR_LENGTH]
    except Exception:
        text = ""
    places = [f"{frame.f_code.co_name}:{line}" for frame, line in traceback.walk_tb(error.__traceback__)]
    return {"error": type(error).__qualname__, "text": text, "at": "".join(places[-1:])}


class KeyValueFormatter(logging.Formatter):
    """`12:00:01.234 INFO tube-state tube=1f3a before=connected after=reconnecting reason="the carrier was lost"`."""

    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")


class JsonFormatter(logging.Formatter):
    """`{"time": 1763856000.25, "level": "INFO", "event": "tube-state", "tube": "1f3a", …}`; time in Unix seconds."""

    def format(self, record: logging.LogRecord) -> str:
        event = record.msg if isinstance(record.msg, LoggedEvent) else LoggedEvent(record.getMessage(), {})
        line: dict[str, Field] = {
            "time": round(record.created, 4),
            "level": record.levelname,
            "event": event.name,
            **event.fields,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _shown(value: Field) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)
    if not text.isprintable():
        return json.dumps(text)  # what a peer says must not reach a terminal as control characters
    return text if text and not set(text) & set(' "=') else json.dumps(text, ensure_ascii=False)
