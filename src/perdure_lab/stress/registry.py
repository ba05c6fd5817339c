"""One registry, called by many tasks at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING

from perdure import PeerError, ResourceLimits, TransportConfig, TubeRegistry
from perdure_lab.stress.holdings import expect_returned
from perdure_lab.stress.pairs import warmed_up

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from perdure_lab.stress.stage import Stage

MOST_TUBES = 200
"""In the registry that many tasks call: so few that its limits are met all the time."""

REFUSALS = (
    "there is a tube",
    "no tube",
    "max_tubes is",
    "max_concurrent_creates is",
    "has not ended",
    "has ended",
    "the tube ended",
)
"""What the calls below may be refused with. Any other error is one that concurrency made."""


async def test_concurrent_registry_operations(stage: Stage) -> None:
    """Every call of a registry from many tasks in any order: only documented errors, and its counts stay true."""
    before = await warmed_up()
    counts: Counter[str] = Counter()
    ends_at = monotonic() + stage.sizes.seconds
    registry = TubeRegistry(limits=ResourceLimits(max_tubes=MOST_TUBES), transport=TransportConfig(loopback=True))
    caller = _Caller(stage, registry)

    async def work() -> None:
        while monotonic() < ends_at:
            call = stage.dice.choice(CALLS)
            try:
                await call(caller)
                counts["done"] += 1
            except (ValueError, RuntimeError, PeerError) as error:
                counts["refused"] += 1
                is_documented = any(words in str(error) for words in REFUSALS)
                stage.expect(is_documented, f"{call.__name__}: {type(error).__name__}: {error}")
            stage.expect(len(registry) == len(list(registry)), "len and iteration differ")
            capacity = registry.check_capacity()
            stage.expect(capacity.tubes == len(registry), f"capacity says {capacity.tubes} of {len(registry)} tubes")
            stage.expect(len(registry) <= MOST_TUBES, f"{len(registry)} tubes, and max_tubes was {MOST_TUBES}")
            stage.progress("calls", stage.sizes.seconds - max(0.0, ends_at - monotonic()), stage.sizes.seconds)
            await asyncio.sleep(0)

    async with registry:
        await asyncio.gather(*(work() for _ in range(stage.sizes.workers)))
        closing = [asyncio.ensure_future(registry.close()) for _ in range(3)]
        await asyncio.gather(*closing)
    stage.expect(counts["done"] > 0, "no call succeeded")
    stage.expect(not len(registry), f"{registry!r} after it was closed")
    await expect_returned(stage, before)
    stage.measured("calls", counts["done"] + counts["refused"])
    stage.measured("calls a second", (counts["done"] + counts["refused"]) / stage.sizes.seconds)
    stage.measured("calls that were refused, as they must be", counts["refused"])


class _Caller:
    """Calls of one registry. Each may be refused: by `ValueError` or `RuntimeError`, or by `PeerError` where its tube
    ends meanwhile."""

    def __init__(self, stage: Stage, registry: TubeRegistry) -> None:
        self.registry = registry
        self._dice = stage.dice

    def _any_id(self) -> str:
        return f"tube {self._dice.randrange(2 * MOST_TUBES)}"

    async def create(self) -> None:
        self.registry.create_tube(self._any_id(), f"conversation {self._dice.randrange(10)}")

    async def offer(self) -> None:
        manager = self.registry.manager(self._any_id())
        await manager.signaling.create_offer()

    async def shut_down(self) -> None:
        await self.registry.manager(self._any_id()).shutdown()

    async def begin_again(self) -> None:
        manager = self.registry.manager(self._any_id())
        closing = asyncio.ensure_future(manager.shutdown())
        await asyncio.sleep(0)
        try:
            await self.registry.begin_again(manager)
        finally:
            await closing

    async def find(self) -> None:
        for tube_id in self.registry.find_tubes("conversation 3"):
            _ = self.registry.manager(tube_id).metrics

    async def listen(self) -> None:
        removal = self.registry.add_tube_callback(lambda manager: None)
        events = self.registry.events()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._dice.uniform(0.0, 0.02)):
                async for _ in events:
                    pass
        removal()

    async def limit(self) -> None:
        self.registry.configure_resource_limits(
            max_tubes=self._dice.randint(MOST_TUBES // 2, MOST_TUBES), max_concurrent_creates=MOST_TUBES
        )

    async def mistake(self) -> None:
        self.registry.configure_resource_limits(max_tubes=-1)

    async def sweep(self) -> None:
        self.registry.sweep()

    async def close_all(self) -> None:
        if self._dice.random() < 0.02:
            await self.registry.close_all()


CALLS: tuple[Callable[[_Caller], Coroutine[object, object, None]], ...] = (
    *(5 * (_Caller.create,)),
    *(3 * (_Caller.shut_down,)),
    _Caller.offer,
    _Caller.begin_again,
    _Caller.find,
    _Caller.listen,
    _Caller.limit,
    _Caller.mistake,
    _Caller.sweep,
    _Caller.close_all,
)
