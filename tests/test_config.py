"""What a user may set is checked once, and a bad value is named with its range."""

from __future__ import annotations

import inspect
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.config import ResourceLimits, RestartPolicy, ServeSettings, SessionLimits, TransportSettings, TurnSettings
from perdure.fields import defaults_of, settings_of, show_number
from perdure.ice_server import IceServer, parse_ice_server
from perdure.turn.shared_secret import SharedSecret

SECTIONS = [ServeSettings, TransportSettings, RestartPolicy, SessionLimits, ResourceLimits]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("max_restart_attempts", 0, "max_restart_attempts is 0, not a whole number from 1 to 1000"),
        ("max_restart_attempts", 2.0, "max_restart_attempts is 2.0, not a whole number from 1 to 1000"),
        ("max_restart_attempts", True, "max_restart_attempts is True, not a whole number from 1 to 1000"),
        pytest.param(
            "max_restart_attempts",
            10**5000,
            "max_restart_attempts is beyond 1e308, not a whole number from 1 to 1000",
            id="5001 digits",
        ),
        ("restart_backoff_base", 0.0, "restart_backoff_base is 0, not a number from 0.01 to 3600 s"),
        ("restart_backoff_base", math.nan, "restart_backoff_base is nan, not a number from 0.01 to 3600 s"),
        ("restart_backoff_base", False, "restart_backoff_base is False, not a number from 0.01 to 3600 s"),
        ("restart_backoff_max", 1.0, "restart_backoff_max is 1, below restart_backoff_base, which is 5 s"),
        ("attempt_timeout", -1.5, "attempt_timeout is -1.5, not a number from 0.1 to 600 s"),
        ("abandon_after", math.inf, "abandon_after is inf, not a number from 1 to 2592000 s"),
        ("abandon_after", -math.inf, "abandon_after is -inf, not a number from 1 to 2592000 s"),
        ("abandon_after", 1e300, "abandon_after is 1e+300, not a number from 1 to 2592000 s"),
        ("abandon_after", 2592000.5, "abandon_after is 2592000.5, not a number from 1 to 2592000 s"),
        ("abandon_after", "3600", "abandon_after is '3600', not a number from 1 to 2592000 s (seconds, such as 3600)"),
        ("abandon_after", None, "abandon_after is None, not a number from 1 to 2592000 s"),
        ("quality_threshold", 80, "quality_threshold is 80, not a number from 0 to 1"),
        ("ice_keepalive_enabled", 1, "ice_keepalive_enabled is 1, not true or false"),
        ("ice_keepalive_enabled", "no", "ice_keepalive_enabled is 'no', not true or false"),
    ],
)
def test_a_bad_policy_names_the_field_the_value_and_the_range(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        RestartPolicy(**{field: value})  # type: ignore[arg-type]
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("session_timeout", 0.5, "session_timeout is 0.5, not a number from 1 to 2592000 s, or 0 (never)"),
        ("session_duration_limit", math.nan, "session_duration_limit is nan, not a number from 1 to 2592000 s, or 0"),
        (
            "session_timeout_warning_stages",
            (60, -5),
            "session_timeout_warning_stages[1] is -5, not a number from 1",
        ),
        ("session_timeout_warning_stages", (True,), "session_timeout_warning_stages[0] is True, not a number from 1"),
        (
            "session_timeout_warning_stages",
            60,
            "session_timeout_warning_stages is 60, not a list of numbers from 1 to 2592000 s",
        ),
        ("session_timeout_warning_stages", (60,) * 33, "session_timeout_warning_stages has 33 values, more than 32"),
    ],
)
def test_a_bad_session_limit_names_the_field_the_value_and_the_range(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        SessionLimits(**{field: value})  # type: ignore[arg-type]
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("max_streams", 0, "max_streams is 0, not a whole number from 1 to 1024"),
        ("max_streams", 10**6, "max_streams is 1000000, not a whole number from 1 to 1024"),
        ("stream_window_bytes", 1, "stream_window_bytes is 1, not a whole number from 64 KiB to 1 GiB"),
        ("session_buffer_bytes", 2**18, "session_buffer_bytes is 262144, below stream_buffer_bytes, which is 2097152"),
    ],
)
def test_a_bad_resource_limit_names_the_field_the_value_and_the_range(field: str, value: int, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        ResourceLimits(**{field: value})
    assert str(error.value) == message


def test_a_session_that_never_times_out_is_allowed_beside_the_range() -> None:
    assert SessionLimits(session_timeout=0).session_timeout == 0


def test_what_is_no_number_is_shown_in_a_bounded_message() -> None:
    with pytest.raises(ValueError, match=r"abandon_after is 'x+") as error:
        RestartPolicy(abandon_after="x" * 10_000)  # type: ignore[arg-type]
    assert len(str(error.value)) < 160


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_says_what_it_means_and_its_default_is_in_range(section: type) -> None:
    assert list(settings_of(section)) == list(defaults_of(section))
    for name, setting in settings_of(section).items():
        assert setting.text.endswith("."), name
        assert (setting.range == "true or false") == isinstance(defaults_of(section)[name], bool), name


def test_no_name_is_in_two_sections_so_that_a_bare_one_is_enough() -> None:
    names = [name for section in SECTIONS for name in settings_of(section)]
    assert len(names) == len(set(names))


@given(st.integers() | st.floats(allow_nan=False))
def test_a_number_is_written_so_that_it_reads_back_as_nearly_the_same(value: float) -> None:
    assert float(show_number(value)) == pytest.approx(value, rel=1e-5)


def refusal(section: type, name: str, value: object, *, otherwise: str) -> str:
    """Why `section` refuses `value`."""
    try:
        section(**{name: value})
    except ValueError as error:
        return str(error)
    return otherwise


@given(st.integers() | st.floats() | st.booleans() | st.text() | st.none())
def test_any_value_is_taken_or_refused_with_the_field_named(value: object) -> None:
    for section in SECTIONS:
        for name in settings_of(section):
            assert name in refusal(section, name, value, otherwise=name)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("stun:stun.example:3478", IceServer("stun:stun.example:3478")),
        ("turn:me:secret@turn.example", IceServer("turn:turn.example", "me", "secret")),
        ("turn:1763856000:me:secret@turn.example:3478", IceServer("turn:turn.example:3478", "1763856000:me", "secret")),
        ("turns:me:p@ss@turn.example?transport=tcp", IceServer("turns:turn.example?transport=tcp", "me", "p@ss")),
    ],
)
def test_ice_servers_are_read_as_a_person_writes_them(text: str, server: IceServer) -> None:
    assert parse_ice_server(text) == server


