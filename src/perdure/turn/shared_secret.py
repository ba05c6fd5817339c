"""TURN credentials made from a secret that the TURN server has too: coturn's `use-auth-secret`.

The user name is `EXPIRY:USER`, in Unix seconds; the password is the base64 of HMAC-SHA1 over it with the secret as key
(draft-uberti-behave-turn-rest-00 §2.2). Who gets them can use the server until then, and cannot make others.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from perdure.config import TURN_TTL
from perdure.ice_server import IceServer
from perdure.turn.provider import IssuedIceServers

SHORTEST_LIFETIME = 10.0
"""Seconds: below, clocks that differ by a few seconds and the set-up of a path would use most of it."""

LONGEST_LIFETIME = 7 * 86400.0
"""Seconds. Who asks for credentials of months wants fixed ones."""

MAX_SECRET_BYTES = 1024
"""Of a secret, or of a file that holds one: coturn's are lines of its configuration."""

_USER_BYTES = 6
"""Random ones: 48 bits tell users in a TURN server's log apart."""

_EXPIRY = re.compile(r"(\d{9,11}):.*", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of a TURN server."""

    username: str
    password: str = field(repr=False)


def make_credentials(secret: bytes, user: str, expires_at: int) -> Credentials:
    """Those that a server with `secret` takes until `expires_at` (Unix seconds)."""
    username = f"{expires_at}:{user}"
    return Credentials(username, base64.b64encode(hmac.digest(secret, username.encode(), hashlib.sha1)).decode())


def expiry_of(username: str | None) -> int | None:
    """Until when (Unix seconds) the credentials of an `EXPIRY:USER` last; `None`: the name does not say."""
    found = _EXPIRY.fullmatch(username or "")
    return int(found[1]) if found else None


class SharedSecret:
    """Makes credentials for the TURN servers at `urls`, each time with another random user.

    Args:
        secret: that of coturn's `static-auth-secret`.
        urls: `turn:HOST:PORT`, `turn:HOST:PORT?transport=tcp`, `turns:HOST:PORT`; all have the secret.
        lifetime: seconds, from 10 to a week.
        now: Unix seconds.
        user: makes the names of users.

    Raises:
        ValueError: the secret is empty or too long, a URL is none of a TURN server, or `lifetime` is out of its range.
    """

    def __init__(
        self,
        secret: str | bytes,
        urls: Iterable[str],
        *,
        lifetime: float = TURN_TTL,
        now: Callable[[], float] = time.time,
        user: Callable[[], str] = lambda: secrets.token_hex(_USER_BYTES),
    ) -> None:
        self._secret = secret.encode() if isinstance(secret, str) else secret
        self.urls = tuple(urls)
        self.lifetime = lifetime
        self._now = now
        self._user = user
        if not 0 < len(self._secret) <= MAX_SECRET_BYTES:
            raise ValueError(f"a TURN server's secret has 1 to {MAX_SECRET_BYTES} bytes, not {len(self._secret)}")
        if isinstance(urls, str) or not self.urls:
            raise ValueError('the URLs of TURN servers are a list: ["turn:HOST:PORT"]')
        if not SHORTEST_LIFETIME <= lifetime <= LONGEST_LIFETIME:
            raise ValueError(
                f"TURN credentials last {SHORTEST_LIFETIME:.0f} s to {LONGEST_LIFETIME:.0f} s, not {lifetime:g} s"
            )
        for url in self.urls:
            if not url.startswith(("turn:", "turns:")):
                shown = url if "@" not in url else url.partition(":")[0]
                raise ValueError(f"a TURN server looks like turn:HOST:PORT or turns:HOST:PORT, not {shown!r}")
            IceServer(url, "user", "password")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(self.urls)}>"

    def issue(self) -> Credentials:
        """New ones."""
        return make_credentials(self._secret, self._user(), int(self._now() + self.lifetime))

    async def ice_servers(self) -> IssuedIceServers:
        made = self.issue()
        return IssuedIceServers(tuple(IceServer(url, made.username, made.password) for url in self.urls), self.lifetime)
