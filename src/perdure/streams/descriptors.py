"""How this process' descriptors are shared out: TCP connections must leave some for carriers and signaling.

Without a free descriptor no carrier can be built anew and no rendezvous be reached, so one client that opens many
connections would end every other's tunnel. Of the process' limit (RLIMIT_NOFILE)

1. half is for TCP connections. One tube has so many of them that as many stay free: alone it has half of that half, a
   second one half of what is left, and so on (Choudhury and Hahne, Dynamic queue length thresholds, 1998).
2. a quarter is for the carriers of tubes that are there, the link to the rendezvous and lookups: no tube begins in it.
   A carrier holds about 4 descriptors, and 40 where it has ten addresses and is built anew.
"""

from __future__ import annotations

import os
from collections import Counter


def descriptor_limit() -> int | None:
    """How many descriptors this process may have now; `None` where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def are_left_for_a_tube() -> bool:
    """Whether a new tube may have descriptors."""
    if (limit := descriptor_limit()) is None:
        return True
    try:
        lowest = os.open(os.devnull, os.O_RDONLY)  # POSIX: the lowest number that is free
    except OSError:
        return False
    os.close(lowest)
    return lowest < limit * 3 // 4


class Share:
    """Places for TCP connections, shared among their owners.

    Args:
        most: places; `None`: as many as are asked for.
    """

    __slots__ = ("_by_owner", "_most", "_taken")

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._taken = 0
        self._by_owner: Counter[str] = Counter()

    def take(self, owner: str) -> bool:
        """A place for `owner`; whether there is one."""
        if self._most is not None and self._by_owner.get(owner, 0) >= self._most - self._taken:
            return False
        self._taken += 1
        self._by_owner[owner] += 1
        return True

    def give_back(self, owner: str) -> None:
        """One that `take` gave."""
        self._taken -= 1
        self._by_owner[owner] -= 1
        if not self._by_owner[owner]:
            del self._by_owner[owner]
