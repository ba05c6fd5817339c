"""Position-coded TCP traffic through the tunnel, measured in one process: both ends of each connection are here.

The sockets are made inside the sites' namespaces and stay there, so that one clock sees a byte sent and delivered.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

from perdure_lab.lab.namespaces import entered
from perdure_lab.lab.position import WORD_BYTES, coded
from perdure_lab.lab.tools import LabError
from perdure_lab.scenario.model import TICK_SECONDS
from perdure_lab.scenario.results import SILENCE_FLOOR, Direction, Silence, Throughput

BIN_SECONDS = 0.1
"""Of the record of throughput; longer where the run is so long that there would be more than `_MAX_BINS`."""

_MAX_BINS = 1000

_MAX_WRITES = 4000
"""A second, of all connections in both directions: with more than 20 of them each writes rarer than every
`TICK_SECONDS`, so that the machine's time goes into the tunnel."""

CLOSING_SILENCE = 30.0
"""Seconds without a byte after which the last bytes and the ends are no longer waited for: a recovery at the run's end
may take its time."""

CLOSING_TIMEOUT = 300.0
"""Seconds that they are waited for at most, even if bytes keep coming: a backlog on a slow path is late, not lost."""

FIRST_BYTE_TIMEOUT = 60.0
"""Seconds from the subjects' start until the first byte has gone through them there and back."""

_RETRY_INTERVAL = 0.1
_GREETING_TIMEOUT = 10.0
_READ_BYTES = 256 * 1024


@dataclass
class Flow:
    """One direction of one connection."""

    stream: int
    direction: Direction
    sent_bytes: int = 0
    received_bytes: int = 0
    wrong_bytes: int = 0
    ended: bool = False
    """The end of the stream arrived as a proper end, not as a reset."""
    last_at: float = 0.0
    longest_gap: float = 0.0
    """Seconds without a byte, the longest since `take_gap`."""
    pauses: list[tuple[float, float]] = field(default_factory=list)
    """Beginning and end of each time without a byte, from `SILENCE_FLOOR` on."""

    def arrived(self, data: bytes, now: float) -> None:
        gap = now - self.last_at
        if gap >= SILENCE_FLOOR:
            self.pauses.append((self.last_at, now))
        self.longest_gap = max(self.longest_gap, gap)
        self.last_at = now
        expected = coded(self.stream, self.received_bytes, len(data))
        if data != expected:
            self.wrong_bytes += sum(map(int.__ne__, data, expected))
        self.received_bytes += len(data)

    def take_gap(self, now: float) -> float:
        """The longest gap so far, one that is still open included; the count starts over."""
        gap = max(self.longest_gap, 0.0 if self.ended else now - self.last_at)
        self.longest_gap = 0.0
        return gap


