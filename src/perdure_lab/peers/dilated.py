"""PyPI `fowl`: TCP forwarded through a dilated magic-wormhole, which reconnects by itself.

    python -m perdure_lab.peers.dilated gateway FOLDER HOST:PORT --mailbox ws://HOST:PORT/v1
    python -m perdure_lab.peers.dilated client FOLDER PORT --mailbox ws://HOST:PORT/v1

Its library is used instead of its command, whose pings every 30 s cannot be changed. The code of the wormhole, which
people tell each other, is known to both ends; the mailbox is in the lab's internet, on the network that changes.
"""

from __future__ import annotations

import importlib
import socket
import time
from typing import Any
from urllib.parse import urlsplit

from perdure_lab.peers import words
from perdure_lab.peers.words import Words

APP_ID = "perdure-lab"
CODE = "7-perdure-lab"
SERVICE = "tcp"

PING_INTERVAL = 1.0
"""Seconds; after two without an answer it takes the connection for dead. Its own default is 30."""

MAILBOX_TIMEOUT = 20.0
"""Seconds for the mailbox server to start, together with its clients."""

_RETRY_INTERVAL = 0.1


def main() -> None:
    given = words.parsed(__doc__)
    words.require("fowl", "wormhole", "twisted", package="fowl")
    _wait_for(given.mailbox)
    task: Any = importlib.import_module("twisted.internet.task")
    defer: Any = importlib.import_module("twisted.internet.defer")
    task.react(lambda reactor: defer.ensureDeferred(_forward(reactor, defer, given)))


async def _forward(reactor: Any, defer: Any, given: Words) -> None:
    wormhole: Any = importlib.import_module("wormhole")
    api: Any = importlib.import_module("fowl.api")
    endpoints: Any = importlib.import_module("twisted.internet.endpoints")
    hole = wormhole.create(APP_ID, given.mailbox, reactor, dilation=True)
    coop = api.create_coop(reactor, hole)
    if not given.is_gateway:
        coop.roost(SERVICE, endpoints.TCP4ServerEndpoint(reactor, given.port, interface=given.host))
    hole.set_code(CODE)
    await coop.dilate(transit_relay_location=None, ping_interval=PING_INTERVAL)
    if given.is_gateway:
        await coop.fledge(SERVICE, given.port)
    await defer.Deferred()  # until it is killed


def _wait_for(mailbox: str) -> None:
    parts = urlsplit(mailbox)
    deadline = time.monotonic() + MAILBOX_TIMEOUT
    while True:
        try:
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=MAILBOX_TIMEOUT).close()
        except OSError as error:
            if time.monotonic() > deadline:
                words.refuse(f"no mailbox at {mailbox}: {error}")
            time.sleep(_RETRY_INTERVAL)
        else:
            return


if __name__ == "__main__":
    main()
