"""Forwards in ssh's spelling."""

from __future__ import annotations

import pytest

from perdure.streams.forward import Forward, ListenPath, ListenPort, parse_forward, parse_proxy
from perdure.streams.target import Target, UnixSocket


@pytest.mark.parametrize(
    ("text", "forward"),
    [
        ("8080:localhost:80", Forward(ListenPort("localhost", 8080), Target("localhost", 80))),
        ("0:localhost:80", Forward(ListenPort("localhost", 0), Target("localhost", 80))),
        ("0.0.0.0:8080:localhost:80", Forward(ListenPort("0.0.0.0", 8080), Target("localhost", 80))),
        ("*:8080:localhost:80", Forward(ListenPort("", 8080), Target("localhost", 80))),
        (":8080:localhost:80", Forward(ListenPort("", 8080), Target("localhost", 80))),
        ("[::1]:8080:[fe80::2]:80", Forward(ListenPort("::1", 8080), Target("fe80::2", 80))),
        ("/tmp/db:db:5432", Forward(ListenPath("/tmp/db"), Target("db", 5432))),
        ("./db:db:5432", Forward(ListenPath("./db"), Target("db", 5432))),
        ("5432:/run/db", Forward(ListenPort("localhost", 5432), UnixSocket("/run/db"))),
        ("[::1]:5432:/run/db", Forward(ListenPort("::1", 5432), UnixSocket("/run/db"))),
        ("/tmp/db:/run/db", Forward(ListenPath("/tmp/db"), UnixSocket("/run/db"))),
        ("8080:[fe80::2]:80", Forward(ListenPort("localhost", 8080), Target("fe80::2", 80))),
    ],
)
def test_a_forward_is_spelled_as_for_ssh(text: str, forward: Forward) -> None:
    assert parse_forward(text) == forward


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("8080:localhost:80", "localhost:8080 -> localhost:80"),
        ("/tmp/db:/run/db", "/tmp/db -> /run/db"),
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
        "/tmp/db",
        "8080:run/db",
        "8080:/run/../db",
        "bind:/tmp/db:db:5432",
        "/tmp/db:8080:db:5432",
        "a:b:8080:/run/db",
    ],
)
def test_what_is_no_forward_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_forward(text)


def test_a_message_shows_how_a_forward_is_spelled() -> None:
    with pytest.raises(ValueError, match=r"a forward looks like \[BIND:\]PORT:HOST:HOSTPORT, .*, not '8080'"):
        parse_forward("8080")


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("1080", ListenPort("localhost", 1080)),
        ("0", ListenPort("localhost", 0)),
        ("*:1080", ListenPort("", 1080)),
        ("192.0.2.1:1080", ListenPort("192.0.2.1", 1080)),
        ("[::1]:1080", ListenPort("::1", 1080)),
    ],
)
def test_a_proxy_listens_as_a_forward_does(text: str, port: ListenPort) -> None:
    assert parse_proxy(text) == port


@pytest.mark.parametrize("text", ["", "x", "65536", "a:b:1080", "/tmp/proxy", "[::1:1080", "1080:"])
def test_what_is_no_proxys_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_proxy(text)
