"""What polling sees of this machine, whatever it is."""

from __future__ import annotations

import asyncio

from perdure.netmon.polling import PollingSource


def test_it_sees_the_loopback_interface_and_its_addresses() -> None:
    source = PollingSource()
    [loopback] = [it for it in source.look().interfaces if it.is_loopback]
    assert loopback.is_up
    assert "127.0.0.1" in {address.ip for address in loopback.addresses}


async def test_it_hints_again_and_again_until_it_is_closed() -> None:
    hints: asyncio.Queue[None] = asyncio.Queue()
    source = PollingSource(interval=0.01)
    source.watch(lambda: hints.put_nowait(None), lambda _: None)
    async with asyncio.timeout(30.0):
        for _ in range(3):
            await hints.get()
    source.close()
    source.close()
    await asyncio.sleep(0.05)
    assert hints.empty()
