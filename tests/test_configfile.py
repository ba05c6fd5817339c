"""Each value comes from the uppermost layer that sets it, and a mistake is told with its source and the way out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.config import (
    ResourceLimits,
    RestartPolicy,
    ServeSettings,
    SessionLimits,
    TransportConfig,
    TransportSettings,
)
from perdure.configfile import TABLES, Configuration, Layer, layered, parse_assignments, read_file
from perdure.fields import ClashError, settings_of
from perdure.tomlfile import MAX_TEXT_BYTES

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = """\
[serve]
rendezvous = "wss://rendezvous.example"
allow = ["127.0.0.1:22", "db:*"]

[transport]
ice_servers = ["stun:stun.example"]

[restart]
restart_backoff_base = 2      # an integer is good for seconds
ice_keepalive_enabled = false

[session]
session_timeout_warning_stages = [60, 120.5]

[resources]
max_streams = 7
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "perdure.toml"


def refusal_of(path: Path, content: str | bytes) -> str:
    """What is said of a file with `content`, without the file's name that it begins with."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=path.name) as error:
        layered(read_file(path))
    message = str(error.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def test_without_layers_everything_is_the_default() -> None:
    assert layered() == Configuration()
    assert layered().restart == RestartPolicy()
    assert set(layered().sources.values()) == {"default"}


def test_each_table_of_a_file_sets_its_class(path: Path) -> None:
    path.write_text(EVERYTHING)
    configuration = layered(read_file(path))
    assert configuration.serve == ServeSettings("wss://rendezvous.example", ("127.0.0.1:22", "db:*"))
    assert configuration.transport == TransportSettings(("stun:stun.example",))
    assert configuration.restart == RestartPolicy(restart_backoff_base=2.0, ice_keepalive_enabled=False)
    assert configuration.session == SessionLimits(session_timeout_warning_stages=(60.0, 120.5))
    assert configuration.resources == ResourceLimits(max_streams=7)


def test_whole_numbers_become_seconds_where_seconds_are_meant(path: Path) -> None:
    path.write_text(EVERYTHING)
    configuration = layered(read_file(path))
    assert repr(configuration.restart.restart_backoff_base) == "2.0"
    assert repr(configuration.session.session_timeout_warning_stages) == "(60.0, 120.5)"
    assert repr(configuration.resources.max_streams) == "7"


def test_a_later_layer_hides_an_earlier_one_and_each_value_tells_its_source(path: Path) -> None:
    path.write_text("[restart]\nattempt_timeout = 20\nabandon_after = 20")
    command = Layer("the command's default", {"restart.attempt_timeout": 10, "session.session_timeout": 0})
    configuration = layered(command, read_file(path), parse_assignments(["restart.abandon_after=30"]))
    assert configuration.sources["session.session_timeout"] == "the command's default"
    assert configuration.sources["restart.attempt_timeout"] == str(path)
    assert configuration.sources["restart.abandon_after"] == "--set"
    assert configuration.sources["resources.max_tubes"] == "default"
    assert configuration.session.session_timeout == 0
    assert (configuration.restart.attempt_timeout, configuration.restart.abandon_after) == (20, 30)


def test_an_empty_file_and_one_that_begins_with_a_byte_order_mark_are_good(path: Path) -> None:
    path.write_bytes(b"")
    assert layered(read_file(path)) == Configuration()
    path.write_bytes(b"\xef\xbb\xbf[resources]\r\nmax_tubes = 5\r\n")
    assert layered(read_file(path)).resources.max_tubes == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[restart]\nabandon_after = -1", ":2: restart.abandon_after is -1, not a number from 1 to 2592000 s"),
        ("[restart]\nabandon_after = inf", ":2: restart.abandon_after is inf, not a number from 1 to 2592000 s"),
        ("[restart]\nabandon_after = nan", ":2: restart.abandon_after is nan, not a number from 1 to 2592000 s"),
        ("[restart]\nabandon_after = '60'", ":2: restart.abandon_after is '60', not a number from 1 to 2592000 s"),
        ("[restart]\nabandon_after = true", ":2: restart.abandon_after is True, not a number from 1 to 2592000 s"),
        ("[restart]\nabandon_after = [60]", ":2: restart.abandon_after is [60], not a number from 1 to 2592000 s"),
        ("[restart.abandon_after]\nx = 1", ":1: restart.abandon_after is {'x': 1}, not a number from 1 to 2592000 s"),
        ("[resources]\nmax_tubes = 1.5", ":2: resources.max_tubes is 1.5, not a whole number from 1 to 1000000"),
        ("[resources]\nmax_tubes = 1979-05-27", ":2: resources.max_tubes is datetime.date(1979, 5, 27), not a whole"),
        (
            "[resources]\nmax_tubes = 0x" + "f" * 9999,
            ":2: resources.max_tubes is beyond 1e308, not a whole number from 1",
        ),
        (
            "[session]\nsession_timeout_warning_stages = [60, 'x']",
            ":2: session.session_timeout_warning_stages[1] is 'x', not a number from 1 to 2592000 s",
        ),
        ("[serve]\nrendezvous = 5", ":2: serve.rendezvous is not a text such as ws://HOST:PORT or wss://HOST"),
        ("[serve]\nallow = 'db:5432'", ":2: serve.allow is 'db:5432', not a list of texts such as HOST:PORTS"),
        ("[serve]\nallow = ['db:1', 5432]", ":2: serve.allow[1] is 5432, not a text such as HOST:PORTS"),
    ],
)
def test_a_bad_value_names_file_table_key_value_and_range(path: Path, content: str, message: str) -> None:
    assert refusal_of(path, content).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "[restart]\nmax_restart_atempts = 5",
            ":2: there is no 'restart.max_restart_atempts'; did you mean restart.max_restart_attempts?",
        ),
        (
            "[restart]\nMax-Restart-Attempts = 5",
            ":2: there is no 'restart.Max-Restart-Attempts'; did you mean restart.max_restart_attempts?",
        ),
        (
            "[session]\nabandon_after = 5",
            ":2: there is no 'session.abandon_after'; did you mean restart.abandon_after?",
        ),
        ("[restart]\nq = 5", ":2: there is no 'restart.q'; `perdure config show` lists the names"),
        ('[restart]\n"\\u001b[2J" = 5', ":1: there is no 'restart.\\x1b[2J'; `perdure config show` lists the names"),
        ("[restrat]\n", ":1: there is no table 'restrat'; did you mean restart?"),
        ("[q]\n", ":1: there is no table 'q'; there are serve, transport, turn, restart, session, resources"),
        ("abandon_after = 5", ":1: abandon_after stands in no table; it belongs under [restart]"),
        ("abandon_aftre = 5", ":1: 'abandon_aftre' stands in no table; did you mean restart.abandon_after?"),
        ("allow = ['db:1']", ":1: allow stands in no table; it belongs under [serve]"),
        ("restart = 5", ":1: restart is not a table; write [restart]"),
        ("[[restart]]\nabandon_after = 5", ":1: restart is not a table; write [restart]"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(path: Path, content: str, message: str) -> None:
    assert refusal_of(path, content) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[restart]\nabandon_after = ", ":2: Invalid value"),
        ("[restart]\nabandon_after == 1\n", ":2: Invalid value"),
        ("[restart]\n[restart]\n", ":2: Cannot declare restart twice"),
        ("[restart]\nabandon_after = " + "9" * 9999, ":1: a number has too many digits"),
        (b"[restart]\n# caf\xe9\n", ":2: it is not UTF-8"),
        (b"#" * (MAX_TEXT_BYTES + 1), ":1: it has more than 64 KiB"),
        ("x = " + "[" * 60_000, ":1: it is nested too deeply; 16 levels are the most"),
    ],
    ids=["no value", "two signs", "twice", "digits", "latin 1", "huge", "deep"],
)
def test_what_is_not_toml_is_refused_with_its_place(path: Path, content: str | bytes, message: str) -> None:
    assert refusal_of(path, content).startswith(message)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing.toml cannot be read: No such file or directory"):
        read_file(tmp_path / "missing.toml")
    with pytest.raises(ValueError, match=r"cannot be read: Is a directory"):
        read_file(tmp_path)


def test_an_assignment_may_leave_the_table_out_and_the_last_one_counts() -> None:
    layer = parse_assignments(["abandon_after=5", "restart.abandon_after = 6", "ice_keepalive_enabled=false"])
    assert layer.values == {"restart.abandon_after": 6, "restart.ice_keepalive_enabled": False}


@pytest.mark.parametrize("text", ["off", "'off'", '"off"', " off "])
def test_an_assigned_text_needs_no_quotes(text: str) -> None:
    assert layered(parse_assignments([f"warm_spare={text}"])).restart.warm_spare == "off"


@pytest.mark.parametrize("name", ["2026", "true", "my ca.pem", "ca=1.pem"])
def test_an_assigned_text_may_look_like_something_else(name: str) -> None:
    assert layered(parse_assignments([f"turn_ca={name}"])).turn.turn_ca == name


def test_an_assignment_takes_a_list() -> None:
    layer = parse_assignments(["session_timeout_warning_stages=[60, 120]"])
    assert layered(layer).session.session_timeout_warning_stages == (60.0, 120.0)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("abandon_after", "--set: 'abandon_after' is not NAME=VALUE, such as restart.abandon_after=60"),
        ("turn:me:secret@h", "--set: what was given is not NAME=VALUE, such as restart.abandon_after=60"),
        ("=5", "--set: '=5' is not NAME=VALUE, such as restart.abandon_after=60"),
        ("abandon_after=0", "--set: restart.abandon_after is 0, not a number from 1 to 2592000 s"),
        ("abandon_after='5'", "--set: restart.abandon_after is '5', not a number from 1 to 2592000 s"),
        ("abandon_aftre=5", "--set: there is no 'abandon_aftre'; did you mean restart.abandon_after?"),
        ("restrat.abandon_after=5", "--set: there is no 'restrat.abandon_after'; did you mean restart.abandon_after?"),
        *(
            (
                f"restart.abandon_after={text}",
                f"--set: restart.abandon_after is {text!r}, not a number from 1 to 2592000 s (seconds, such as 3600)",
            )
            for text in ("", "1h", "five", "True", "1e", "5\nother = 6", "5\n[other]")
        ),
        ("abandon_after=" + "[" * 60_000, f"--set: restart.abandon_after is '{'[' * 37}...{'[' * 38}', not a number"),
        ("warm_spare=of", "--set: restart.warm_spare is 'of', not auto or off"),
        ("warm_spare=", "--set: restart.warm_spare is '', not auto or off"),
        ("loopback=yes", "--set: transport.loopback is 'yes', not true or false"),
        (
            "stream_window_bytes=2MB",
            "--set: resources.stream_window_bytes is '2MB', not a whole number from 64 KiB to 1 GiB (bytes, such as 20",
        ),
        (
            "allow=127.0.0.1:22",
            "--set: serve.allow is '127.0.0.1:22', not a list of texts such as HOST:PORTS; a list is ['…', '…']",
        ),
        (
            "session_timeout_warning_stages=60",
            "--set: session.session_timeout_warning_stages is 60, not a list of numbers from 1 to 2592000 s; a list",
        ),
        ("warmspare=off", "--set: there is no 'warmspare'; did you mean restart.warm_spare?"),
        ("foo.warm_spare=off", "--set: there is no 'foo.warm_spare'; did you mean restart.warm_spare?"),
    ],
)
def test_a_bad_assignment_says_what_is_wrong(assignment: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^--set: ") as error:
        parse_assignments([assignment])
    assert str(error.value).startswith(message)


def test_values_that_do_not_go_together_are_told_with_the_source_of_each(path: Path) -> None:
    path.write_text("[restart]\nrestart_backoff_max = 20")
    command = Layer("the command's default", {"restart.max_restart_attempts": 1000})
    with pytest.raises(ValueError, match="below") as error:
        layered(command, read_file(path), parse_assignments(["restart_backoff_base=30"]))
    most, base = "restart.restart_backoff_max", "restart.restart_backoff_base"
    assert str(error.value) == f"{most} ({path}) is 20, below {base} (--set), which is 30 s"
    with pytest.raises(ValueError, match="below") as error:
        layered(command, parse_assignments(["restart_backoff_max=1"]))
    assert str(error.value) == f"{most} (--set) is 1, below {base} (default), which is 5 s"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("--turn-url", "--turn-secret-file and --turn-url go together; give both or none"),
        ("a file", "turn.turn_secret_file (default) and turn.turn_urls (a file) go together; give both or none"),
    ],
)
def test_who_uses_flags_is_told_of_flags(source: str, message: str) -> None:
    flags = {"turn.turn_secret_file": "--turn-secret-file", "turn.turn_urls": "--turn-url"}
    with pytest.raises(ValueError, match="go together") as error:
        layered(Layer(source, {"turn.turn_urls": ["turn:host"]}), flags=flags)
    assert str(error.value) == message


def test_a_layer_of_the_program_itself_is_checked_too() -> None:
    with pytest.raises(ValueError, match=r"^--hold-minutes: restart.abandon_after is inf, not a number from"):
        Layer("--hold-minutes", {"restart.abandon_after": math.inf})


NAMES = [f"{table}.{name}" for table, kind in TABLES.items() for name in settings_of(kind)]
SCALARS = st.integers() | st.floats() | st.booleans() | st.text(st.characters(codec="utf-8"), max_size=20)


@pytest.mark.parametrize(
    "content",
    [
        "ice_servers = ['turn:me:hunter2@turn.example']",
        "transport = 'turn:me:hunter2@turn.example'",
        "[transport]\nice_servers = 'turn:me:hunter2@turn.example'",
        "[transport]\nice_servers = [['turn:me:hunter2@turn.example']]",
        "[transport]\nice_server = ['turn:me:hunter2@turn.example']",
        "[transport]\nice_servers = ['turn:me:hunter2@turn.example'",
        "[restart.ice_servers]\na = 'turn:me:hunter2@turn.example'",
    ],
)
def test_a_password_in_the_wrong_place_is_not_repeated(path: Path, content: str) -> None:
    assert "hunter2" not in refusal_of(path, content)


def test_a_password_that_is_no_list_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="is not a list of texts") as error:
        parse_assignments(["ice_servers=turn:me:hunter2@turn.example"])
    assert "hunter2" not in str(error.value)


@given(st.sampled_from(NAMES), SCALARS)
def test_a_value_from_a_layer_is_the_one_that_python_would_have_taken(name: str, value: object) -> None:
    table, _, key = name.partition(".")
    try:
        from_python = TABLES[table](**{key: value})
    except ValueError as error:
        with pytest.raises(ValueError, match=r"here") as refused:
            layered(Layer("here", {name: value}))
        expected = f"here: {table}.{error}"
        if isinstance(error, ClashError):
            names = (f"{table}.{each} ({'here' if each == key else 'default'})" for each in error.names)
            expected = error.reason.format(*names)
        assert str(refused.value) == expected
    else:
        assert getattr(layered(Layer("here", {name: value})), table) == from_python


@given(st.text(st.characters(codec="utf-8")))
def test_any_assignment_is_taken_or_refused(text: str) -> None:
    try:
        layered(parse_assignments([text]))
    except ValueError as error:
        assert str(error).startswith("--set: ")  # noqa: PT017 (most are refused, not all)


@pytest.mark.parametrize("own", [True, False])
def test_a_file_says_how_carriers_find_their_way(own: bool) -> None:
    configuration = layered(
        Layer("file", {"transport.own_interfaces": own, "transport.loopback": True, "transport.relay_only": own})
    )
    assert configuration.transport.config() == TransportConfig(loopback=True, relay_only=own, own_interfaces=own)
