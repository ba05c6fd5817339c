"""The relay is waited for until it answers."""

from __future__ import annotations

import asyncio
import socket

from perdure_lab.lab.relay import answers


def udp() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("127.0.0.1", 0))
    opened.setblocking(False)
    return opened


async def test_a_port_that_is_closed_or_silent_or_says_something_else_has_not_answered() -> None:
    loop = asyncio.get_running_loop()
    with udp() as asking, udp() as early:
        address = early.getsockname()
        early.close()
        asking.connect(address)
        waiting = asyncio.ensure_future(answers(asking))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.setblocking(False)
            async with asyncio.timeout(20):
                await asyncio.wait({waiting}, timeout=0.1)
                server.bind(address)
                for answer in (None, b"what?", b"\1\1"):
                    request, client = await loop.sock_recvfrom(server, 100)
                    assert not waiting.done()
                    assert request[:8] == b"\0\1\0\0\x21\x12\xa4\x42"
                    assert len(request) == 20
                    if answer is not None:
                        await loop.sock_sendto(server, answer + request[len(answer) :], client)
                await waiting
