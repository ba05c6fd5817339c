"""What a manager costs that nobody uses: there may be ten thousand of them."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

from benchmarks.peers.crowd import Crowd, StandInCarrier, StandInTransport

from perdure.config import RestartPolicy, SessionLimits
from perdure.registry import TubeRegistry

if TYPE_CHECKING:
    from perdure.manager import TunnelConnectionManager

MOST_BYTES = 5 * 1024
"""51 MB for ten thousand. Measured with CPython 3.11: 5045, of which 136 go when the path is looked at a second after
the beginning. `python -m benchmarks.managers memory` counts a manager's share of the registry's tables, too."""

NOT_ITS_OWN = (type, ModuleType, FunctionType, TubeRegistry, StandInTransport, StandInCarrier, Crowd)


def held_by(manager: TunnelConnectionManager) -> dict[int, object]:
    """The objects that it leads to, by their ids; the registry's other tubes are not among them."""
    held: dict[int, object] = {}
    left: list[object] = [manager]
    while left:
        one = left.pop()
        if id(one) not in held and not isinstance(one, (*NOT_ITS_OWN, asyncio.AbstractEventLoop)):
            held[id(one)] = one
            left.extend(gc.get_referents(one))
    return held


async def test_an_idle_manager_is_small() -> None:
    crowd = Crowd(3, RestartPolicy(), [SessionLimits()], handler=True)
    await crowd.connect(range(3))
    await crowd.age()
    first, second, _ = crowd.managers()
    shared = held_by(second)
    own = [one for key, one in held_by(first).items() if key not in shared]
    sizes: Counter[str] = Counter()
    for one in own:
        sizes[type(one).__name__] += sys.getsizeof(one)
    assert sizes["TunnelConnectionManager"] == sys.getsizeof(first), "no other manager was counted"
    assert sizes.total() <= MOST_BYTES, sizes.most_common()
