"""In a network namespace of its own: seconds from an offer, made after a new address appeared, to its candidate.

`python newcomer.py SECONDS alone|others`: how long after it the offer is made, and whether the carrier of before is
closed then or stays open.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from perdure.config import TransportConfig
from perdure.transport.rtc import RtcTransport

if TYPE_CHECKING:
    from perdure.transport.base import IceState, LossReason, OpenChannel, PathStatistics

NEW = "10.2.0.2"


class Listener:
    def __init__(self) -> None:
        self.offers = 0
        self.addresses: list[str] = []
        self.found = asyncio.Event()

    def carrier_description(self, generation: int, sdp: str) -> None:
        self.offers += 1

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self.addresses.append(candidate.split()[4])
        self.found.set()

    async def gathered(self, address: str) -> None:
        while address not in self.addresses:
            self.found.clear()
            await self.found.wait()

    def carrier_opened(self, generation: int, channel: OpenChannel) -> None: ...

    def carrier_message(self, generation: int, message: bytes) -> None: ...

    def carrier_writable(self, generation: int) -> None: ...

    def carrier_ice_state(self, generation: int, state: IceState) -> None: ...

    def carrier_measured(self, generation: int, statistics: PathStatistics) -> None: ...

    def carrier_lost(self, generation: int, reason: LossReason, detail: str) -> None: ...


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


async def main(after_seconds: float, *, others_stay: bool) -> float:
    ip("link add eth0 type veth peer name eth0-peer")
    ip("link set eth0-peer up")
    ip("link set eth0 up")
    ip("address add 10.1.0.2/24 dev eth0")
    transport = RtcTransport(TransportConfig())
    before, after = Listener(), Listener()
    old = transport.offer(3, before)
    await before.gathered("10.1.0.2")
    ip(f"address add {NEW}/24 dev eth0")
    transport.renew()
    await asyncio.sleep(after_seconds)
    offered_at = time.monotonic()
    if not others_stay:
        old.close()
    new = transport.offer(5, after)
    async with asyncio.timeout(20):
        await after.gathered(NEW)
    seconds = time.monotonic() - offered_at
    assert after.offers == 1
    new.close()
    old.close()
    return seconds


if __name__ == "__main__":
    print(asyncio.run(main(float(sys.argv[1]), others_stay=sys.argv[2] == "others")))  # noqa: T201
