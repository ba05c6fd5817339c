"""A URL is shown without its user name and password, wherever it stands."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from perdure.client import connect
from perdure.errors import ListenError, NotAuthorisedError, PeerError, PerdureError, RendezvousError, TicketError
from perdure.eventlog import JsonFormatter, KeyValueFormatter, log_event
from perdure.gateway import serve
from perdure.ice_server import IceServer
from perdure.urls import without_login, without_logins, without_secret
from support.tickets import ticket_for

URL = "wss://me:hunter2@rendezvous.example/v1"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("stun:stun.example:3478", "stun:stun.example:3478"),
        ("turn:1763856000:me:secret@turn.example:3478", "turn:…@turn.example:3478"),
        ("TURNS:me:sec@ret@turn.example?transport=tcp", "TURNS:…@turn.example?transport=tcp"),
        ("turn:me:my secret@turn.example", "turn:…@turn.example"),
        ("wss://me:sec:ret@rendezvous.example", "wss://…@rendezvous.example"),
        ("wss://me:sec/ret@rendezvous.example", "wss://…@rendezvous.example"),
        ("wws://secret@rendezvous.example", "wws://…@rendezvous.example"),
        ("http://me:secret@proxy.example:3128", "http://…@proxy.example:3128"),
        ("wss://rendezvous.example/path", "wss://rendezvous.example/path"),
        ("ssh me@host.example", "ssh me@host.example"),
        ("turn:USER:PASSWORD@HOST:PORT", "turn:USER:PASSWORD@HOST:PORT"),
    ],
)
def test_a_url_is_shown_without_its_login(url: str, shown: str) -> None:
    assert without_login(url) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://turn.example/credentials?apiKey=secret", "https://turn.example/credentials?…"),
        ("https://turn.example/credentials", "https://turn.example/credentials"),
        ("turn:me:secret@turn.example?transport=tcp", "turn:…@turn.example?transport=tcp"),
        ("turn:turn.example?transport=tcp", "turn:turn.example?transport=tcp"),
    ],
)
def test_a_setting_is_shown_without_its_secret(url: str, shown: str) -> None:
    assert without_secret(url) == shown


def test_urls_within_a_text_are_found() -> None:
    text = f"'{URL}' and ({URL}) but not ws://host; ask me@host"
    shown = "'wss://…@rendezvous.example/v1' and (wss://…@rendezvous.example/v1) but not ws://host; ask me@host"
    assert without_logins(text) == shown


@pytest.mark.parametrize(
    "error",
    [
        PerdureError(f"no {URL}"),
        TicketError(f"no {URL}"),
        RendezvousError(f"no {URL}", url=URL),
        PeerError(f"no {URL}", reason="absent"),
        NotAuthorisedError(f"no {URL}", target="host:1"),
        ListenError(f"no {URL}", address="host:1"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_error_of_ours_holds_a_login(error: PerdureError) -> None:
    assert str(error) == "no wss://…@rendezvous.example/v1"
    assert "hunter2" not in repr(error)
    assert "hunter2" not in str(vars(error))


@pytest.mark.parametrize("url", ["turn:me:hunter2@turn.example", "wws://me:hunter2@turn.example", "me:hunter2@turn"])
def test_an_ice_servers_url_has_no_login(url: str) -> None:
    with pytest.raises(ValueError, match="arguments of their own") as error:
        IceServer(url, "me", "hunter2")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("formatter", [JsonFormatter(), KeyValueFormatter()])
def test_no_line_of_the_log_holds_a_login(formatter: logging.Formatter) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter)
    logger = logging.Logger("perdure.test")
    logger.addHandler(handler)
    try:
        raise OSError(f"{URL} does not answer")
    except OSError as error:
        log_event(logger, logging.WARNING, "something", error, status=f"waiting for {URL}", count=3)
        logger.warning("another library on %s", URL, exc_info=sys.exc_info())
    assert written.getvalue().count("wss://…@rendezvous.example/v1") >= 4
    assert "hunter2" not in written.getvalue()


def test_an_applications_own_logging_shows_none_either(caplog: pytest.LogCaptureFixture) -> None:
    log_event(logging.getLogger("perdure.test"), logging.WARNING, "signaling", status=f"waiting for {URL}")
    assert caplog.messages == ['signaling status="waiting for wss://…@rendezvous.example/v1"']


async def test_a_gateway_and_a_tunnel_show_none() -> None:
    ticket = ticket_for(URL)
    for shown in (repr(serve(URL, allow=["host:1"])), repr(connect(ticket))):
        assert "rendezvous.example" in shown
        assert "hunter2" not in shown