class Traffic:
    """`connections` TCP connections from the client's namespace through the tunnel to a target beside the gateway.

    Where there is no namespace, it is `None`, and both ends are on this machine.
    """

    def __init__(self, connections: int, rate: float, seconds: float) -> None:
        self.connections = connections
        self.target_port = 0
        self._tick = max(TICK_SECONDS, 2 * connections / _MAX_WRITES)
        self._block = max(WORD_BYTES, int(rate * self._tick))
        self._flows = [
            Flow(2 * number + way, direction)
            for number in range(connections)
            for way, direction in enumerate(_DIRECTIONS)
        ]
        self._bin_seconds = max(BIN_SECONDS, round(seconds / _MAX_BINS, 1))
        self._bins: dict[Direction, list[int]] = {direction: [] for direction in _DIRECTIONS}
        self._began_at = 0.0
        self._ended_at = 0.0
        self._stop = asyncio.Event()
        self._ends: list[list[asyncio.Task[None]]] = [[] for _ in range(connections)]
        """Of each connection the client's and the target's, as far as they are there."""
        self._server: asyncio.Server | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the traffic began."""
        return monotonic() - self._began_at if self._began_at else 0.0

    @property
    def silent_for(self) -> float:
        """Seconds that the longest waiting direction has waited by now."""
        return max((monotonic() - flow.last_at for flow in self._flows if not flow.ended), default=0.0)

    def take_silence(self) -> float:
        """Seconds that the longest waiting direction has waited since the last call."""
        now = monotonic()
        return max(flow.take_gap(now) for flow in self._flows)

    async def listen(self, namespace: str | None) -> None:
        """Open the target inside the gateway's namespace."""
        with _at(namespace):
            listener = socket.create_server(("127.0.0.1", 0))
        self.target_port = listener.getsockname()[1]
        self._server = await asyncio.start_server(self._accepted, sock=listener)

    async def begin(self, namespace: str | None, port: int) -> None:
        """Connect through the tunnel's port in the client's namespace; traffic flows when all are there.

        Raises:
            LabError: nothing comes through.
        """
        deadline = monotonic() + FIRST_BYTE_TIMEOUT
        opened = [await self._open(number, namespace, port, deadline) for number in range(self.connections)]
        self._began_at = monotonic()
        for flow in self._flows:
            flow.last_at = self._began_at
        for number, (reader, writer) in enumerate(opened):
            writer.write(b"\0")
            self._run_end(reader, writer, outgoing=2 * number, incoming=2 * number + 1)

    def start_counting(self) -> None:
        """The run begins now; what was before does not count, but that no byte of it is lost does."""
        self._began_at = monotonic()
        for flow in self._flows:
            flow.pauses.clear()
        for bins in self._bins.values():
            bins.clear()

    async def finish(self) -> None:
        """Stop sending, and wait for the last bytes and the ends."""
        self._ended_at = monotonic()
        self._stop.set()
        while (closing := self._closing()) and self._closes_on():
            await asyncio.wait(closing, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        ends = [end for pair in self._ends for end in pair]
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        if self._server is not None:
            self._server.close()

    @property
    def kept(self) -> int:
        return sum(there.ended and back.ended for there, back in self._pairs())

    @property
    def sent_bytes(self) -> int:
        return sum(flow.sent_bytes for flow in self._flows)

    @property
    def received_bytes(self) -> int:
        return sum(flow.received_bytes for flow in self._flows)

    @property
    def lost_bytes(self) -> int:
        return sum(abs(flow.sent_bytes - flow.received_bytes) for flow in self._flows)

    @property
    def wrong_bytes(self) -> int:
        return sum(flow.wrong_bytes for flow in self._flows)

    @property
    def throughput(self) -> Throughput:
        length = int((self._ended_at - self._began_at) / self._bin_seconds)
        up, down = (self._rates(self._bins[direction], length) for direction in _DIRECTIONS)
        return Throughput(self._bin_seconds, up, down)

    def silences(self) -> tuple[Silence, ...]:
        """Of every direction; of those that overlap between connections the longest."""
        found: list[Silence] = []
        for direction in _DIRECTIONS:
            pauses = [pause for flow in self._flows if flow.direction == direction for pause in self._pauses(flow)]
            found += (
                Silence(began - self._began_at, ended - self._began_at, direction, ended=came)
                for began, ended, came in _longest_of_overlapping(pauses)
            )
        return tuple(sorted(found, key=lambda silence: silence.began_at))

    def _closing(self) -> list[asyncio.Task[None]]:
        """Ends that are worth waiting for: not those whose other end was dropped."""
        return [
            end
            for pair in self._ends
            if not any(each.done() and each.exception() is not None for each in pair)
            for end in pair
            if not end.done()
        ]

    def _closes_on(self) -> bool:
        now, last_at = monotonic(), max(self._ended_at, *(flow.last_at for flow in self._flows))
        return now - last_at < CLOSING_SILENCE and now - self._ended_at < CLOSING_TIMEOUT

    def _rates(self, bins: list[int], length: int) -> tuple[float, ...]:
        padded = [*bins, *[0] * length][:length]
        return tuple(round(count / self._bin_seconds, 1) for count in padded)

    def _pauses(self, flow: Flow) -> Iterator[tuple[float, float, bool]]:
        """Those that began before the sources stopped, and the one that no byte has ended."""
        for began, ended in flow.pauses:
            if began < self._ended_at:
                yield began, ended, True
        if not flow.ended and self._ended_at - flow.last_at >= SILENCE_FLOOR:
            yield flow.last_at, self._ended_at, False

    def _pairs(self) -> Iterator[tuple[Flow, Flow]]:
        return zip(self._flows[::2], self._flows[1::2], strict=True)

    async def _open(
        self, number: int, namespace: str | None, port: int, deadline: float
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which a byte went to the target and came back."""
        while monotonic() < deadline:
            with _at(namespace):
                tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                return await _greeted(tcp, port, number)
            await asyncio.sleep(_RETRY_INTERVAL)
        raise LabError(f"no byte came through the tunnel within {FIRST_BYTE_TIMEOUT:.0f} s")

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The target: say the connection's number back; the client's next byte says that it counts."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            number = (await reader.readexactly(1))[0]
            writer.write(bytes([number]))
            await reader.readexactly(1)
            self._run_end(reader, writer, outgoing=2 * number + 1, incoming=2 * number)

    def _run_end(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, outgoing: int, incoming: int
    ) -> None:
        work = self._run(reader, writer, self._flows[outgoing], self._flows[incoming])
        self._ends[outgoing // 2].append(asyncio.ensure_future(work))

    async def _run(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, outgoing: Flow, incoming: Flow
    ) -> None:
        try:
            await asyncio.gather(self._send(writer, outgoing), self._receive(reader, incoming))
        except BaseException:
            writer.transport.abort()  # closing would wait until somebody reads what waits to be sent
            raise
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _send(self, writer: asyncio.StreamWriter, flow: Flow) -> None:
        while not self._stop.is_set():
            writer.write(coded(flow.stream, flow.sent_bytes, self._block))
            flow.sent_bytes += self._block
            await writer.drain()
            await asyncio.sleep(self._tick)
        writer.write_eof()

    async def _receive(self, reader: asyncio.StreamReader, flow: Flow) -> None:
        while data := await reader.read(_READ_BYTES):
            now = monotonic()
            flow.arrived(data, now)
            self._count(flow.direction, now, len(data))
        flow.ended = self._stop.is_set()  # before its source has ended, even a clean end is a drop

    def _count(self, direction: Direction, now: float, size: int) -> None:
        bins, number = self._bins[direction], int((now - self._began_at) / self._bin_seconds)
        if self._stop.is_set():
            return
        bins.extend([0] * (number + 1 - len(bins)))
        bins[number] += size


_DIRECTIONS: tuple[Direction, ...] = ("up", "down")


def _at(namespace: str | None) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if namespace is None else entered(namespace)


async def _greeted(tcp: socket.socket, port: int, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The socket is closed unless its connection said `number` back."""
    opened: socket.socket | asyncio.StreamWriter = tcp
    try:
        tcp.setblocking(False)
        async with asyncio.timeout(_GREETING_TIMEOUT):
            await asyncio.get_running_loop().sock_connect(tcp, ("127.0.0.1", port))
            reader, writer = await asyncio.open_connection(sock=tcp)
            opened = writer  # the socket is its transport's now
            writer.write(bytes([number]))
            if await reader.readexactly(1) != bytes([number]):
                raise ConnectionError("the tunnel does not end at the target")
    except BaseException:
        opened.close()
        raise
    return reader, writer


def _longest_of_overlapping(pauses: Sequence[tuple[float, float, bool]]) -> list[tuple[float, float, bool]]:
    kept: list[tuple[float, float, bool]] = []
    for pause in sorted(pauses):
        if kept and pause[0] < kept[-1][1]:
            kept[-1] = max(kept[-1], pause, key=lambda each: each[1] - each[0])
        else:
            kept.append(pause)
    return kept
