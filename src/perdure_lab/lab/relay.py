"""coturn beside the rendezvous: a STUN server and TURN relay for one run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from perdure_lab.lab.children import START_TIMEOUT, Child
from perdure_lab.lab.namespaces import entered
from perdure_lab.lab.subject import RELAY_PASSWORD, RELAY_PORT, RELAY_USER
from perdure_lab.lab.tools import LabError
from perdure_lab.lab.topology import SERVICES, SERVICES_V4, SERVICES_V6

_RETRY_INTERVAL = 0.05
"""Seconds: coturn answers some 0.1 s after its start."""

_BINDING_REQUEST = bytes.fromhex("0001 0000 2112a442")
"""RFC 8489, section 5: type, length and magic cookie; 12 bytes of transaction ID follow."""

_BINDING_SUCCESS = bytes.fromhex("0101")


def relay(*, log_file: Path | None, on_end: Callable[[str], None], on_log_lost: Callable[[str], None]) -> Child:
    """Not yet started; the arguments are `Child`'s."""
    return Child(
        "relay",
        SERVICES,
        [
            "turnserver",
            "-n",  # no configuration file
            *("--listening-ip", SERVICES_V4, "--listening-ip", SERVICES_V6),
            *("--relay-ip", SERVICES_V4, "--relay-ip", SERVICES_V6),
            *("--listening-port", str(RELAY_PORT), "--min-port", "50000", "--max-port", "50999"),
            *("--lt-cred-mech", "--user", f"{RELAY_USER}:{RELAY_PASSWORD}", "--realm", "lab"),
            *("--no-cli", "--no-tls", "--no-dtls", "--no-stdout-log", "--simple-log", "--log-file", "/dev/stderr"),
            *("--pidfile", "/run/turnserver.pid", "--userdb", "/run/turnserver.db"),
        ],
        log_file=log_file,
        on_end=on_end,
        on_log_lost=on_log_lost,
    )


async def relay_answers() -> None:
    """Wait until it does.

    Raises:
        LabError: not in time.
    """
    with entered(SERVICES):
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with asking:
        asking.setblocking(False)
        asking.connect((SERVICES_V4, RELAY_PORT))
        await answers(asking)


async def answers(asking: socket.socket) -> None:
    """Wait until the STUN server that the UDP socket is connected to answers it.

    Raises:
        LabError: not in time.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while True:
                with contextlib.suppress(OSError):  # nobody listens there yet, or `TimeoutError`
                    await loop.sock_sendall(asking, _BINDING_REQUEST + os.urandom(12))
                    async with asyncio.timeout(_RETRY_INTERVAL):
                        if (await loop.sock_recv(asking, 2048)).startswith(_BINDING_SUCCESS):
                            return
                await asyncio.sleep(_RETRY_INTERVAL)
    except TimeoutError:
        raise LabError(f"the relay did not answer within {START_TIMEOUT:.0f} s") from None
