"""A TOML file that a user wrote: its text and its tables, and every mistake with its file and line."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from perdure_lab.scenario.reading import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

MAX_TEXT_BYTES = 64 * 1024
"""The longest scenario that comes with perdure has 1 KiB."""

_TOO_LONG = f"it has more than {MAX_TEXT_BYTES // 1024} KiB"
_NOT_CLOSED = "a text is not closed"
_HEADER = re.compile(r"\s*\[\[?\s*(.*?)\s*\]")
_EXPECTED_QUOTE = re.compile(r"""Expected "('+)\"""")
_KEYS = re.compile(r"\('(.*?)',?\)")
"""As tomllib writes a dotted key: a tuple of Python."""


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


def document(text: str, source: str, *, lists: Collection[str] = ()) -> dict[str, Any]:
    """The tables in `text`; `source` is what errors call the file, `lists` are the keys of lists of tables.

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
        number = int(line) if line.isdigit() else text.count("\n") + 1
        number, reason = _clearer(reason or str(error), number, text, lists)
        raise ScenarioError(f"{source}:{number}: {reason}") from error
    except (RecursionError, ValueError) as error:
        raise ScenarioError(f"{source}:1: it is nested too deeply, or a number has too many digits") from error


def _clearer(reason: str, number: int, text: str, lists: Collection[str]) -> tuple[int, str]:
    """The line and the reason that tomllib gives, or the author's mistake, where those speak of what it led to."""
    if reason.startswith(("Cannot declare ", "Cannot overwrite ")):
        header = _HEADER.match(text.split("\n")[number - 1])
        if header and header[1] in lists:
            return number, f"{header[1]} is a list of tables; write [[{header[1]}]], with two brackets, each time"
    if reason in (r"Illegal character '\n'", r"Found invalid character '\n'"):
        return number, _NOT_CLOSED
    if reason == "Unterminated string":
        return number, f"{_NOT_CLOSED} before the file ends"
    if quote := _EXPECTED_QUOTE.fullmatch(reason):  # told at the end; the last one in the text is that which opened
        return text.count("\n", 0, text.rfind(quote[1])) + 1, _NOT_CLOSED
    return number, _KEYS.sub(lambda keys: keys[1].replace("', '", "."), reason)
