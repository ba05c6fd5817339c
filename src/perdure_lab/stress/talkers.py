"""Tunnels that speak all the time, as a process of its own: `python -m perdure_lab.stress.talkers`.

It is asked for one `Talk`, tells of its progress, and at last, when it hears a line, of its result.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from perdure.cli.running import raise_descriptor_limit
from perdure.core.state import State
from perdure.errors import PerdureError
from perdure.ticket import read_ticket
from perdure_lab.lab.apart import asked, done, end_with_the_asker, tell
from perdure_lab.lab.position import coded
from perdure_lab.stress.tunnels import Tunnels

if TYPE_CHECKING:
    from perdure.client import Tunnel
    from perdure.core.actions import StateChanged

LONGEST_SPREAD = 2.0
"""Seconds within which all tunnels say their first block, also where they say another one hours later."""

LAST_BYTES_TIMEOUT = 60.0
"""Seconds for what is under way when it is to end: a recovery may take its time."""


@dataclass(frozen=True, slots=True)
class Talk:
    """`tunnels` at a gateway; on each, a stream to `target`, an echo, gets `block` bytes every `interval` seconds."""

    ticket: str
    tunnels: int
    host: str
    port: int
    block: int = 256
    interval: float = 0.5
    """Nothing but the first block, where it is longer than the talk."""
    talks: bool = True
    """Otherwise the tunnels carry no stream at all."""


@dataclass(slots=True)
class Heard:
    """What came of it, over all tunnels."""

    connected: int = 0
    set_up_seconds: float = 0.0
    round_trips: list[float] = field(default_factory=list)
    """Seconds, of each block."""
    bytes_sent: int = 0
    bytes_received: int = 0
    bytes_wrong: int = 0
    streams_lost: int = 0
    outages: int = 0
    """Times that a tunnel was without a path."""


@dataclass(frozen=True, slots=True)
class Told:
    """Exactly one field is set."""

    connected: int | None = None
    """Tunnels so far."""
    heard: Heard | None = None
    problem: str | None = None


class Talkers:
    """Talks until `end` is called."""

    def __init__(self, talk: Talk) -> None:
        self.heard = Heard()
        self._talk = talk
        self._ending = asyncio.Event()

    def end(self) -> None:
        self._ending.set()

    async def run(self) -> None:
        talk = self._talk
        began_at = monotonic()
        tunnels = Tunnels(
            read_ticket(Path(talk.ticket)), talk.tunnels, on_count=lambda count: tell(Told(connected=count))
        )
        async with tunnels:
            self.heard.connected = talk.tunnels
            self.heard.set_up_seconds = monotonic() - began_at
            if not talk.talks:
                await self._ending.wait()
                return
            await asyncio.gather(*(self._speak(tunnel, number) for number, tunnel in enumerate(tunnels)))

    async def _speak(self, tunnel: Tunnel, number: int) -> None:
        talk, heard = self._talk, self.heard
        tunnel.manager.add_state_change_callback(self._count_outage)
        await asyncio.sleep(min(talk.interval, LONGEST_SPREAD) * number / talk.tunnels)  # not all at the same time
        try:
            reader, writer = await tunnel.open_connection(talk.host, talk.port)
            position = 0
            while not self._ending.is_set():
                sent_at = monotonic()
                block = coded(number, position, talk.block)
                writer.write(block)
                heard.bytes_sent += len(block)
                position += len(block)
                async with asyncio.timeout(LAST_BYTES_TIMEOUT):
                    answer = await reader.readexactly(len(block))
                heard.bytes_received += len(answer)
                heard.bytes_wrong += sum(map(int.__ne__, answer, block))
                heard.round_trips.append(monotonic() - sent_at)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(talk.interval):
                        await self._ending.wait()
            writer.write_eof()
            async with asyncio.timeout(LAST_BYTES_TIMEOUT):
                heard.bytes_wrong += len(await reader.read())
            writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, PerdureError):
            heard.streams_lost += 1

    def _count_outage(self, change: StateChanged) -> None:
        self.heard.outages += change.after is State.RECONNECTING


async def _run(talk: Talk) -> None:
    talkers = Talkers(talk)
    loop = asyncio.get_running_loop()
    end_with_the_asker(lambda: loop.call_soon_threadsafe(talkers.end))
    try:
        await talkers.run()
        tell(Told(heard=talkers.heard))
    except* (PerdureError, OSError) as group:
        tell(Told(problem=str(group.exceptions[0])))


def main() -> None:
    raise_descriptor_limit()
    asyncio.run(_run(asked(Talk)))
    done()


if __name__ == "__main__":
    main()
