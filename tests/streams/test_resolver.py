"""Names of targets are looked up beside each other, and once."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from typing import TYPE_CHECKING

import pytest

from perdure.streams.resolver import (
    KEPT_FAILURE_SECONDS,
    KEPT_SECONDS,
    MAX_LOOKUPS_OF_ONE,
    MAX_SHARED_LOOKUPS,
    Resolver,
    addresses_of,
)
from perdure.tube.clock import clock_from
from support.recorder import TIMEOUT
from support.signaling import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perdure.addresses import Address

HERE = (ipaddress.ip_address("127.0.0.1"),)


class Names:
    """Names that are looked up, some of them for as long as a test wants."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = threading.Event()

    def __call__(self, name: str) -> Sequence[Address]:
        self.asked.append(name)
        if name.startswith("silent"):
            self.answer.wait(TIMEOUT)
        if name.startswith("missing"):
            raise OSError("no such name")
        return HERE


async def test_a_name_is_looked_up_once_for_a_while() -> None:
    names, now = Names(), 100.0
    resolver = Resolver(names)
    with clock_from(lambda: now):
        for _ in range(3):
            assert await resolver.resolve("host", "tube") == HERE
        assert names.asked == ["host"]
        now += KEPT_SECONDS
        await resolver.resolve("host", "tube")
        assert names.asked == ["host"] * 2
        assert await resolver.resolve("192.0.2.1", "tube") == (ipaddress.ip_address("192.0.2.1"),)
        assert len(names.asked) == 2


async def test_callers_of_one_name_share_a_lookup() -> None:
    names = Names()
    resolver = Resolver(names)
    found = await asyncio.gather(*(resolver.resolve(host, "tube") for host in ["host", "HOST", "Host"] * 10))
    assert found == [HERE] * 30
    assert names.asked == ["host"]


async def test_a_name_that_there_is_not_is_asked_for_again_after_a_moment() -> None:
    names, now = Names(), 100.0
    resolver = Resolver(names)
    with clock_from(lambda: now):
        for _ in range(2):
            with pytest.raises(OSError, match="no such name"):
                await resolver.resolve("missing", "tube")
        assert len(names.asked) == 1
        now += KEPT_FAILURE_SECONDS
        with pytest.raises(OSError, match="no such name"):
            await resolver.resolve("missing", "tube")
    assert len(names.asked) == 2


async def test_silent_names_of_one_tube_hold_up_no_other() -> None:
    names = Names()
    resolver = Resolver(names)
    silent = [
        asyncio.ensure_future(resolver.resolve(f"silent{number}", "first")) for number in range(MAX_LOOKUPS_OF_ONE)
    ]
    waiting = asyncio.ensure_future(resolver.resolve("waits", "first"))
    try:
        await eventually(lambda: len(names.asked) == MAX_LOOKUPS_OF_ONE)
        silent[0].cancel()  # whose thread is in use all the same
        async with asyncio.timeout(TIMEOUT):
            assert await resolver.resolve("host", "second") == HERE
            assert await resolver.resolve("host", "first") == HERE, "it is known by now"
        assert "waits" not in names.asked
    finally:
        names.answer.set()
    async with asyncio.timeout(TIMEOUT):
        assert await asyncio.gather(*silent[1:], waiting) == [HERE] * MAX_LOOKUPS_OF_ONE
        assert await resolver.resolve("silent0", "second") == HERE
    assert names.asked.count("silent0") == 1, "what it found is kept, though its caller had gone"


@pytest.mark.parametrize("hostile", [16, MAX_SHARED_LOOKUPS, 3 * MAX_SHARED_LOOKUPS])
async def test_silent_names_of_many_tubes_together_hold_up_no_other(hostile: int) -> None:
    # Found by attack: 16 tubes with 4 silent names each held every thread.
    names = Names()
    resolver = Resolver(names)
    asked = MAX_LOOKUPS_OF_ONE + 1  # one of which has to wait
    silent = [
        asyncio.ensure_future(resolver.resolve(f"silent{name}.{tube}", f"hostile{tube}"))
        for tube in range(hostile)
        for name in range(asked)
    ]
    beside = min(hostile * (MAX_LOOKUPS_OF_ONE - 1), MAX_SHARED_LOOKUPS)
    try:
        await eventually(lambda: len(names.asked) == hostile + beside)
        async with asyncio.timeout(TIMEOUT):
            for number in range(20):
                assert await resolver.resolve(f"first{number}", f"honest{number}") == HERE
                assert await resolver.resolve(f"second{number}", f"honest{number}") == HERE
        assert len(names.asked) == hostile + beside + 40
    finally:
        names.answer.set()
    async with asyncio.timeout(TIMEOUT):
        assert await asyncio.gather(*silent) == [HERE] * len(silent)


def test_the_system_knows_its_own_name() -> None:
    assert set(addresses_of("localhost")) <= {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
