"""Started in private namespaces by `test_own_interface`: two ends of a carrier, of which one has two uplinks.

`python standby.py own|routes` builds the world, and says as JSON by which interface messages pass: at first, and after
the active uplink fell silent. `python standby.py own|routes offer|answer` is one end, in its own namespace; its
signaling goes over its standard input and output.
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

INTERVAL = 0.02
PATIENCE = 20.0
"""Seconds: the engine leaves a silent pair after 5.8."""

LASTING = 150
"""Messages, 3 s of them. The engine's wrapper opens a socket of its own making 0.5 s after a pair was selected."""


class End:
    def __init__(self, transport: RtcTransport) -> None:
        self.transport = transport
        self.carrier: Carrier | None = None
        self.opened = asyncio.Event()

    def say(self, **said: Any) -> None:
        print(json.dumps(said), flush=True)  # noqa: T201

    def hear(self, line: str) -> None:
        heard = json.loads(line)
        if "candidate" in heard and self.carrier is not None:
            self.carrier.add_candidate(heard["candidate"], heard["mid"], heard["mline"])
        elif "sdp" in heard and self.carrier is None:
            self.carrier = self.transport.answer(3, heard["sdp"], self)
        elif "sdp" in heard and self.carrier is not None:
            self.carrier.apply_answer(heard["sdp"])

    def carrier_description(self, generation: int, sdp: str) -> None:
        self.say(sdp=sdp)

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self.say(candidate=candidate, mid=sdp_mid, mline=sdp_mline)

    def carrier_opened(self, generation: int, channel: OpenChannel) -> None:
        self.opened.set()

    def carrier_message(self, generation: int, message: bytes) -> None:
        assert self.carrier is not None
        if message == b"?":
            self.carrier.send(b"!")
        else:
            self.say(echo=self.carrier.local_address)

    def carrier_writable(self, generation: int) -> None: ...

    def carrier_ice_state(self, generation: int, state: IceState) -> None: ...

    def carrier_measured(self, generation: int, statistics: PathStatistics) -> None: ...

    def carrier_lost(self, generation: int, reason: LossReason, detail: str) -> None: ...


async def end(*, own: bool, offers: bool) -> None:
    me = End(RtcTransport(TransportConfig(own_interfaces=own)))
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    if offers:
        me.carrier = me.transport.offer(3, me)

    async def ask() -> None:
        await me.opened.wait()
        while offers and me.carrier is not None:
            me.carrier.send(b"?")
            await asyncio.sleep(INTERVAL)

    asking = asyncio.create_task(ask())
    while line := await lines.readline():
        me.hear(line.decode())
    asking.cancel()
    if me.carrier is not None:
        me.carrier.close()


async def world(mode: str) -> dict[str, str | None]:
    client, far = [
        await asyncio.create_subprocess_exec(
            *command_in(namespace, sys.executable, __file__, mode, role),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for namespace, role in ((CLIENT, "offer"), (FAR, "answer"))
    ]
    echoes: asyncio.Queue[str] = asyncio.Queue()

    async def signal(process: asyncio.subprocess.Process, other: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert other.stdin is not None
        while line := await process.stdout.readline():
            if "echo" in (said := json.loads(line)):
                echoes.put_nowait(said["echo"])
            else:
                other.stdin.write(line)

    async def heard(count: int) -> str | None:
        """From where the last of so many messages was sent, from now on; `None`: there were not as many."""
        await asyncio.sleep(0.1)  # for what was under way
        while not echoes.empty():
            echoes.get_nowait()
        address = None
        try:
            async with asyncio.timeout(PATIENCE):
                for _ in range(count):
                    address = await echoes.get()
        except TimeoutError:
            return None
        return address

    signaling = asyncio.gather(signal(client, far), signal(far, client))
    before = await heard(1)
    silencing = await asyncio.create_subprocess_exec(*silence())
    assert await silencing.wait() == 0
    after = await heard(LASTING)
    for process in client, far:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
    await signaling
    return {"before": before, "after": after}


if __name__ == "__main__":
    os.environ["PATH"] = search_path()
    if len(sys.argv) > 2:
        asyncio.run(end(own=sys.argv[1] == "own", offers=sys.argv[2] == "offer"))
    else:
        build()
        print(json.dumps(asyncio.run(world(sys.argv[1]))))  # noqa: T201
