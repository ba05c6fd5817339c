"""Targets and forwards in ssh's spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.streams.target import Target, UnixSocket, parse_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("localhost:22", Target("localhost", 22)),
        ("10.0.0.1:65535", Target("10.0.0.1", 65535)),
        ("[::1]:80", Target("::1", 80)),
        ("[fe80::1%eth0]:80", Target("fe80::1%eth0", 80)),
        ("[localhost]:80", Target("localhost", 80)),
        (" db.example:5432\n", Target("db.example", 5432)),
        ("bücher.example:80", Target("bücher.example", 80)),
    ],
)
def test_a_target_is_a_host_and_a_port(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert parse_target(str(target)) == target
    assert parse_target(target.encode().decode()) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "localhost",
        "localhost:",
        ":22",
        "[]:22",
        "localhost:0",
        "localhost:65536",
        "localhost:-1",
        "localhost:+1",
        "localhost:1_0",
        "localhost:٢٢",
        "localhost:22x",
        "localhost:http",
        "localhost:*",
        "localhost:00000199999",
        "localhost:" + "9" * 5000,
        "::1:80",
        "[::1:80",
        "[::1]80",
        "[::1]2:80",
        "::1]:80",
        "a[b]:80",
        "two words:80",
        "nul\0:80",
        "line\nfeed:80",
        "bell\a:80",
        "\x1b[2Jscreen:80",
        "a:80:90",
        "h" * 600 + ":80",
        "*:80",
    ],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_target(text)


@given(st.text(max_size=40))
def test_any_text_is_a_printable_target_with_a_port_or_refused(text: str) -> None:
    try:
        target = parse_target(text)
    except ValueError:
        return
    assert isinstance(target, UnixSocket) or 0 < target.port < 65536
    assert str(target).isprintable()
    assert parse_target(str(target)) == target


def test_a_message_shows_the_spelling_and_what_was_given() -> None:
    with pytest.raises(ValueError, match=r"a target looks like HOST:PORT, .*, not 'localhost'"):
        parse_target("localhost")
    with pytest.raises(ValueError, match=r"'99999' in 'localhost:99999' is not a port from 1 to 65535"):
        parse_target("localhost:99999")


@pytest.mark.parametrize("path", ["/run/postgresql/.s.PGSQL.5432", "/a:b", "/tmp/with space.sock"])
def test_a_unix_socket_is_its_absolute_path(path: str) -> None:
    assert parse_target(path) == UnixSocket(path)
    assert parse_target(UnixSocket(path).encode().decode()) == UnixSocket(path)


@pytest.mark.parametrize(
    "path", ["//run/a", "/run/../a", "/run/./a", "/run//a", "/run/a/", "/bell\a", "/zero\0", "/" + "x" * 107, "/\udcff"]
)
def test_a_path_that_could_be_spelled_otherwise_or_cannot_be_one_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_target(path)
