"""`perdure config show` prints what a command would use, and docs/timers.md is what it makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from perdure.cli import app
from perdure.configfile import TABLES
from perdure.fields import settings_of
from support.processes import running, running_rendezvous
from support.targets import echo, serving

TIMERS_PAGE = Path(__file__).parents[2] / "docs" / "timers.md"


def shown(*arguments: str) -> str:
    """Standard output of `perdure config show`."""
    result = CliRunner().invoke(app, ["config", "show", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def row_of(name: str, *arguments: str) -> str:
    """The line about `name`, with single spaces."""
    return next(" ".join(line.split()) for line in shown(*arguments).splitlines() if line.startswith(f"{name} "))


def settings(*arguments: str) -> dict[str, dict[str, dict[str, object]]]:
    parsed: dict[str, dict[str, dict[str, object]]] = json.loads(shown(*arguments, "--json"))
    return parsed


def refusal_of(*arguments: str) -> str:
    """Standard error of a `perdure config show` that is refused, in one line."""
    result = CliRunner().invoke(app, ["config", "show", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return " ".join(result.stderr.split())


def test_every_value_is_shown_with_unit_range_and_source() -> None:
    assert row_of("attempt_timeout") == "attempt_timeout 10 s 0.1 to 600 default"
    assert row_of("ice_keepalive_enabled") == "ice_keepalive_enabled true true or false default"
    assert row_of("stream_window_bytes") == "stream_window_bytes 2097152 bytes (2 MiB) 64 KiB to 1 GiB default"
    text = shown()
    for kind in TABLES.values():
        for name in settings_of(kind):
            assert f"\n{name} " in text


def test_the_table_fits_80_columns() -> None:
    assert max(len(line) for line in shown("--explain").splitlines()) <= 80


def test_several_values_stand_one_below_another() -> None:
    lines = [line.split() for line in shown("--set", "session_timeout_warning_stages=[60, 120]").splitlines()]
    first = next(number for number, words in enumerate(lines) if "session_timeout_warning_stages" in words)
    assert lines[first] == ["session_timeout_warning_stages", "60", "s", "1", "to", "2592000", "--set"]
    assert lines[first + 1] == ["120", "s"]


def test_explain_says_what_each_value_means() -> None:
    text = " ".join(shown("--explain").split())
    for kind in TABLES.values():
        for setting in settings_of(kind).values():
            assert setting.text in text


@pytest.mark.parametrize("command", ["serve", "connect"])
def test_a_command_is_patient_and_lets_connections_be_idle(command: str) -> None:
    whose = "the command's default"
    assert row_of("max_restart_attempts", "--for", command) == f"max_restart_attempts 1000 1 to 1000 {whose}"
    assert row_of("session_timeout", "--for", command) == f"session_timeout 0: never 0, 1 to 2592000 {whose}"


def test_exit_on_fail_ends_a_commands_patience_but_not_its_idleness() -> None:
    assert row_of("max_restart_attempts", "--exit-on-fail") == "max_restart_attempts 3 1 to 1000 default"
    assert row_of("session_timeout", "--exit-on-fail").endswith("the command's default")


def test_the_library_has_the_defaults() -> None:
    assert "the command's default" not in shown("--for", "library")
    assert row_of("session_timeout", "--for", "library") == "session_timeout 3600 s 0, 1 to 2592000 default"


def test_json_is_for_machines() -> None:
    assert settings()["restart"]["max_restart_attempts"] == {
        "value": 1000,
        "unit": "",
        "low": 1,
        "high": 1000,
        "zero": "",
        "source": "the command's default",
        "meaning": "Attempts in a row that may fail before the tube does; a new network event starts over.",
    }
    assert settings()["restart"]["ice_keepalive_enabled"]["low"] is None
    assert settings()["session"]["session_timeout_warning_stages"]["value"] == [1800, 2700, 3300, 3540]


def test_a_file_an_assignment_and_a_flag_win_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "perdure.toml"
    path.write_text("[restart]\nabandon_after = 60\nmax_restart_attempts = 7\nattempt_timeout = 20")
    file = ("--config", str(path))
    assert settings(*file)["restart"]["max_restart_attempts"]["source"] == str(path)
    assert settings(*file)["restart"]["abandon_after"]["value"] == 60
    held = settings(*file, "--hold-minutes", "5", "--set", "attempt_timeout=30")["restart"]
    assert (held["abandon_after"]["value"], held["abandon_after"]["source"]) == (300, "--hold-minutes")
    assert (held["attempt_timeout"]["value"], held["attempt_timeout"]["source"]) == (30, "--set")
    assert held["max_restart_attempts"]["value"] == 7


def test_a_flag_and_an_assignment_that_say_the_same_are_refused() -> None:
    message = "--hold-minutes and --set restart.abandon_after say the same; give one of them"
    assert message in refusal_of("--hold-minutes", "5", "--set", "abandon_after=30")


def test_a_mistake_is_explained_and_exits_with_2(tmp_path: Path) -> None:
    path = tmp_path / "perdure.toml"
    path.write_text("[restart]\nmax_restart_atempts = 5")
    assert "did you mean restart.max_restart_attempts?" in refusal_of("--config", str(path))
    assert "cannot be read: Is a directory" in refusal_of("--config", str(tmp_path))
    assert "--set: restart.abandon_after is 0, not a number from 1 to 2592000 s" in refusal_of(
        "--set", "abandon_after=0"
    )
    assert "--hold-minutes: restart.abandon_after is nan, not a number" in refusal_of("--hold-minutes", "nan")
    assert "'nobody' is not one of" in refusal_of("--for", "nobody")


HOME = """\
[serve]
rendezvous = "wss://rendezvous.example"
allow = ["127.0.0.1:22", "db:*"]

