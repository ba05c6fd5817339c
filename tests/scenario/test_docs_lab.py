"""What docs/lab.md prints, held against the code: its files are taken, and nothing that a file may say is missing."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from perdure_lab.cli.lab import lab
from perdure_lab.lab.subject import filled, read_subject
from perdure_lab.scenario.expectation import STATES, Expectation
from perdure_lab.scenario.model import Cut, Link, Nat, ProcessAction, Traffic
from perdure_lab.scenario.parse import parse_scenario

PAGE = (Path(__file__).parents[2] / "docs" / "lab.md").read_text()
FILES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SUBJECTS = [text for text in FILES if text.startswith("name =")]
SCENARIOS = [text for text in FILES if text.startswith("title =")]


def test_each_toml_block_is_a_scenario_or_a_program() -> None:
    assert len(SCENARIOS) + len(SUBJECTS) == len(FILES) == 4


@pytest.mark.parametrize("text", SCENARIOS)
def test_a_scenario_of_the_page_is_taken_and_measures_something(text: str) -> None:
    scenario = parse_scenario(text, source="docs/lab.md", name="own")
    assert any(step.measured for step in scenario.steps)


@pytest.mark.parametrize("text", SUBJECTS)
def test_a_program_of_the_page_is_taken(text: str, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    assert f'name = "{read_subject(file).name}"' in text


def test_the_page_names_every_key_and_word_of_a_scenario() -> None:
    keys = {field.name for kind in (Link, Traffic, Expectation) for field in fields(kind)}
    for word in [*keys, *Nat, *Cut, *ProcessAction, *STATES]:
        assert f"`{word}`" in PAGE or f'"{word}"' in PAGE, word
    whole = tomllib.loads(max(SCENARIOS, key=len))
    more = {
        "short_seconds",
        "relay",
        "policy_routes",
        "late_running",
        "busy",
        "every",
        "times",
        "text",
        "measure",
        "mapping",
        "process",
        "clock",
    }
    assert keys | more <= set(keys_of(whole)), "the page has a scenario that has every key"


def keys_of(value: object) -> Iterator[str]:
    """Every key, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner)


def test_what_the_page_says_is_filled_in_is_filled_in() -> None:
    named = set(re.findall(r"`\{(\w+)\}`", PAGE))
    assert {"target", "port", "directory", "python"} <= named
    for name in named:
        (word,) = filled((f"{{{name}}}",), directory="/here", target_port=1)
        assert "{" not in word


def test_the_pages_list_is_what_lab_list_prints() -> None:
    printed = CliRunner().invoke(lab, ["list"]).output
    assert f"```text\n{printed}```" in PAGE
