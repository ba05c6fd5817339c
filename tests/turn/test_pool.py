"""Which TURN servers the engine is given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure import IceServer
from perdure.turn.pool import (
    FRESH_INTERVAL,
    LEFT_OUT_INTERVAL,
    MOST_GIVEN,
    NO_ANSWER,
    ServerAddress,
    ServerFailure,
    ServerPool,
    address_of,
    explained,
)


def turn(url: str, user: str = "ada") -> IceServer:
    return IceServer(url, user, "the password")


def at(url: str) -> ServerAddress:
    address = address_of(url)
    assert address is not None
    return address


def given_by(pool: ServerPool, now: float = 0.0) -> list[str]:
    return [server.url for server in pool.chosen(now)]


STUN = IceServer("stun:a")
WAYS = ["turn:{}", "turn:{}?transport=tcp", "turns:{}"]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("turn:A.example", ServerAddress("a.example", 3478, "udp")),
        ("turn:a.example:80?transport=tcp", ServerAddress("a.example", 80, "tcp")),
        ("turns:a.example", ServerAddress("a.example", 5349, "tls")),
        ("turns:a.example:443?transport=tcp", ServerAddress("a.example", 443, "tls")),
        ("turn:[2001:db8::1]:3478?transport=udp", ServerAddress("2001:db8::1", 3478, "udp")),
        ("stun:a.example", None),
    ],
)
def test_a_url_says_where_a_server_is(url: str, address: ServerAddress | None) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        ([way.format("a") for way in WAYS], [way.format("a") for way in WAYS]),
        ([f"turn:{host}" for host in "abcd"], ["turn:a", "turn:b", "turn:c"]),
        (["turn:a", "turn:b", "turn:a?transport=tcp", "turns:a"], ["turn:a", "turn:a?transport=tcp", "turns:a"]),
        (
            ["turn:a", "turn:a?transport=tcp", "turn:b?transport=tcp", "turn:a:80"],
            ["turn:a", "turn:b?transport=tcp", "turn:a:80"],
        ),
        (["stun:a", "stun:b", "stun:c", "stun:d", "turn:a"], ["stun:a", "stun:b", "stun:c", "stun:d", "turn:a"]),
    ],
)
def test_the_engine_is_given_three_servers_that_differ_most(listed: list[str], wanted: list[str]) -> None:
    servers = [turn(url) if url.startswith("turn") else IceServer(url) for url in listed]
    assert sorted(given_by(ServerPool(servers))) == sorted(wanted)


def test_a_server_that_is_listed_twice_is_given_once_with_the_first_credentials() -> None:
    twice = [turn("turn:a"), turn("turn:a:3478?transport=udp", "bob"), turn("turn:b")]
    chosen = ServerPool([*twice, twice[0]]).chosen(0.0)
    assert [(server.url, server.username) for server in chosen] == [("turn:a", "ada"), ("turn:b", "ada")]


def test_a_server_that_fails_is_left_out_for_a_minute_and_another_takes_its_place() -> None:
    pool = ServerPool([STUN, *(turn(f"turn:{host}") for host in "abcd")])
    assert given_by(pool) == ["stun:a", "turn:a", "turn:b", "turn:c"]
    pool.failed(at("turn:a"), 0, NO_ANSWER, 0.0)
    assert given_by(pool) == ["stun:a", "turn:b", "turn:c", "turn:d"]
    assert given_by(pool, LEFT_OUT_INTERVAL) == ["stun:a", "turn:a", "turn:b", "turn:c"]


def test_where_all_are_left_out_none_is() -> None:
    pool = ServerPool([turn("turn:a"), turn("turn:b")])
    for host in "ab":
        pool.failed(at(f"turn:{host}"), 0, NO_ANSWER, 0.0)
    assert given_by(pool) == ["turn:a", "turn:b"]


def test_a_failure_is_told_once_until_the_server_works() -> None:
    pool, server = ServerPool([turn("turn:a")]), at("turn:a:3478?transport=udp")
    told = [pool.failed(server, code, explained(code, ""), 0.0) for code in (486, 486, 401)]
    assert [each is not None and each.is_news for each in told] == [True, False, True]
    pool.worked(server)
    again = pool.failed(server, 486, explained(486, ""), 0.0)
    assert again is not None
    assert again.is_news
    assert pool.failed(at("turn:elsewhere"), 486, explained(486, ""), 0.0) is None


def test_other_credentials_bring_back_a_server_that_refused_the_old_ones_and_no_silent_one() -> None:
    pool = ServerPool([turn(f"turn:{host}") for host in "abc"])
    pool.failed(at("turn:a"), 401, explained(401, ""), 0.0)
    pool.failed(at("turn:b"), 0, NO_ANSWER, 0.0)
    assert given_by(pool) == ["turn:c"]
    assert given_by(with_user(pool, "ada", hosts="abc")) == ["turn:c"]
    assert given_by(with_user(pool, "bob", hosts="abc")) == ["turn:a", "turn:c"]


def codes(pool: ServerPool) -> list[int]:
    return [failure.code for failure in pool.failures]


def with_user(pool: ServerPool, user: str, now: float = 0.0, hosts: str = "ab") -> ServerPool:
    return pool.with_servers([turn(f"turn:{host}", user) for host in hosts], now)


def revived(pool: ServerPool, hosts: str, user: str) -> bool:
    return with_user(pool, user, hosts=hosts).is_revived


def test_what_seeks_a_path_begins_anew_where_no_server_served_and_one_that_refused_has_other_credentials() -> None:
    pool = ServerPool([turn("turn:a"), turn("turn:b")])
    assert not revived(pool, "ab", "bob"), "nobody has refused"
    pool.failed(at("turn:a"), 401, explained(401, ""), 0.0)
    assert revived(pool, "ab", "bob")
    assert not revived(pool, "ab", "ada"), "the credentials are the same"
    assert not revived(pool, "b", "bob"), "the one that refused is gone"
    pool.worked(at("turn:b"))
    assert not revived(pool, "ab", "bob"), "the other one served"
    pool.failed(at("turn:b"), 0, NO_ANSWER, 0.0)
    assert revived(pool, "ab", "bob")


def test_a_refusal_of_credentials_that_are_not_in_use_any_more_holds_nothing_against_the_server() -> None:
    pool = ServerPool([turn("turn:a", "bob")])
    found = pool.failed(at("turn:a"), 401, explained(401, ""), 0.0, asked=turn("turn:a"))
    assert found is not None
    assert (found.is_outdated, found.is_news, found.username) == (True, False, "ada")
    again = pool.failed(at("turn:a"), 401, explained(401, ""), 0.0, asked=turn("turn:a"))
    assert again is None, "each of a machine's addresses is refused"
    assert pool.failures == ()
    pool.failed(at("turn:a"), 0, NO_ANSWER, 0.0, asked=turn("turn:a"))
    assert codes(pool) == [0], "whatever credentials it was asked with"


def test_it_does_not_begin_anew_again_where_the_credentials_that_were_refused_had_just_come() -> None:
    """A server with another secret refuses each; five times in a row an attempt began anew, and lasted 26 s."""
    pool = ServerPool([turn("turn:a"), turn("turn:b")])
    refuse(pool, 100.0)
    pool = with_user(pool, "bob", 101.0)
    assert pool.is_revived
    refuse(pool, 101.1)
    pool = with_user(pool, "eve", 103.0)
    assert not pool.is_revived
    assert given_by(pool, 103.0) == ["turn:a", "turn:b"], "the next attempt tries them"
    assert codes(pool) == [401], "the attempt's end names it"
    refuse(pool, 103.0 + FRESH_INTERVAL)
    assert with_user(pool, "joe", 104.0 + FRESH_INTERVAL).is_revived, "these may have grown old"


def test_that_other_credentials_are_refused_too_is_no_news_until_the_server_worked() -> None:
    pool = ServerPool([turn("turn:a")])
    assert refuse(pool, 0.0).is_news
    pool = with_user(pool, "bob", 1.0)
    assert not refuse(pool, 1.1).is_news
    pool = with_user(pool, "eve", 100.0)
    pool.worked(at("turn:a"))
    assert refuse(pool, 160.0).is_news


def refuse(pool: ServerPool, now: float) -> ServerFailure:
    failure = pool.failed(at("turn:a"), 401, explained(401, ""), now)
    assert failure is not None
    return failure


def test_a_failure_stays_until_the_server_serves() -> None:
    pool = ServerPool([turn("turn:a"), turn("turn:b")])
    pool.failed(at("turn:a"), 401, explained(401, ""), 0.0)
    pool.failed(at("turn:b"), 0, NO_ANSWER, 0.0)
    assert codes(pool) == [401, 0]
    assert codes(with_user(pool, "bob")) == [401, 0], "it was not asked since"
    pool.worked(at("turn:b"))
    assert codes(pool) == [401]


def test_another_network_brings_back_a_server_that_was_out_of_reach_and_none_that_refused() -> None:
    pool = ServerPool([turn(f"turn:{host}") for host in "abc"])
    pool.failed(at("turn:a"), 401, explained(401, ""), 0.0)
    pool.failed(at("turn:b"), 701, explained(701, ""), 0.0)
    pool.network_changed()
    assert given_by(pool) == ["turn:b", "turn:c"]


def test_silence_is_no_news_of_a_server_of_which_more_was_told() -> None:
    pool, server = ServerPool([turn("turn:a")]), at("turn:a")
    told = [pool.failed(server, code, explained(code, ""), 0.0) for code in (401, 701, 0, 486)]
    assert [each is not None and each.is_news for each in told] == [True, False, False, True]


@pytest.mark.parametrize(
    ("code", "text", "expired_for", "sentence"),
    [
        (401, "Unauthorized.", 12.2, "turn:a refuses the credentials (401): they expired 12 s ago"),
        (400, "", 12.2, "turn:a refuses the credentials (400): they expired 12 s ago"),
        (401, "", -12.2, "turn:a refuses the credentials (401)"),
        (401, "", None, "turn:a refuses the credentials (401)"),
        (486, "", 12.2, "turn:a has no room for this user: quota reached (486)"),
        (508, "", None, "turn:a has no room: capacity reached (508)"),
        (701, "TURN host lookup received error.", None, "turn:a cannot be found: its name has no address"),
        (701, "Failed to establish connection", None, "turn:a cannot be reached (701)"),
        (300, "", None, "turn:a failed (300)"),
    ],
)
def test_a_failure_is_said_in_words(code: int, text: str, expired_for: float | None, sentence: str) -> None:
    found = ServerPool([turn("turn:a")]).failed(at("turn:a"), code, explained(code, text), 0.0)
    assert found is not None
    assert found.sentence(expired_for) == sentence


def test_no_answer_is_said_in_words() -> None:
    found = ServerPool([turn("turn:a")]).failed(at("turn:a"), 0, NO_ANSWER, 0.0)
    assert found is not None
    assert found.sentence(None) == "turn:a gives no answer in 3 s"
    assert "the password" not in repr(found)


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(WAYS)), unique=True, max_size=12),
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(WAYS), st.floats(0, 200))),
)
def test_there_is_always_a_server_and_never_more_than_three(
    listed: list[tuple[str, str]], failures: list[tuple[str, str, float]]
) -> None:
    pool = ServerPool([STUN, *(turn(way.format(host)) for host, way in listed)])
    now = 0.0
    for host, way, after in failures:
        now += after
        pool.failed(at(way.format(host)), 0, NO_ANSWER, now)
        given = given_by(pool, now)
        assert given[0] == "stun:a"
        assert min(1, len(listed)) <= len(given) - 1 <= min(MOST_GIVEN, len(listed))
        assert len(set(given)) == len(given)
