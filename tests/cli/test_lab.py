"""`perdure lab run`: mistakes that show before anything is run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from perdure.scenario.library import text_of
from support.processes import output_of

if sys.platform != "linux":
    pytest.skip("the lab is made of Linux' network namespaces", allow_module_level=True)

SCENARIO = 'title = "Own"\ntext = "Nothing happens."\nseconds = 3\n'
SUBJECT = "gateway = 'x'\nclient = 'y'\n"


async def refusal(*arguments: str) -> str:
    program = await output_of("lab", "run", *arguments)
    assert program.process.returncode == 2, program.said
    return " ".join(program.stderr.text.replace("│", " ").split())


@pytest.mark.parametrize("beside", ["black-hole", "all"])
async def test_a_file_does_not_take_the_name_of_another_scenario_that_was_named(tmp_path: Path, beside: str) -> None:
    path = tmp_path / "black-hole.toml"
    path.write_text(SCENARIO)
    expected = "another scenario that was named is 'black-hole' too"
    assert expected in await refusal(beside, str(path))
    assert expected in await refusal(str(path), beside)


async def test_a_scenario_may_be_named_twice(tmp_path: Path) -> None:
    path = tmp_path / "black-hole.toml"
    path.write_text(text_of("black-hole"))
    assert "there is no scenario 'none'" in await refusal("all", "black-hole", str(path), "none")


async def test_a_scenario_that_is_too_long_is_called_so_also_where_its_bound_is_within_a_letter(tmp_path: Path) -> None:
    path = tmp_path / "long.toml"
    path.write_text(SCENARIO + "#" * (64 * 1024 - len(SCENARIO)) + "ä", "utf-8")
    assert f"{path}:1: it has more than 64 KiB" in await refusal(str(path))


@pytest.mark.parametrize("name", ["perdure", "ssh"])
async def test_a_program_does_not_take_a_name_that_the_lab_knows(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.toml"
    path.write_text(SUBJECT)
    assert f"the name '{name}' is taken" in await refusal("black-hole", "--peer", str(path))
    assert f"the name '{name}' is taken" in await refusal("black-hole", "--only-peers", "--peer", str(path))


async def test_perdure_is_no_peer_of_its_own() -> None:
    for options in (["--peer", "perdure"], ["--only-peers", "--peer", "perdure"]):
        assert "there is no peer 'perdure'; there is keeper, wrtc, fowl, ssh" in await refusal("black-hole", *options)


async def test_two_programs_do_not_have_one_name(tmp_path: Path) -> None:
    first, second = tmp_path / "own.toml", tmp_path / "other.toml"
    first.write_text(SUBJECT)
    second.write_text("name = 'own'\n" + SUBJECT.replace("'y'", "'z'"))
    peers = ("--peer", str(first), "--peer", str(first), "--peer", str(second))
    assert "the name 'own' is taken" in await refusal("black-hole", *peers)
