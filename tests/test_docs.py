"""What the documentation says holds: its programs run, its generated parts are up to date, its links lead somewhere."""

from __future__ import annotations

import ast
import asyncio
import logging
import re
import subprocess
import sys
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

import perdure
from perdure.cli import ExitCode, app
from perdure.configfile import read_file
from perdure.core.decision import Decision, DecisionReason, RecoveryAction, Trigger
from perdure.eventlog import KeyValueFormatter
from perdure.tube.log import log_decision, log_path
from support.pages import DOCS, made
from support.processes import running_rendezvous
from support.targets import echo, serving

ROOT = DOCS.parent
README = ROOT / "README.md"
PAGES = sorted(DOCS.glob("*.md"))
DOCUMENTS = [README, ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", ROOT / "benchmarks" / "README.md", *PAGES]
RECOVERY = DOCS / "recovery.md"


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


# What is made from the code.


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_generated_parts_of_a_page_are_up_to_date(page: Path) -> None:
    text = page.read_text()
    assert made(text) == text, "PYTHONPATH=tests python3 -m support.pages makes them anew"


def test_the_log_line_of_the_page_is_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "perdure.tube"):
        decision = Decision(Trigger.CONNECTION_TIMEOUT, RecoveryAction.WAIT, DecisionReason.BACKOFF, 1, 105.2, at=100.0)
        log_decision("my_tube", decision)
    line = KeyValueFormatter().format(caplog.records[0])
    assert line.partition(" ")[2] in RECOVERY.read_text()


def test_the_line_of_a_path_is_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "perdure.tube"):
        relayed = perdure.Path(True, "udp", "198.51.100.7:50123", "203.0.113.4:40001", None, "turn:turn.example:3478")
        carriers: Any = SimpleNamespace(path_logged=0)
        log_path("my_tube", carriers, relayed)
    line = KeyValueFormatter().format(caplog.records[0])
    assert line.partition(" ")[2] in RECOVERY.read_text()


def test_the_configuration_file_of_the_page_is_taken(tmp_path: Path) -> None:
    for toml in blocks(DOCS / "timers.md", "toml"):
        file = tmp_path / "perdure.toml"
        file.write_text(toml)
        assert read_file(file).values


# Programs.


def test_the_readmes_program_is_the_first_example() -> None:
    assert blocks(README, "python") == [(ROOT / "examples" / "first.py").read_text()]


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda example: example.name)
def test_the_page_of_examples_shows_each(example: Path) -> None:
    assert f'```python\n--8<-- "examples/{example.name}"\n```' in (DOCS / "examples.md").read_text()


def test_the_program_about_recovery_runs() -> None:
    (configured,) = blocks(RECOVERY, "python")
    assert output_of(configured) == ""


def output_of(program: str) -> str:
    """What `program` prints, run as written by a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-"], input=program, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


async def test_the_programs_about_python_run_one_after_another(capsys: pytest.CaptureFixture[str]) -> None:
    async with running_rendezvous() as (_, url), serving(echo) as target:
        names: dict[str, object] = {"port": int(target.rpartition(":")[2])}
        for block in blocks(DOCS / "python.md", "python"):
            await run(block.replace("ws://127.0.0.1:8765", url), names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "b'hello\\n'"
    assert printed[1].startswith("State.CONNECTED Path(is_relayed=False, protocol='udp'")
    for line in "b'all of it'", "b'HELLO'", "b'through a local port\\n'", "127.0.0.1:1 is not allowed", "CONNECTED":
        assert line in printed
    assert r'''b"this is greeter, you said b'hi\\n'\n"''' in printed


async def test_the_programs_about_own_signaling_run_one_after_another(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    page = DOCS / "own-signaling.md"
    for block in blocks(page, "python"):
        await run(block, names)
    (decided,) = blocks(page, "text")
    greetings = ["b'hello\\n'", "b'still the same stream\\n'"]
    assert capsys.readouterr().out.splitlines() == [*greetings, *decided.splitlines(), "for a new start"]


async def run(block: str, names: dict[str, object]) -> None:
    """Run a block as `python -m asyncio` would."""
    code: CodeType = compile(block, "<block>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with asyncio.timeout(30):
        result = eval(code, names)
        if result is not None:
            await result


# Commands.


def test_help_and_readme_say_the_same_commands() -> None:
    printed = CliRunner().invoke(app, ["--help"]).output
    shown = [line.strip() for line in printed.splitlines() if line.strip().startswith("perdure ")]
    assert [command.split()[1] for command in shown] == ["rendezvous", "serve", "connect"]
    readme = README.read_text()
    assert all(command in readme for command in shown)


@pytest.mark.parametrize("name", ["rendezvous", "serve", "connect"])
def test_the_page_of_commands_names_every_option(name: str) -> None:
    page = (DOCS / "commands.md").read_text()
    command = app.get_command(click.Context(app), name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert any(f"{spelling} " in page or f"{spelling}`" in page for spelling in parameter.opts), parameter.name


def test_the_page_of_commands_names_every_exit_code() -> None:
    page = (DOCS / "commands.md").read_text()
    for code in ExitCode:
        assert f"\n| {code.value} |" in page


def test_the_page_about_python_names_every_error() -> None:
    page = (DOCS / "python.md").read_text()
    for name in perdure.__all__:
        if name.endswith("Error"):
            assert f"`{name}`" in page


def test_the_first_command_about_tickets_makes_one_where_no_gateway_has_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = blocks(DOCS / "tickets.md", "sh")[0].split()
    done = CliRunner().invoke(app, [*first[1:], "--state-dir", str(tmp_path / "state")])
    assert done.exit_code == 0, done.output
    assert perdure.parse_ticket((tmp_path / "ada.ticket").read_text(), now=0).rendezvous_url.startswith("wss://")


# Links.


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: f"{document.parent.name}-{document.name}")
def test_a_relative_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path) if path else document
        assert there.is_file(), f"{document.name} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{document.name} links to {target}"


def anchors(document: Path) -> set[str]:
    """The headings' names in a link, as GitHub and the site make them; also of a file that the page shows whole."""
    text = re.sub(r'^--8<-- "(.*)"$', lambda shown: (ROOT / shown[1]).read_text(), document.read_text(), flags=re.M)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_site_has_every_page() -> None:
    configuration = (ROOT / "mkdocs.yml").read_text()
    for page in PAGES:
        assert f": {page.name}\n" in configuration
