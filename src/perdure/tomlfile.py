"""A TOML file that a user wrote: read with a bound, counted, parsed; every mistake has its file and line."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias

from perdure.nesting import MAX_DEPTH, line_too_deep, tokens

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection, Iterator

MAX_TEXT_BYTES = 64 * 1024
"""A configuration that sets everything, with a comment each, has 4 KiB; perdure's longest scenario has 1 KiB."""

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys, and the number of the table in an array of tables: `("step", 1, "client", "eth")`."""

_TOO_LONG = f"it has more than {MAX_TEXT_BYTES // 1024} KiB"
_NOT_CLOSED = "a text is not closed"
_HEADER = re.compile(r"\s*\[\[?\s*(.*?)\s*\]")
_EXPECTED_QUOTE = re.compile(r"""Expected "('+)\"""")
_KEYS = re.compile(r"\('(.*?)',?\)")
"""As tomllib writes a dotted key: a tuple of Python."""


class TomlError(ValueError):
    """`file:line: reason`."""


def read_text(path: pathlib.Path) -> str:
    """
    Raises:
        TomlError: it cannot be read, is no regular file, is too long, or is not UTF-8.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe or a device may never end
            raise TomlError(f"{path} cannot be read: it is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise TomlError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_TEXT_BYTES:
        raise TomlError(f"{path}:1: {_TOO_LONG}")
    try:
        return data.decode("utf-8-sig")  # editors on Windows begin a file with U+FEFF
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise TomlError(f"{path}:{line}: it is not UTF-8") from error


def parse(text: str, source: str, *, lists: Collection[str] = ()) -> dict[str, Any]:
    """The tables in `text`; `source` is what errors call the file, `lists` are the keys of lists of tables.

    Raises:
        TomlError: it is too long, nests too deeply, or is no TOML.
    """
    import tomllib

    if len(text.encode(errors="surrogatepass")) > MAX_TEXT_BYTES:
        raise TomlError(f"{source}:1: {_TOO_LONG}")
    deep = line_too_deep(text)
    if deep is not None:
        raise TomlError(f"{source}:{deep}: it is nested too deeply; {MAX_DEPTH} levels are the most")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).rpartition(" (at ")
        line = place.removeprefix("line ").partition(",")[0]
        number = int(line) if line.isdigit() else text.count("\n") + 1
        number, reason = _clearer(reason or str(error), number, text, lists)
        raise TomlError(f"{source}:{number}: {reason}") from error
    except ValueError as error:  # tomllib lets it through; it does not say where
        raise TomlError(f"{source}:1: a number has too many digits") from error


def line_of(text: str, path: KeyPath) -> int:
    """The line, from 1, of the key at `path`, or of the innermost table around it that the text names."""
    best, best_length = 1, 0
    for line, found in _keys(text):
        shared = _shared(found, path)
        if shared > best_length:
            best, best_length = line, shared
    return best


def _keys(text: str) -> Iterator[tuple[int, KeyPath]]:
    """Each header and each key that begins a line, in full, with its line."""
    table: KeyPath = ()
    seen: Counter[KeyPath] = Counter()
    for line, words in _statements(text):
        end = next((place for place, word in enumerate(words) if word in "=]"), len(words))
        names = tuple(word.strip("\"'") for word in words[:end] if word not in "[.")
        if words[0] != "[":
            yield line, (*table, *names)
            continue
        table = names
        if words[1:2] == ["["]:
            table = (*names, seen[names])
            seen[names] += 1
        yield line, table


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """The tokens of each header and each key with its value, and the line where it begins."""
    words: list[str] = []
    first = depth = 0
    for line, token in tokens(text + "\n"):
        depth += (token in "[{") - (token in "]}")
        if token == "\n" and depth <= 0:
            if words:
                yield first, words
            words, depth = [], 0
        elif token != "\n" and not token.startswith("#"):
            first = first if words else line
            words.append(token)


def _shared(found: KeyPath, path: KeyPath) -> int:
    """How many keys both begin with."""
    return next(
        (place for place, (one, other) in enumerate(zip(found, path, strict=False)) if one != other),
        min(len(found), len(path)),
    )


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
