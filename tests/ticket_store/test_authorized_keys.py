"""The file of clients' keys, as it is edited while a gateway serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.keys import key_text
from perdure.ticket_store.authorized_keys import load_authorized_keys, read_authorized_keys

if TYPE_CHECKING:
    from pathlib import Path

ADA, BOB = bytes([1]) * 32, bytes([2]) * 32


def test_the_moment_in_which_an_editor_writes_the_file_shuts_out_nobody(tmp_path: Path) -> None:
    path = tmp_path / "authorized"
    path.write_text(key_text(ADA))
    known = load_authorized_keys(path)
    path.write_text("")
    in_between = read_authorized_keys(path, known)
    assert in_between.keys == {ADA}
    assert not in_between.problem
    path.write_text(key_text(BOB))
    assert read_authorized_keys(path, in_between).keys == {BOB}


def test_a_file_that_stays_empty_admits_nobody_at_the_second_look(tmp_path: Path) -> None:
    path = tmp_path / "authorized"
    path.write_text(key_text(ADA))
    known = load_authorized_keys(path)
    path.write_text("")
    emptied = read_authorized_keys(path, read_authorized_keys(path, known))
    assert emptied.keys == set()
    assert emptied.warning
    assert read_authorized_keys(path, emptied) is emptied
