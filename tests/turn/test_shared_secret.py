"""Credentials that are made from a secret which the TURN server has too."""

from __future__ import annotations

import subprocess

import pytest

from perdure.turn.shared_secret import SharedSecret, expiry_of, make_credentials

URLS = ("turn:turn.example:3478", "turns:turn.example:443")


async def test_credentials_name_their_end_and_a_user_who_is_another_each_time() -> None:
    provider = SharedSecret("north", URLS, lifetime=600, now=lambda: 1_000_000_000.5)
    first, second = await provider.ice_servers(), await provider.ice_servers()
    assert [server.url for server in first.servers] == list(URLS)
    assert first.lifetime == 600
    names = {server.username for issued in (first, second) for server in issued.servers}
    assert len(names) == 2
    assert all(expiry_of(name) == 1_000_000_600 for name in names)


def test_the_password_is_what_openssl_makes_of_secret_and_name() -> None:
    made = make_credentials(b"north", "ada", 1_433_895_918)
    done = subprocess.run(
        "openssl dgst -sha1 -hmac north -binary | openssl base64",
        shell=True,
        input=b"1433895918:ada",
        capture_output=True,
        check=True,
    )
    assert made.username == "1433895918:ada"
    assert made.password == done.stdout.decode().strip()


def test_neither_secret_nor_password_is_shown() -> None:
    provider = SharedSecret("north", URLS)
    made = provider.issue()
    assert "north" not in repr(provider)
    assert made.password not in repr(made)


@pytest.mark.parametrize(
    ("name", "expiry"), [("1433895918:ada", 1_433_895_918), ("ada", None), ("12:ada", None), (None, None)]
)
def test_a_name_says_when_it_expires_or_nothing(name: str | None, expiry: int | None) -> None:
    assert expiry_of(name) == expiry


@pytest.mark.parametrize(
    ("secret", "urls", "lifetime", "why"),
    [
        ("", URLS, 600, "1 to 1024 bytes"),
        ("x" * 1025, URLS, 600, "1025"),
        ("north", (), 600, "a list"),
        ("north", "turn:turn.example", 600, "a list"),
        ("north", ["stun:turn.example"], 600, "stun:turn.example"),
        ("north", ["turn:ada:key@turn.example"], 600, "not in its url"),
        ("north", URLS, 9, "10 s"),
        ("north", URLS, float("nan"), "nan"),
    ],
)
def test_what_cannot_be_is_refused(secret: str, urls: list[str], lifetime: float, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        SharedSecret(secret, urls, lifetime=lifetime)
    assert "key" not in str(refused.value)
