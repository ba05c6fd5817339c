"""Started in private namespaces by `test_doubt_on_two_uplinks`: a link whose uplink falls silent. Says what happened as
JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from random import Random

from perdure.netmon.monitor import NetworkMonitor
from perdure.netmon.uplinks import uplinks
from perdure.signaling.frames import Join, Role
from perdure.signaling.websocket import RendezvousLink
from perdure_lab.lab.namespaces import command_in, entered
from perdure_lab.lab.tools import search_path
from support.links import CLIENT_ID, Owner
from support.raw_peers import ROOM
from support.signaling import eventually
from support.two_uplinks import CLIENT, FAR, FAR_ADDRESS, build, silence

PORT = 8765


async def main() -> dict[str, object]:
    server = [sys.executable, "-m", "perdure", "rendezvous", "--listen", f"{FAR_ADDRESS}:{PORT}"]
    rendezvous = await asyncio.create_subprocess_exec(*command_in(FAR, *server))
    owner = Owner()
    async with NetworkMonitor() as network:
        link = RendezvousLink(
            f"ws://{FAR_ADDRESS}:{PORT}",
            join=lambda challenge: Join(ROOM, Role.CLIENT, CLIENT_ID),
            listener=owner,
            random=Random(7),
            interfaces=lambda: uplinks(network.snapshot),
        )
        link.start()
        await eventually(lambda: link.is_up)
        before, owner.downs = link.local_address, []  # the rendezvous may have begun after it
        silencing = await asyncio.create_subprocess_exec(*silence())
        assert await silencing.wait() == 0
        link.doubt()
        await eventually(lambda: owner.ups == 2)
        after = link.local_address
        await link.close()
    rendezvous.kill()
    await rendezvous.wait()
    return {"before": before, "after": after, "downs": owner.downs}


if __name__ == "__main__":
    os.environ["PATH"] = search_path()
    build()
    with entered(CLIENT):
        print(json.dumps(asyncio.run(main())))  # noqa: T201
