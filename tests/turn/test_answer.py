"""The JSON in which services hand out ICE servers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure import IceServer, ProtocolError
from perdure.turn.answer import MAX_SERVERS, read_answer

NOW = 1_700_000_000.0
TURN = IceServer("turn:turn.example:3478", "ada", "key")
STUN = IceServer("stun:stun.example:3478")


def read(document: Any) -> tuple[tuple[IceServer, ...], float | None]:
    issued = read_answer(json.dumps(document).encode(), now=NOW)
    return issued.servers, issued.lifetime


ENTRY = {"urls": TURN.url, "username": "ada", "credential": "key"}


@pytest.mark.parametrize(
    ("document", "lifetime"),
    [
        ({"username": "ada", "password": "key", "ttl": 86400, "uris": [TURN.url]}, 86400),
        ({"iceServers": [ENTRY]}, None),
        ({"iceServers": ENTRY}, None),
        ({"iceServers": [ENTRY], "ttl": 60}, 60),
        ({"ice_servers": [{**ENTRY, "url": TURN.url}], "ttl": "86400", "account_sid": "x"}, 86400),
        ([ENTRY], None),
        ({"IceServerList": [{"Uris": [TURN.url], "Username": "ada", "Password": "key", "Ttl": 300}]}, 300),
        ({"iceServers": [{**ENTRY, "ttl": 90}, {**ENTRY, "urls": "http://x", "ttl": 80}]}, 80),
        ({"iceServers": [ENTRY], "ttl": True}, None),
        ({"iceServers": [ENTRY], "ttl": "soon"}, None),
        ({"iceServers": [ENTRY], "ttl": 10**9}, 366 * 86400),
    ],
)
def test_each_services_shape_is_read(document: Any, lifetime: float | None) -> None:
    assert read(document) == ((TURN,), lifetime)


def test_an_entry_with_several_urls_is_several_servers() -> None:
    servers, _ = read({"iceServers": [{"urls": STUN.url}, {**ENTRY, "urls": [TURN.url, TURN.url + "?transport=tcp"]}]})
    assert servers == (STUN, TURN, IceServer(TURN.url + "?transport=tcp", "ada", "key"))


def test_a_user_name_tells_how_long_it_lasts_where_nothing_else_does() -> None:
    names = [f"{NOW + after:.0f}:ada" for after in (500, 400)]
    entries = [{**ENTRY, "username": name} for name in names]
    assert read({"iceServers": entries})[1] == 400
    assert read({"iceServers": [{**entries[0], "ttl": 60}]})[1] == 60


def test_a_server_that_cannot_be_used_is_left_out_and_so_are_those_over_the_limit() -> None:
    servers, _ = read([{**ENTRY, "urls": ["http://x", 5, "turn:", None, TURN.url]}, {"urls": "turn:no.login"}, 5, "x"])
    assert servers == (TURN,)
    assert len(read([{**ENTRY, "urls": [TURN.url] * 40}])[0]) == MAX_SERVERS


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b"<html>",
        b"\xff",
        b'{"iceServers": "key"}',
        b'{"uris": ["turn:x"], "username": "ada"}',
        b"[" * 100_000,
        b'{"iceServers": [{"urls": "turn:x", "username": "1000000000:ada", "credential": "key"}]}',
        b'{"iceServers": [{"urls": "turn:x", "username": "ada", "credential": "key"}], "ttl": 0}',
    ],
)
def test_what_names_no_usable_server_is_an_error_that_repeats_nothing(body: bytes) -> None:
    with pytest.raises(ProtocolError) as refused:
        read_answer(body, now=NOW)
    assert "key" not in str(refused.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([TURN.url, "ada", "key", "60"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["iceServers", "urls", "uris", "username", "credential", "ttl", "Ttl"]), inner
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_servers_or_an_error(document: Any) -> None:
    try:
        servers, lifetime = read(document)
    except ProtocolError:
        return
    assert servers
    assert lifetime is None or lifetime > 0