@pytest.mark.parametrize(
    "text", ["", "stun", "stun:", "http://x", "turn:turn.example", "turn:me@turn.example", "stun://x"]
)
def test_what_is_no_ice_server_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"stun:HOST|user name"):
        parse_ice_server(text)


@pytest.mark.parametrize(
    "url",
    [
        "stun:",
        "ftp:a.example",
        "STUN:a.example",
        "stun:a.example\x1b[2J",
        "stun:a example",
        "stun:a.example/b",
        "stun:[::1",
        "stun:[:]:9",
        "turn:[192.0.2.7]",
        "stun:a.example:",
        "stun:a.example:0",
        "turn:a.example:65536",
        "stun:a.example?transport=tcp",
        "turn:a.example?transport=sctp",
    ],
)
def test_a_url_that_no_engine_takes_is_refused_and_named(url: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(url))):
        IceServer(url, "me", "secret")


@pytest.mark.parametrize("url", ["stun:a-b.example", "stuns:192.0.2.7:5349", "turn:[2001:db8::7]:3478?transport=udp"])
def test_a_url_of_the_rfcs_is_taken(url: str) -> None:
    assert IceServer(url, "me", "secret").url == url


@pytest.mark.parametrize("username", ["me\x1b[2J", "me\ud800", "é" * 255])
def test_a_user_name_that_no_terminal_shows_or_no_engine_takes_is_refused(username: str) -> None:
    with pytest.raises(ValueError, match=r"'turn:a\.example' has a user name"):
        IceServer("turn:a.example", username, "secret")


def test_a_turn_password_is_never_shown() -> None:
    assert "secret" not in repr(IceServer("turn:turn.example", "me", "secret"))
    with pytest.raises(ValueError, match="no password") as error:
        parse_ice_server("turn:onlysecret@turn.example")
    assert "onlysecret" not in str(error.value)
    with pytest.raises(ValueError, match="needs a user name and a password") as error:
        parse_ice_server("turn:me:secret")
    assert "secret" not in str(error.value)


def test_made_credentials_last_as_long_from_a_command_as_from_python() -> None:
    assert TurnSettings().turn_ttl == inspect.signature(SharedSecret).parameters["lifetime"].default
