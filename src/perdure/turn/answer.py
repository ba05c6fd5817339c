"""The JSON in which services hand out ICE servers, read into a type.

All of these are taken, with `urls`, `url` or `uris` (a text or a list), `credential` or `password`, in any case:

* `{"username", "password", "ttl", "uris"}`: draft-uberti-behave-turn-rest-00 §2.2, Matrix, Janus, `perdure rendezvous`
* `{"iceServers": [{"urls", "username", "credential"}]}`, or one server instead of the list: W3C, Cloudflare
* `{"ice_servers": […], "ttl": "86400"}`: Twilio
* `[{…}, …]`: Metered
* `{"IceServerList": [{"Uris", "Username", "Password", "Ttl"}]}`: AWS

A server that perdure cannot use is left out; where there is no other, that is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from perdure.errors import ProtocolError
from perdure.ice_server import IceServer
from perdure.nesting import check_json
from perdure.turn.provider import IssuedIceServers
from perdure.turn.shared_secret import expiry_of

MAX_SERVERS = 16
"""Servers, one a URL: what a gateway may tell its clients. Cloudflare names eight."""

MAX_LIFETIME = 366 * 86400.0
"""Seconds. What claims to last longer is taken to last a year: it is asked for again long before."""

_SERVER_LISTS = ("iceservers", "ice_servers", "iceserverlist")


def read_answer(body: bytes, *, now: float) -> IssuedIceServers:
    """
    Args:
        now: Unix seconds. Where no `ttl` stands, a user name of the form `EXPIRY:USER` says how long it lasts.

    Raises:
        ProtocolError: it is none of these, or credentials have expired already. The text repeats nothing of it.
    """
    try:
        check_json(body)
        document = _lowered(msgspec.json.decode(body))
    except (ValueError, RecursionError):
        raise ProtocolError("it answers no JSON that names ICE servers") from None
    entries = list(_entries(document))
    servers: list[IceServer] = []
    lifetimes = [_lifetime(document.get("ttl"))] if isinstance(document, dict) else []
    for entry in entries:
        found = list(_servers(entry))
        servers += found
        lifetimes.append(_lifetime(entry.get("ttl")))
        expiries = [at for server in found if (at := expiry_of(server.username)) is not None]
        lifetimes += [at - now for at in expiries if entry.get("ttl") is None]
    if not servers:
        raise ProtocolError("it names no ICE server that can be used")
    known = [lifetime for lifetime in lifetimes if lifetime is not None]
    if known and min(known) <= 0:
        raise ProtocolError("its credentials have expired already; do both clocks go right?")
    return IssuedIceServers(tuple(servers[:MAX_SERVERS]), min([*known, MAX_LIFETIME]) if known else None)


def _lowered(value: Any) -> Any:
    """`value` with the keys of its objects in lower case."""
    match value:
        case dict():
            return {key.lower(): _lowered(each) for key, each in value.items()}
        case list():
            return [_lowered(each) for each in value]
        case _:
            return value


def _entries(document: Any) -> Iterator[dict[str, Any]]:
    """The servers' objects."""
    if isinstance(document, dict):
        document = next((document[name] for name in _SERVER_LISTS if name in document), document)
    for entry in document if isinstance(document, list) else [document]:
        if isinstance(entry, dict):
            yield entry


def _servers(entry: dict[str, Any]) -> Iterator[IceServer]:
    """One for each URL."""
    username, password = entry.get("username"), entry.get("credential", entry.get("password"))
    named = next((entry[name] for name in ("urls", "uris", "url") if name in entry), None)
    for url in named if isinstance(named, list) else [named]:
        if not isinstance(url, str) or not isinstance(username, str | None) or not isinstance(password, str | None):
            continue
        is_turn = url.startswith("turn")
        try:
            yield IceServer(url, username if is_turn else None, password if is_turn else None)
        except ValueError:
            continue


def _lifetime(ttl: object) -> float | None:
    """Seconds; a service may write them as a text."""
    if isinstance(ttl, str) and re.fullmatch(r"\d{1,12}", ttl, re.ASCII):
        return float(ttl)
    return float(ttl) if isinstance(ttl, int | float) and not isinstance(ttl, bool) and abs(ttl) < 1e12 else None
