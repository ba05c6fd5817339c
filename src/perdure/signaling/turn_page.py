"""`GET /v1/turn` at a rendezvous: TURN credentials for who knows a token. Pure but for the credentials' randomness.

1. The token is a bearer token (RFC 6750), compared in constant time. Without it or with a wrong one: 401.
2. Each answer has another user, so that a TURN server's log and quota tell users apart.
3. Answers are limited in rate, and so are refusals, each by its own bucket: who guesses tokens takes nothing from those
   who know it. Beyond: 429.
"""

from __future__ import annotations

import hmac
import http
import json
from typing import NamedTuple

from perdure.signaling.rate import TokenBucket
from perdure.turn.shared_secret import SharedSecret

PATH = "/v1/turn"

ANSWERS_PER_SECOND = 10.0
"""A gateway asks once in some minutes, for all its clients. 10 a second serve some thousands of them."""

ANSWER_BURST = 100
"""Gateways that come back together, as after an outage."""

REFUSALS_PER_SECOND = 1.0
"""To guess a token of 128 bits at this rate is hopeless; somebody who mends a wrong one is not held up."""

REFUSAL_BURST = 10


class Page(NamedTuple):
    """An HTTP response."""

    status: http.HTTPStatus
    headers: dict[str, str]
    body: str


class TurnPage:
    """Answers requests with what `credentials` makes.

    Args:
        now: seconds, on the clock of `answer`.
    """

    def __init__(self, credentials: SharedSecret, token: str, *, now: float) -> None:
        self._credentials = credentials
        self._expected = f"Bearer {token}".encode()
        self._answers = TokenBucket(ANSWERS_PER_SECOND, ANSWER_BURST, now=now)
        self._refusals = TokenBucket(REFUSALS_PER_SECOND, REFUSAL_BURST, now=now)

    def answer(self, authorization: str, now: float) -> Page:
        """
        Args:
            authorization: the request's header; empty where it has none.
        """
        scheme, _, token = authorization.partition(" ")
        given = f"{scheme.title()} {token.strip()}".encode("utf-8", "replace")
        is_known = hmac.compare_digest(given, self._expected)
        bucket = self._answers if is_known else self._refusals
        if not bucket.take(now):
            return _page(http.HTTPStatus.TOO_MANY_REQUESTS, "Too many requests.\n", **{"Retry-After": "10"})
        if not is_known:
            text = "A bearer token is needed.\n"
            return _page(http.HTTPStatus.UNAUTHORIZED, text, **{"WWW-Authenticate": 'Bearer realm="turn"'})
        made = self._credentials.issue()
        said = {
            "username": made.username,
            "password": made.password,
            "ttl": int(self._credentials.lifetime),
            "uris": list(self._credentials.urls),
        }
        return _page(http.HTTPStatus.OK, json.dumps(said), **{"Content-Type": "application/json"})


def _page(status: http.HTTPStatus, body: str, **headers: str) -> Page:
    return Page(status, {"Cache-Control": "no-store", **headers}, body)
