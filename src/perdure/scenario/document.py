"""A TOML file that a user wrote: its text and its tables, and every mistake with its file and line."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from perdure.scenario.reading import ScenarioError

if TYPE_CHECKING:
    from pathlib import Path

MAX_TEXT_BYTES = 64 * 1024
"""The longest scenario that comes with perdure has 1 KiB."""

_TOO_LONG = f"it has more than {MAX_TEXT_BYTES // 1024} KiB"


def read_text(path: Path) -> str:
    """
    Raises:
        ScenarioError: it cannot be read, is too long, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_TEXT_BYTES:
        raise ScenarioError(f"{path}:1: {_TOO_LONG}")
    try:
        return data.decode("utf-8-sig")  # editors on Windows begin a file with U+FEFF
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ScenarioError(f"{path}:{line}: it is not UTF-8") from error


def document(text: str, source: str) -> dict[str, Any]:
    """The tables in `text`; `source` is what errors call the file.

    Raises:
        ScenarioError: it is too long, or no TOML.
    """
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise ScenarioError(f"{source}:1: {_TOO_LONG}")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).rpartition(" (at ")
        line = place.removeprefix("line ").partition(",")[0]
        number = line if line.isdigit() else str(text.count("\n") + 1)
        raise ScenarioError(f"{source}:{number}: {reason or error}") from error
    except (RecursionError, ValueError) as error:
        raise ScenarioError(f"{source}:1: it is nested too deeply, or a number has too many digits") from error
