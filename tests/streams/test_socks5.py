"""What a SOCKS5 client says before its bytes, as RFC 1928 and RFC 1929 spell it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.streams.socks5 import REPLIES, ProxyLogin, Socks5Error, Socks5Handshake, Socks5Reply
from perdure.streams.target import Target
from perdure.wire import ResetCode

GREETING = b"\x05\x01\x00"
PASSWORD_GREETING = b"\x05\x02\x00\x02"
LOGIN = ProxyLogin("me", "my word")
RIGHT = b"\x01\x02me\x07my word"
TO_NAME = b"\x05\x01\x00\x03\x07example\x00\x50"
TARGET = Target("example", 80)


def test_a_client_without_a_login_names_a_target() -> None:
    handshake = Socks5Handshake(None)
    assert handshake.receive(GREETING) == b"\x05\x00"
    assert handshake.receive(TO_NAME) == b""
    assert handshake.target == TARGET
    assert handshake.rest == b""


def test_a_client_with_the_right_login_names_a_target() -> None:
    handshake = Socks5Handshake(LOGIN)
    assert handshake.receive(PASSWORD_GREETING) == b"\x05\x02"
    assert handshake.receive(RIGHT) == b"\x01\x00"
    handshake.receive(TO_NAME)
    assert handshake.target == TARGET


@pytest.mark.parametrize(
    ("request_", "target"),
    [
        (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16", Target("127.0.0.1", 22)),
        (b"\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x16", Target("::1", 22)),
        (b"\x05\x01\x00\x03\x03\xc3\xa9a\x00\x16", Target("éa", 22)),
    ],
)
def test_addresses_of_each_kind_are_read(request_: bytes, target: Target) -> None:
    handshake = Socks5Handshake(None)
    handshake.receive(GREETING + request_)
    assert handshake.target == target


@given(cuts=st.lists(st.integers(0, 40)), rest=st.binary(max_size=20))
def test_it_does_not_matter_in_which_pieces_it_comes(cuts: list[int], rest: bytes) -> None:
    said = PASSWORD_GREETING + RIGHT + TO_NAME + rest
    handshake = Socks5Handshake(LOGIN)
    answers, begin = b"", 0
    for end in [*sorted(min(cut, len(said)) for cut in cuts), len(said)]:
        answers += handshake.receive(said[begin:end])
        begin = end
    assert (answers, handshake.target, handshake.rest) == (b"\x05\x02\x01\x00", TARGET, rest)


@given(data=st.binary(max_size=600), with_login=st.booleans())
def test_whatever_comes_is_waited_for_refused_or_a_target(data: bytes, with_login: bool) -> None:
    with contextlib.suppress(Socks5Error):
        Socks5Handshake(LOGIN if with_login else None).receive(data)


@pytest.mark.parametrize(
    ("login", "said", "answer", "why"),
    [
        (LOGIN, GREETING, b"\x05\xff", "offers no password"),
        (None, b"\x05\x01\x02", b"\x05\xff", "insists on a way to log in"),
        (None, b"\x05\x00", b"\x05\xff", "insists"),
        (LOGIN, PASSWORD_GREETING + b"\x01\x02me\x05wrong", b"\x05\x02\x01\x01", "wrong"),
        (LOGIN, PASSWORD_GREETING + b"\x01\x00\x00", b"\x05\x02\x01\x01", "wrong"),
        (None, GREETING + b"\x05\x02\x00\x01" + bytes(6), b"\x05\x00\x05\x07\x00\x01" + bytes(6), "wants command 2"),
        (None, GREETING + b"\x05\x01\x00\x02", b"\x05\x00\x05\x08\x00\x01" + bytes(6), "unknown kind"),
        (None, GREETING + b"\x05\x01\x00\x03\x00\x00\x50", b"\x05\x00\x05\x04\x00\x01" + bytes(6), "no host name"),
        (None, GREETING + b"\x05\x01\x00\x01" + bytes(6), b"\x05\x00\x05\x04\x00\x01" + bytes(6), "port"),
        (None, GREETING + b"\x04\x01\x00\x01", b"\x05\x00\x05\x01\x00\x01" + bytes(6), "malformed"),
        (None, b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", b"\x00\x5b" + bytes(6), "SOCKS4"),
        (None, b"GET / HTTP/1.1\r\n", b"HTTP/1.0 501", "HTTP"),
        (None, b"\x16\x03\x01", b"", "no SOCKS5"),
    ],
)
def test_a_client_that_cannot_be_served_is_told_so(
    login: ProxyLogin | None, said: bytes, answer: bytes, why: str
) -> None:
    with pytest.raises(Socks5Error, match=why) as refused:
        Socks5Handshake(login).receive(said)
    assert refused.value.answer.startswith(answer)


def test_each_way_in_which_a_stream_is_refused_has_its_reply() -> None:
    assert set(REPLIES) == set(ResetCode)
    assert REPLIES[ResetCode.REFUSED].encode() == b"\x05\x05\x00\x01" + bytes(6)
    assert Socks5Reply.SUCCEEDED not in REPLIES.values()


@pytest.mark.parametrize(("user", "password"), [("", "x"), ("x", ""), ("é" * 128, "x"), ("x", "y" * 256)])
def test_a_login_that_socks_cannot_carry_is_refused(user: str, password: str) -> None:
    with pytest.raises(ValueError, match="from 1 to 255 bytes"):
        ProxyLogin(user, password)


def test_a_login_shows_no_password() -> None:
    assert "my word" not in repr(LOGIN)
