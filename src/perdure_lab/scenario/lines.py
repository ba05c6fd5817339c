"""Where in a TOML text a key stands: tomllib does not say, and an error without its line is half an error."""

from __future__ import annotations

import re
from collections import Counter

Path = tuple[str | int, ...]
"""Keys, and the number of the table in an array of tables: `("step", 1, "client", "eth")`."""

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


def line_of(text: str, path: Path) -> int:
    """The line, from 1, of the key at `path`, or of the innermost table around it that the text names."""
    best, best_length = 1, 0
    for number, found in _keys(text):
        shared = _shared(found, path)
        if shared > best_length:
            best, best_length = number, shared
    return best


def _keys(text: str) -> list[tuple[int, Path]]:
    table: Path = ()
    seen: Counter[str] = Counter()
    keys: list[tuple[int, Path]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            name = header[2]
            table = _split(name)
            if header[1] == "[[":
                table = (*table, seen[name])
                seen[name] += 1
            keys.append((number, table))
        elif key := _KEY.match(line):
            keys.append((number, (*table, *_split(key[1]))))
    return keys


def _split(dotted: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in re.findall(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""", dotted))


def _shared(found: Path, path: Path) -> int:
    """How many keys both begin with."""
    common = 0
    for one, other in zip(found, path, strict=False):
        if one != other:
            break
        common += 1
    return common
