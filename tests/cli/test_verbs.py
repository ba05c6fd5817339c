"""Where `perdure` finds its verbs: its own, and those that installed packages name as entry points."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from perdure import __version__

if TYPE_CHECKING:
    from pathlib import Path

VERBS = (
    "rendezvous",
    "serve",
    "connect",
    "ticket",
    "clients",
    "gateway-key",
    "client-key",
    "config",
    "conformance",
    "demo",
    "lab",
    "simulate",
)

ADDED = """
import click

@click.command(short_help="Say good day.")
@click.argument("name")
def greet(name):
    click.echo(f"Good day, {name}.")

def plain():
    pass
"""


def perdure(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    command = [sys.executable, "-m", "perdure", *arguments]
    env = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


def package(folder: Path, entries: str) -> str:
    """Install a package `added` with these entry points in `folder`; the PYTHONPATH that finds it."""
    info = folder / "added-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: added\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[perdure.commands]\n{entries}\n")
    (folder / "added.py").write_text(ADDED)
    (folder / "raises.py").write_text("raise RuntimeError('it needs\\na newer kernel')\n")
    (folder / "exits.py").write_text("raise SystemExit(7)\n")
    return str(folder)


def test_help_lists_every_verb_with_what_it_does() -> None:
    listed = perdure("--help").stdout
    for verb in VERBS:
        assert f"\n  {verb} " in listed
    assert "Play thousands of bad networks in virtual time." in listed


def test_help_loads_nothing_that_only_a_verb_needs() -> None:
    program = (
        "import json, sys\n"
        "from perdure.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(json.loads(shown.stdout.splitlines()[-1]))
    assert "perdure.cli.verbs" in loaded
    assert not loaded & {"asyncio", "cryptography", "msgspec", "perdure.cli.serve", "perdure.ticket", "rich", "wrtc"}
    assert not {name for name in loaded if name.startswith(("perdure_lab.lab", "perdure_lab.sim", "perdure_lab.demo"))}


def test_an_installed_package_adds_a_verb(tmp_path: Path) -> None:
    path = package(tmp_path, "greet = added:greet")
    assert "greet        Say good day.\n" in perdure("-h", PYTHONPATH=path).stdout
    assert perdure("greet", "Ada", PYTHONPATH=path).stdout == "Good day, Ada.\n"


def test_an_installed_package_replaces_no_verb_of_perdures_own(tmp_path: Path) -> None:
    path = package(tmp_path, "serve = added:greet")
    assert "Say good day." not in perdure("-h", PYTHONPATH=path).stdout
    assert "--rendezvous URL" in perdure("serve", "-h", PYTHONPATH=path).stdout


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("raises:verb", "RuntimeError: it needs a newer kernel"),
        ("exits:verb", "SystemExit: 7"),
        ("no_such_module:verb", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("added:nothing", "AttributeError: module 'added' has no attribute 'nothing'"),
        ("added:plain", "added:plain is not a click command"),
    ],
)
def test_a_verb_that_cannot_be_loaded_is_named_and_breaks_no_other(tmp_path: Path, entry: str, why: str) -> None:
    path = package(tmp_path, f"broken = {entry}")
    listed = perdure("--help", PYTHONPATH=path)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "\n  broken       (cannot be loaded; `perdure broken` says why)\n" in listed.stdout
    for verb in VERBS:
        assert f"\n  {verb} " in listed.stdout
    assert perdure("config", "show", PYTHONPATH=path).stderr == ""
    for arguments in ([], ["--help"], ["a", "--b"]):
        told = perdure("broken", *arguments, PYTHONPATH=path)
        expected = f"perdure: the command 'broken' of the package 'added' cannot be loaded: {why}\n"
        assert (told.returncode, told.stdout, told.stderr) == (1, "", expected)


def test_a_verb_that_nobody_has_is_a_usage_error(tmp_path: Path) -> None:
    told = perdure("explode", PYTHONPATH=package(tmp_path, "broken = raises:verb"))
    assert (told.returncode, told.stdout) == (2, "")
    assert "No such command 'explode'" in told.stderr


@pytest.mark.parametrize("arguments", [(), ("lab",), ("config",)])
def test_without_a_verb_the_help_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    told = perdure(*arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert "Usage: " in told.stderr
    assert "\nCommands:\n" in told.stderr


def test_the_version_is_shown() -> None:
    assert perdure("--version").stdout == f"perdure {__version__}\n"


def completed(path: str, words: str, position: int) -> list[str]:
    """What bash is offered for the word at `position`."""
    asked = {"_PERDURE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    program = "import sys; sys.argv[0] = 'perdure'; from perdure.cli import main; main()"
    command, env = [sys.executable, "-c", program], os.environ | asked | {"PYTHONPATH": path}
    offered = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=env)
    assert offered.stderr == ""
    return offered.stdout.splitlines()


def test_a_shell_completes_verbs_and_options(tmp_path: Path) -> None:
    path = package(tmp_path, "broken = raises:verb\nsecond = added:greet")
    assert completed(path, "perdure se", 1) == ["plain,serve", "plain,second"]
    assert completed(path, "perdure br", 1) == ["plain,broken"]
    assert completed(path, "perdure serve --rend", 2) == ["plain,--rendezvous"]
