"""What of a URL may be shown to a person or a log: everything but who logs in, and by which password. Pure."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"://|\b(?:stun|turn)s?:", re.IGNORECASE)
"""The end of any URL's scheme, and that of an ICE server's, which has no slashes."""

_EXAMPLE = "USER:PASSWORD"
"""As help and errors write a login: it stays readable."""


def without_login(url: str) -> str:
    """`url` with `…` in the place of its user name and password. It is one URL, whatever it holds, also white space."""
    scheme = _SCHEME.search(url)
    at = url.rfind("@")  # a password that holds one is wrong, but should not be shown by half
    if scheme is None or at < scheme.end() or url[scheme.end() : at] == _EXAMPLE:
        return url
    return f"{url[: scheme.end()]}…{url[at:]}"


def without_secret(url: str) -> str:
    """`without_login`; where it is a web page's URL, also `…` in the place of its query, which may hold a key."""
    page, question, _ = without_login(url).partition("?")
    return f"{page}?…" if question and page.lower().startswith(("http:", "https:")) else without_login(url)


def without_logins(text: str) -> str:
    """`text`, in which each word that has a URL is shown by `without_login`."""
    return re.sub(r"\S+", lambda word: without_login(word[0]), text) if "@" in text else text
