"""How deeply a TOML or JSON text nests, bounded by counting before a parser recurses into it. Pure.

1. Up to the first mistake in a TOML text, `tokens` splits it as a parser would; behind it neither counts.
2. Arrays and tables may nest `MAX_DEPTH` deep, and a dotted TOML key may have as many parts: tomllib takes time and
   memory with the square of that number (64 KiB of `a.a.a…` takes 3 GiB).
3. A JSON text, which comes from a peer, may hold `MAX_JSON_PARTS` arrays and objects, however they nest: that takes no
   loop over its brackets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 16
"""What perdure reads nests 4 deep. 16 leaves room for fields of later versions, far below any recursion limit."""

MAX_JSON_PARTS = 64
"""A message of perdure is one object."""

_TOKEN = re.compile(
    r'''
      """ (?: [^"\\] | \\. | "(?!"") )*+ "{0,5}     # a text over several lines; the last quotes may be part of it
    | \'\'\' (?: [^'] | '(?!'') )*+ '{0,5}
    | " (?: [^"\\\n] | \\[^\n] )*+ "?               # one that is not closed ends with its line
    | ' [^'\n]*+ '?
    | \# [^\n]*+
    | [\w+:-]++                                     # a bare key, a number, a date, a word
    | [\[\]{}.=,\n]
    ''',
    re.VERBOSE | re.DOTALL,
)

_JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


def tokens(text: str) -> Iterator[tuple[int, str]]:
    """The parts of `text`, each with its line from 1; what no parser takes is left out."""
    line = 1
    for match in _TOKEN.finditer(text):
        yield line, match[0]
        line += match[0].count("\n")


def line_too_deep(text: str) -> int | None:
    """The line at which `text` nests too deeply; `None`: nowhere."""
    depth = dots = 0
    for line, token in tokens(text):
        match token[0]:
            case "[" | "{":
                depth, dots = depth + 1, 0
            case "]" | "}":
                depth, dots = depth - 1, 0
            case ".":
                dots += 1
            case "=" | "," | "\n":
                dots = 0
        if depth > MAX_DEPTH or dots >= MAX_DEPTH:
            return line
    return None


def check_json(data: str | bytes) -> None:
    """
    Raises:
        ValueError: the JSON in `data` holds more arrays and objects than any message.
    """
    text = data if isinstance(data, str) else data.decode("latin-1")
    if _parts(text) > MAX_JSON_PARTS and _parts(_JSON_TEXT.sub("", text)) > MAX_JSON_PARTS:
        raise ValueError(f"it holds more than {MAX_JSON_PARTS} arrays and objects")


def _parts(text: str) -> int:
    return text.count("[") + text.count("{")
