"""One line an event, for people and for machines."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta

import pytest

from perdure.eventlog import Field, JsonFormatter, KeyValueFormatter, log_event


class Lines(logging.Handler):
    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def logged(formatter: logging.Formatter, **fields: Field) -> str:
    logger = logging.Logger("perdure.test", logging.INFO)
    lines = Lines(formatter)
    logger.addHandler(lines)
    log_event(logger, logging.INFO, "something-happened", **fields)
    return lines.lines[0]


def test_a_person_reads_names_and_values() -> None:
    line = logged(KeyValueFormatter(), tube="1f3a", reason="the carrier was lost", outage_ms=12.50, again=True)
    assert line.endswith('INFO something-happened tube=1f3a reason="the carrier was lost" outage_ms=12.5 again=True')


def test_a_line_says_when_with_the_date_and_the_zone() -> None:
    before = datetime.now(UTC)
    at = datetime.fromisoformat(logged(KeyValueFormatter()).partition(" ")[0])
    assert at.utcoffset() is not None
    assert before - timedelta(milliseconds=1) <= at <= datetime.now(UTC)


@pytest.mark.parametrize("value", ['say "no"', "two\nlines", "a=b", "", "tab\there", "\x1b[2J", "\x9b1m"])
def test_a_value_never_breaks_the_line_or_the_quotes(value: str) -> None:
    line = logged(KeyValueFormatter(), why=value)
    assert line.isprintable()
    assert json.loads(line.partition("why=")[2]) == value


def test_a_machine_reads_one_object_a_line() -> None:
    line = logged(JsonFormatter(), tube="1f3a", why='two\n"lines"', count=3)
    assert "\n" not in line
    read = json.loads(line)
    assert read["event"] == "something-happened"
    assert read["level"] == "INFO"
    assert (read["tube"], read["why"], read["count"]) == ("1f3a", 'two\n"lines"', 3)


def test_an_exception_is_part_of_the_object() -> None:
    logger = logging.Logger("perdure.test")
    lines = Lines(JsonFormatter())
    logger.addHandler(lines)
    try:
        raise ValueError("oh")
    except ValueError:
        logger.exception("failed")
    assert "ValueError: oh" in json.loads(lines.lines[0])["exception"]


def test_an_applications_own_logging_shows_the_fields_too(caplog: pytest.LogCaptureFixture) -> None:
    # Found by a newcomer: with `logging.basicConfig` a line was nothing but its name.
    log_event(logging.getLogger("perdure.test"), logging.WARNING, "tube-state", tube="1f3a", reason="it was closed")
    assert caplog.messages == ['tube-state tube=1f3a reason="it was closed"']


def test_what_an_application_raised_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    log_event(logging.getLogger("perdure.test"), logging.WARNING, "callback-failed", ValueError("mine"))
    assert "ValueError: mine" in caplog.text
