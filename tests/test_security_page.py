"""What docs/security.md refers to exists: each attack's test by its name, each kind of hostile peer, each harness."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from fuzz.harnesses import HARNESSES, PEER_MILLISECONDS

from perdure_lab.hostile.attacks import Kind
from support.pages import DOCS, cells

TEXT = (DOCS / "security.md").read_text()

NAMED = re.compile(r"`(tests/[\w/]+\.py)`(?::\s((?:`test_\w+`(?:, )?)+))?")
"""A file, and tests in it."""


def rows(heading: str) -> list[list[str]]:
    """The cells of each row of the tables that begin with the column `heading`."""
    tables = re.findall(rf"^\| {heading} \|.*\n\| ---.*\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    return [cells(line) for table in tables for line in table.splitlines()]


ATTACKS = rows("it tries")


@cache
def known_tests(file: str) -> set[str]:
    parsed = ast.walk(ast.parse((DOCS.parent / file).read_text()))
    return {each.name for each in parsed if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_there_is_a_table_for_each_attacker() -> None:
    assert len(ATTACKS) > 50


@pytest.mark.parametrize("row", ATTACKS, ids=lambda row: row[0][:40])
def test_each_attack_has_a_defence_and_its_test_by_name(row: list[str]) -> None:
    _, defence, tests = row
    assert defence
    assert any(names for _, names in NAMED.findall(tests))


def test_each_test_that_is_named_exists() -> None:
    for file, names in NAMED.findall(TEXT):
        assert names, f"which test of {file}?"
        missing = set(re.findall(r"test_\w+", names)) - known_tests(file)
        assert not missing, f"{file} has no {missing}"


def test_each_kind_of_hostile_peer_that_is_named_exists() -> None:
    for named in re.findall(r"`perdure_lab\.hostile`: ((?:`[\w-]+`(?:, )?)+)", TEXT):
        assert set(re.findall(r"[\w-]+", named)) <= {kind.value for kind in Kind}


def test_the_table_of_what_is_fuzzed_has_each_harness_once_with_its_bound() -> None:
    found = [(name, reads) for names, reads in rows("harness") for name in re.findall(r"`([\w-]+)`", names)]
    assert sorted(name for name, _ in found) == sorted(HARNESSES)
    for name, reads in found:
        bound = HARNESSES[name].max_milliseconds
        assert (f"less than {bound:,.0f} ms" in reads) is (bound != PEER_MILLISECONDS)
    assert f"less than {PEER_MILLISECONDS:.0f} ms" in TEXT
