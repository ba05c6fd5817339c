"""A user's file: what is read of it, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure_lab.scenario.document import MAX_TEXT_BYTES, read_text
from perdure_lab.scenario.reading import ScenarioError

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
    with pytest.raises(ScenarioError) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}:1: it has more than 64 KiB"


@pytest.mark.parametrize("mark", [b"", BOM])
def test_what_is_not_utf_8_is_told_with_its_line(tmp_path: Path, mark: bytes) -> None:
    path = write(tmp_path, mark + b"\n\nx = '\xff'\n")
    with pytest.raises(ScenarioError) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}:3: it is not UTF-8"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none\.toml cannot be read: No such file"):
        read_text(tmp_path / "none.toml")