[transport]
ice_servers = ["turn:me:hunter2@turn.example"]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A file that only its owner can read."""
    path = tmp_path / "home.toml"
    path.touch(mode=0o600)
    path.write_text(HOME)
    return path


def test_a_file_says_where_to_meet_and_what_is_allowed_until_a_flag_does(home: Path) -> None:
    file = ("--config", str(home))
    assert settings(*file)["serve"]["rendezvous"]["value"] == "wss://rendezvous.example"
    assert settings(*file)["serve"]["allow"]["source"] == str(home)
    flags = (
        "--allow",
        "web:80",
        "--deny",
        "web:81",
        "--rendezvous",
        "ws://other",
        "--ice-server",
        "stun:s",
        "--loopback",
        "--relay-only",
    )
    tables = settings(*file, *flags)
    assert tables["transport"].pop("own_interfaces")["source"] == "default"
    given = {(each["source"], str(each["value"])) for name in ("serve", "transport") for each in tables[name].values()}
    assert given == {
        ("--rendezvous", "ws://other"),
        ("--allow", "['web:80']"),
        ("--deny", "['web:81']"),
        ("--ice-server", "['stun:s']"),
        ("--loopback", "True"),
        ("--relay-only", "True"),
    }


def test_connect_shows_nothing_that_only_serve_uses(home: Path) -> None:
    assert "rendezvous.example" in shown("--config", str(home))
    for user in ("connect", "library"):
        assert "rendezvous.example" not in shown("--config", str(home), "--for", user)
        assert "serve" not in settings("--config", str(home), "--for", user)


def test_a_password_is_never_shown(home: Path) -> None:
    for options in ([], ["--json"]):
        text = shown("--config", str(home), *options)
        assert "turn:…@turn.example" in text
        assert "hunter2" not in text


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "serve.rendezvous",
            '"https://x"',
            "serve.rendezvous: a rendezvous URL looks like ws://HOST:PORT or wss://HOST",
        ),
        ("serve.allow", '["db"]', "serve.allow: an entry looks like HOST:PORTS"),
        ("transport.ice_servers", '["turn:me@x"]', "transport.ice_servers: the ICE server at 'x' has a user name but"),
    ],
)
def test_a_text_that_is_no_url_or_target_names_its_source(tmp_path: Path, name: str, value: str, message: str) -> None:
    path = tmp_path / "perdure.toml"
    table, _, key = name.partition(".")
    path.write_text(f"# mine\n[{table}]\n\n{key} = {value}\n")
    assert f"{path}:4: {message}" in refusal_of("--config", str(path))
    assert f"--set: {message}" in refusal_of("--set", f"{name}={value}")


@pytest.mark.parametrize(("mode", "is_told"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_password_that_others_can_read_is_told_in_one_line(home: Path, mode: int, is_told: bool) -> None:
    home.chmod(mode)
    result = CliRunner().invoke(app, ["config", "show", "--config", str(home)])
    line = f"perdure: {home} holds a password, and others can read or change it: chmod 600 {home}\n"
    assert result.stderr == (line if is_told else "")
    assert result.exit_code == 0
    home.write_text(HOME.replace("me:hunter2@", "").replace("turn:", "stun:"))
    assert CliRunner().invoke(app, ["config", "show", "--config", str(home)]).stderr == ""


async def test_both_ends_run_with_one_file(tmp_path: Path) -> None:
    path = tmp_path / "perdure.toml"
    async with serving(echo) as target, running_rendezvous() as (_, url):
        path.write_text(f'[serve]\nrendezvous = "{url}"\nallow = ["{target}"]\n[transport]\nloopback = true\n')
        async with running("serve", "--config", str(path), "--print-ticket") as gateway:
            ticket = await gateway.says("perdure2-")
            async with running("connect", ticket, "-L", f"0:{target}", "--config", str(path)) as client:
                await client.says("ready")


def test_the_timers_page_is_made_from_the_settings() -> None:
    made = shown("--markdown")
    assert TIMERS_PAGE.read_text("utf-8") == made, (
        "docs/timers.md is out of date: python -m perdure config show --markdown > docs/timers.md"
    )


def test_the_hidden_generator_is_not_in_the_help() -> None:
    result = CliRunner().invoke(app, ["config", "show", "--help"])
    assert result.exit_code == 0
    assert "--markdown" not in result.stdout
    assert "--explain" in result.stdout
