"""A user's file: what is read of it, and what is refused with its line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from perdure.tomlfile import MAX_TEXT_BYTES, KeyPath, TomlError, line_of, parse, read_text

BOM = b"\xef\xbb\xbf"


def write(folder: Path, data: bytes) -> Path:
    path = folder / "own.toml"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("mark", [b"", BOM])
def test_a_file_of_the_greatest_length_is_read_whole(tmp_path: Path, mark: bytes) -> None:
    text = "x" * (MAX_TEXT_BYTES - len(mark))
    assert read_text(write(tmp_path, mark + text.encode())) == text


@pytest.mark.parametrize(
    "data",
    [
        b"x" * (MAX_TEXT_BYTES + 1),
        BOM + b"x" * (MAX_TEXT_BYTES - 2),
        b"x" * MAX_TEXT_BYTES + "ä".encode(),
    ],
)
def test_one_that_is_longer_is_refused_and_not_cut(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path, data)
    with pytest.raises(TomlError) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}:1: it has more than 64 KiB"


@pytest.mark.parametrize("mark", [b"", BOM])
def test_what_is_not_utf_8_is_told_with_its_line(tmp_path: Path, mark: bytes) -> None:
    path = write(tmp_path, mark + b"\n\nx = '\xff'\n")
    with pytest.raises(TomlError) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}:3: it is not UTF-8"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TomlError, match=r"none\.toml cannot be read: No such file"):
        read_text(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".".join("a" * 32_000) + " = 1", "own.toml:1: it is nested too deeply; 16 levels are the most"),
        ("a = 1\nb = " + "{c=" * 20_000, "own.toml:2: it is nested too deeply; 16 levels are the most"),
        ("x" * (MAX_TEXT_BYTES + 1), "own.toml:1: it has more than 64 KiB"),
        ("a = 1\nb = \n", "own.toml:2: Invalid value"),
        ("a = " + "9" * 5000, "own.toml:1: a number has too many digits"),
        ("[a]\n[a]\n", "own.toml:2: Cannot declare a twice"),
    ],
)
def test_what_is_no_toml_or_costs_too_much_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(TomlError) as caught:
        parse(text, "own.toml")
    assert str(caught.value) == message


TEXT = '''\
head = 1
"quoted.key" = """
[no.table]
head = 2
"""
list = [ # a comment
    1,
]
[[step]]
at = 1
[[step]]
at = 2
client.eth = { up = true }
[ other . table ]
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("head",), 1),
        (("quoted.key",), 2),
        (("list", 0), 6),
        (("step", 0, "at"), 10),
        (("step", 1), 11),
        (("step", 1, "client", "eth", "up"), 13),
        (("step", 1, "missing"), 11),
        (("other", "table"), 14),
        (("nowhere",), 1),
    ],
)
def test_a_key_is_found_at_its_line_or_at_that_of_the_innermost_table_around_it(path: KeyPath, line: int) -> None:
    assert tomllib.loads(TEXT)
    assert line_of(TEXT, path) == line
