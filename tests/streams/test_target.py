"""Targets and forwards in ssh's spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.streams.target import Forward, Target, parse_forward, parse_target


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
    assert 0 < target.port < 65536
    assert target.host.isprintable()
    assert parse_target(str(target)) == target


@pytest.mark.parametrize(
    ("text", "forward"),
    [
        ("8080:localhost:80", Forward("127.0.0.1", 8080, Target("localhost", 80))),
        ("0:localhost:80", Forward("127.0.0.1", 0, Target("localhost", 80))),
        ("0.0.0.0:8080:localhost:80", Forward("0.0.0.0", 8080, Target("localhost", 80))),
        ("*:8080:localhost:80", Forward("", 8080, Target("localhost", 80))),
        (":8080:localhost:80", Forward("", 8080, Target("localhost", 80))),
        ("[::1]:8080:[fe80::2]:80", Forward("::1", 8080, Target("fe80::2", 80))),
        ("8080:[fe80::2]:80", Forward("127.0.0.1", 8080, Target("fe80::2", 80))),
    ],
)
def test_a_forward_is_spelled_as_for_ssh(text: str, forward: Forward) -> None:
    assert parse_forward(text) == forward


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("8080:localhost:80", "127.0.0.1:8080 -> localhost:80"),
        ("*:8080:localhost:80", "*:8080 -> localhost:80"),
        ("[::1]:8080:[fe80::2]:80", "[::1]:8080 -> [fe80::2]:80"),
    ],
)
def test_a_forward_is_shown_with_both_of_its_ends(text: str, shown: str) -> None:
    assert str(parse_forward(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8080",
        "8080:localhost",
        "localhost:80",
        "a:b:c:d:e",
        "8080:localhost:0",
        "65536:localhost:80",
        "00000070000:localhost:80",
        "8080::80",
        "x:localhost:80",
        "bind:x:localhost:80",
        "8080:::1:80",
        "[::1:8080:localhost:80",
        "bell\a:8080:localhost:80",
        "8080:*:80",
    ],
)
def test_what_is_no_forward_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_forward(text)


def test_a_message_shows_the_spelling_and_what_was_given() -> None:
    with pytest.raises(ValueError, match=r"a forward looks like \[BIND:\]PORT:HOST:HOSTPORT, not '8080'"):
        parse_forward("8080")
    with pytest.raises(ValueError, match=r"a target looks like HOST:PORT or \[IPV6\]:PORT, not 'localhost'"):
        parse_target("localhost")
    with pytest.raises(ValueError, match=r"'99999' in 'localhost:99999' is not a port from 1 to 65535"):
        parse_target("localhost:99999")
