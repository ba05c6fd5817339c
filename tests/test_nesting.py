"""How deeply a text nests is counted as a parser would count it, before one is let near it."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.nesting import MAX_DEPTH, MAX_JSON_PARTS, check_json, line_too_deep

DEEP = "[" * 60_000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = " + "[" * MAX_DEPTH + "]" * MAX_DEPTH, None),
        ("a = 1\nb = " + "[" * (MAX_DEPTH + 1), 2),
        ("b = [\n" * (MAX_DEPTH + 1), MAX_DEPTH + 1),
        ("a = " + "{ b = " * (MAX_DEPTH + 1), 1),
        ("[a]\n[b]\n" * 100, None),
        (".".join("a" * MAX_DEPTH) + " = 1", None),
        (".".join("a" * (MAX_DEPTH + 1)) + " = 1", 1),
        ("\n[" + ". ".join(["a", "'b'", '"c"'] * MAX_DEPTH) + "]", 2),
        ("a = [" + "1.5, " * 1000 + "]", None),
        ("a = 1.5\n" * 1000, None),
        (f'# {DEEP}\na = \'{DEEP}\'\nb = "\\"{DEEP}"\n', None),
        (f'a = \'\'\'\n\'\' {DEEP}\'\'\'\nb = """\n\\""" {DEEP}"""\nc = 1', None),
        (f"a = '''x''''' # {DEEP}", None),
        (f"a = '''x'''''\nb = {DEEP}", 2),
        (f'a = "\nb = {DEEP}', 2),
        (f'a = """\n{DEEP}', None),
    ],
)
def test_brackets_and_dots_count_where_they_are_none_of_a_text_or_a_comment(text: str, line: int | None) -> None:
    assert line_too_deep(text) == line


@pytest.mark.parametrize("data", [DEEP, '{"a":' * 60_000, '{"a":"\\"", "b":' + DEEP, '{"":[' * 100, "[" + "[]," * 64])
def test_json_of_many_parts_is_refused_whether_text_or_bytes(data: str) -> None:
    for each in (data, data.encode()):
        with pytest.raises(ValueError, match="it holds more than 64 arrays and objects"):
            check_json(each)


@given(st.text(), st.binary(max_size=MAX_JSON_PARTS))
def test_json_of_few_parts_passes_whatever_its_texts_hold(text: str, data: bytes) -> None:
    check_json(json.dumps({text: [text + DEEP, {"b": DEEP + text}]}))
    check_json(data)


def depth(value: Any) -> int:
    """How deeply lists and tables nest; none has more than one value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, inner), default=0) if isinstance(value, list | dict) else 0


SNIPPETS = ["[", "]", "{", "}", ".", "=", ",", "\n", "#", "'", '"', "'''", '"""', "\\", "a", "b", "1", " ", ":"]


REPEATED = st.tuples(st.sampled_from(SNIPPETS), st.sampled_from([1, 1, 1, 2, MAX_DEPTH, 2 * MAX_DEPTH]))


@given(st.lists(REPEATED, max_size=30).map(lambda parts: "".join(part * times for part, times in parts)))
def test_what_a_parser_takes_and_counting_lets_through_is_no_deeper_than_was_counted(text: str) -> None:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        table = {}
    if line_too_deep(text) is None:
        assert depth(table) <= (MAX_DEPTH + 1) * MAX_DEPTH
    try:
        check_json(text)
        value = msgspec.json.decode(text)
    except ValueError:
        return
    assert depth(value) <= MAX_JSON_PARTS
