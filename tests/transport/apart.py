"""Started in private namespaces by `test_own_interface`: a carrier, and another one that keeps off its link.

`python apart.py` builds the world, and says as JSON from which of the client's addresses each of the two sends, of
which addresses the peer was told for the second, and which of them still carries messages when the first one's uplink
has fallen silent. `python apart.py offer|answer` is one end, in its own namespace; its signaling goes over its standard
input and output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from perdure.config import TransportConfig
from perdure.transport.rtc import RtcTransport
from perdure_lab.lab.namespaces import command_in
from perdure_lab.lab.tools import search_path
from support.two_uplinks import CLIENT, FAR, build, silence

if TYPE_CHECKING:
    from perdure.transport.base import Carrier, IceState, LossReason, OpenChannel, PathStatistics

FIRST, SECOND = 3, 5
TIMEOUT = 20.0
SILENT_FOR = 1.0
"""Seconds in which a carrier on the silent uplink says nothing; the engine leaves it after 5.8."""


class End:
    """Answers each message with another one."""

    def __init__(self) -> None:
        self.transport = RtcTransport(TransportConfig())
        self.carriers: dict[int, Carrier] = {}
        self.opened: dict[int, asyncio.Event] = {FIRST: asyncio.Event(), SECOND: asyncio.Event()}
        self.heard: set[int] = set()
        self.told: list[str] = []

    def say(self, **said: Any) -> None:
        print(json.dumps(said), flush=True)  # noqa: T201

    def hear(self, line: str) -> None:
        heard = json.loads(line)
        generation = heard["generation"]
        carrier = self.carriers.get(generation)
        if "candidate" in heard and carrier is not None:
            carrier.add_candidate(heard["candidate"], heard["mid"], heard["mline"])
        elif "sdp" in heard and carrier is None:
            self.carriers[generation] = self.transport.answer(generation, heard["sdp"], self)
        elif "sdp" in heard and carrier is not None:
            carrier.apply_answer(heard["sdp"])

    def carrier_description(self, generation: int, sdp: str) -> None:
        self.say(generation=generation, sdp=sdp)

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        if generation == SECOND:
            self.told.append(candidate.split()[4])
        self.say(generation=generation, candidate=candidate, mid=sdp_mid, mline=sdp_mline)

    def carrier_opened(self, generation: int, channel: OpenChannel) -> None:
        self.opened[generation].set()

    def carrier_message(self, generation: int, message: bytes) -> None:
        self.heard.add(generation)
        if message == b"?":
            self.carriers[generation].send(b"!")

    def carrier_writable(self, generation: int) -> None: ...

    def carrier_ice_state(self, generation: int, state: IceState) -> None: ...

    def carrier_measured(self, generation: int, statistics: PathStatistics) -> None: ...

    def carrier_lost(self, generation: int, reason: LossReason, detail: str) -> None: ...


async def offer(me: End) -> None:
    """Both carriers, one after the other; then "silence" is asked for."""
    me.carriers[FIRST] = me.transport.offer(FIRST, me)
    await me.opened[FIRST].wait()
    while (first := me.carriers[FIRST].local_address) is None:  # noqa: ASYNC110 — the engine does not say
        await asyncio.sleep(0.01)
    me.carriers[SECOND] = me.transport.offer_apart(SECOND, me, first)
    await me.opened[SECOND].wait()
    while (second := me.carriers[SECOND].local_address) is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    me.say(done="opened")
    await asyncio.sleep(0.5)  # until all is silent
    me.heard.clear()
    for carrier in me.carriers.values():
        carrier.send(b"?")
    await asyncio.sleep(SILENT_FOR)
    apart = me.transport.are_apart(first, second)
    carry = sorted(me.heard)
    me.say(result={"first": first, "second": second, "told": sorted(set(me.told)), "apart": apart, "carry": carry})


async def end(*, offers: bool) -> None:
    me = End()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    offering = asyncio.create_task(offer(me)) if offers else None
    while line := await lines.readline():
        me.hear(line.decode())
    if offering is not None:
        offering.cancel()
    for carrier in me.carriers.values():
        carrier.close()


async def world() -> dict[str, object]:
    client, far = [
        await asyncio.create_subprocess_exec(
            *command_in(namespace, sys.executable, __file__, role),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for namespace, role in ((CLIENT, "offer"), (FAR, "answer"))
    ]
    result: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()

    async def signal(process: asyncio.subprocess.Process, other: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert other.stdin is not None
        while line := await process.stdout.readline():
            said = json.loads(line)
            if "result" in said:
                result.set_result(said["result"])
            elif "done" in said:
                silencing = await asyncio.create_subprocess_exec(*silence())
                assert await silencing.wait() == 0
            else:
                other.stdin.write(line)

    signaling = asyncio.gather(signal(client, far), signal(far, client))
    found = await asyncio.wait_for(result, TIMEOUT)
    for process in client, far:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
    await signaling
    return found


if __name__ == "__main__":
    os.environ["PATH"] = search_path()
    if len(sys.argv) > 1 and sys.argv[1] in ("offer", "answer"):
        asyncio.run(end(offers=sys.argv[1] == "offer"))
    else:
        build()
        print(json.dumps(asyncio.run(world())))  # noqa: T201
