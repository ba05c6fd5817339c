"""One line an event: a name and its fields, for people (key=value) and for machines (JSON)."""

from __future__ import annotations

import json
import logging

Field = str | int | float | bool | None


def log_event(logger: logging.Logger, level: int, name: str, **fields: Field) -> None:
    """Log `name` with `fields`. Secrets and tickets are never fields."""
    if logger.isEnabledFor(level):
        logger.log(level, "%s", name, extra={"perdure_fields": fields})


class KeyValueFormatter(logging.Formatter):
    """`12:00:01.234 INFO tube-state tube=1f3a before=connected after=reconnecting reason="the carrier was lost"`."""

    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields: dict[str, Field] = getattr(record, "perdure_fields", {})
        return " ".join([super().formatMessage(record), *(f"{key}={_shown(value)}" for key, value in fields.items())])


class JsonFormatter(logging.Formatter):
    """`{"time": 1763856000.25, "level": "INFO", "event": "tube-state", "tube": "1f3a", …}`; time in Unix seconds."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Field] = {
            "time": round(record.created, 4),
            "level": record.levelname,
            "event": record.getMessage(),
        }
        line |= getattr(record, "perdure_fields", {})
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
