"""What a user may set is checked once, and a bad value is named with its range."""

from __future__ import annotations

import pytest

from perdure.config import IceServer, ResourceLimits, RestartPolicy, parse_ice_server


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_restart_attempts", 0),
        ("restart_backoff_base", 0.0),
        ("restart_backoff_max", 1.0),
        ("attempt_timeout", -1.0),
        ("probe_after", 0.0),
        ("lost_after", 0.1),
        ("keepalive_interval", 0.0),
        ("stall_timeout", 1.0),
        ("abandon_after", float("inf")),
        ("restart_backoff_base", float("nan")),
    ],
)
def test_a_bad_policy_names_the_field_the_value_and_the_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{field} is {value}, outside .* to .*"):
        RestartPolicy(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_streams", 0), ("max_streams", 10**6), ("stream_window_bytes", 1), ("session_buffer_bytes", 1024)],
)
def test_a_bad_limit_names_the_field_the_value_and_the_range(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"{field} is {value}, outside"):
        ResourceLimits(**{field: value})


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


def test_a_turn_password_is_never_shown() -> None:
    assert "secret" not in repr(IceServer("turn:turn.example", "me", "secret"))
    with pytest.raises(ValueError, match="no password") as error:
        parse_ice_server("turn:onlysecret@turn.example")
    assert "onlysecret" not in str(error.value)
