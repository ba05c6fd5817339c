"""`perdure lab run`: mistakes that show before anything is run, and Ctrl-C."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from perdure_lab.lab.tools import LabError, check
from perdure_lab.peers.subjects import PEERS
from perdure_lab.scenario.library import text_of
from support.processes import output_of, running
from support.signaling import eventually

if sys.platform != "linux":
    pytest.skip("the lab is made of Linux' network namespaces", allow_module_level=True)

SCENARIO = 'title = "Own"\ntext = "Nothing happens."\nseconds = 3\n'
LAB_TIMEOUT = 60.0
"""Seconds for a short run, or for the programs of one to start, where other runs keep the machine busy."""

SUBJECT = "gateway = 'x'\nclient = 'y'\n"


def reason_against() -> str:
    try:
        check()
    except LabError as error:
        return str(error)
    return ""


needs_namespaces = pytest.mark.skipif(bool(reason_against()), reason=reason_against() or "it runs here")


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
        assert "there is no peer 'perdure'; there are keeper, wrtc, fowl, ssh" in await refusal("black-hole", *options)


async def test_the_help_names_every_peer_that_the_lab_knows() -> None:
    program = await output_of("lab", "run", "--help")
    shown = " ".join(program.stdout.text.replace("│", " ").split())
    assert f"one that the lab knows ({', '.join(sorted(PEERS))})" in shown


async def test_two_programs_do_not_have_one_name(tmp_path: Path) -> None:
    first, second = tmp_path / "own.toml", tmp_path / "other.toml"
    first.write_text(SUBJECT)
    second.write_text("name = 'own'\n" + SUBJECT.replace("'y'", "'z'"))
    peers = ("--peer", str(first), "--peer", str(first), "--peer", str(second))
    assert "the name 'own' is taken" in await refusal("black-hole", *peers)


@pytest.mark.parametrize("option", ["--json", "--html"])
async def test_a_file_that_cannot_be_written_is_refused_before_the_first_run(tmp_path: Path, option: str) -> None:
    assert f"{tmp_path} cannot be written: Is a directory" in await refusal("black-hole", option, str(tmp_path))
    assert "/proc/x cannot be written: No such file or directory" in await refusal("black-hole", option, "/proc/x")


async def test_trying_whether_a_file_can_be_written_leaves_it_as_it_was(tmp_path: Path) -> None:
    kept, new, link = tmp_path / "kept.json", tmp_path / "new.html", tmp_path / "link.html"
    kept.write_text("of an earlier run")
    link.symlink_to(new)
    for html in (new, link):
        await refusal("no-such", "--json", str(kept), "--html", str(html))
        assert kept.read_text() == "of an earlier run"
        assert not new.exists()
    assert link.is_symlink()


async def test_the_page_does_not_overwrite_the_json(tmp_path: Path) -> None:
    both = tmp_path / "lab"
    refused = await refusal("black-hole", "--json", str(both), "--html", str(tmp_path / "." / "lab"))
    assert f"{both} is the file of --json too" in refused
    assert not both.exists()


async def test_the_usage_says_that_several_may_be_named() -> None:
    assert "[NAME|all|FILE]..." in (await output_of("lab", "run", "--help")).stdout.text


@needs_namespaces
async def test_a_lab_that_is_interrupted_in_its_first_run_says_so(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    async with running("lab", "run", "black-hole", "--logs", str(logs), "--json", str(tmp_path / "json")) as lab:
        await eventually(lambda: logs.is_dir() and any(logs.iterdir()), seconds=LAB_TIMEOUT)
        lab.process.send_signal(signal.SIGINT)
        assert await lab.ended() == 130
        assert lab.stdout.text == "interrupted before a run had ended"


@needs_namespaces
async def test_a_lab_that_is_interrupted_later_says_how_far_it_came_and_its_page_how_to_repeat_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(SCENARIO)
    async with running("lab", "run", str(path), "--repeat", "3", "--html", str(tmp_path / "page")) as lab:
        await lab.says("own, perdure, run 1: ", timeout=LAB_TIMEOUT)
        lab.process.send_signal(signal.SIGINT)
        assert await lab.ended() == 130
        assert lab.stdout.seen[-1] == "interrupted: 1 of 3 runs"
        assert f"perdure lab run {path}<" in (tmp_path / "page").read_text()
