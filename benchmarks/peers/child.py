"""A peer as child processes: how a benchmark starts one and asks it, and how the ends find each other inside.

Lines of JSON run over stdin and stdout. The first line that a peer prints is what it has to tell: for a tunnel
`{"host": "127.0.0.1", "port": 40549}`, the address that it forwards. A line `{"ask": "cpu"}` is answered with
`{"cpu_seconds": 1.25}`, user and system time of every process of the peer since it started. The peer goes when its
stdin, a pipe or a terminal, closes. With two processes, the one that listens (the entry) starts the one that dials
(the exit) as its own child and hands it the offer over the same kind of pipe, so that a benchmark sees one child in
either layout.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 60.0  # a push tells its first line when the transfer is over; a tunnel needs less than a second
EXIT_TIMEOUT = 5.0  # after stdin closed; keeper's runtime takes a moment to stop
LINE_LIMIT_BYTES = 1 << 20  # an offer is 2 KB

Line = dict[str, Any]
Address = tuple[str, int]


class Entry(Protocol):
    """The end that listens, and that makes the offer."""

    async def offer(self) -> str: ...

    async def accept(self, answer: str) -> Line:
        """Returns the first line, when the peer has it to tell."""

    async def close(self) -> None: ...


class Exit(Protocol):
    """The end that dials the target."""

    async def answer(self, offer: str) -> str: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Child:
    """A process with JSON lines on its stdin and stdout. Not for two callers at a time."""

    process: asyncio.subprocess.Process

    async def ask(self, question: Line | None, timeout: float) -> Line:
        """Raises RuntimeError when the child ended, TimeoutError when it stays silent."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if question is not None:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
        async with asyncio.timeout(timeout):
            line = await self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"the peer ended with status {await self.process.wait()}")
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise RuntimeError(f"the peer printed {line!r}")
        return answer

    async def cpu_seconds(self) -> float:
        return float((await self.ask({"ask": "cpu"}, EXIT_TIMEOUT))["cpu_seconds"])


@contextlib.asynccontextmanager
async def start(module: str, *arguments: str) -> AsyncIterator[Child]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_LIMIT_BYTES,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
    )  # fmt: skip
    try:
        yield Child(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(EXIT_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def require(module: str) -> None:
    """Say that it is missing before a child does so by a traceback."""
    if importlib.util.find_spec(module) is None:
        raise SystemExit(f"this peer needs {module}: pip install 'perdure[benchmark]'")


class Tunnel(Protocol):
    """What a benchmark connects to."""

    @property
    def address(self) -> Address: ...

    async def cpu_seconds(self) -> float:
        """All ends, since they started: take the difference around what is measured."""


class TunnelFactory(Protocol):
    def __call__(self, target: Address, *, processes: int) -> contextlib.AbstractAsyncContextManager[Tunnel]: ...


@dataclass(frozen=True, slots=True)
class ChildTunnel:
    """A tunnel of a program of `benchmarks.peers`."""

    address: Address
    child: Child

    async def cpu_seconds(self) -> float:
        return await self.child.cpu_seconds()


@contextlib.asynccontextmanager
async def tunnel(module: str, target: Address, processes: int, *arguments: str) -> AsyncIterator[Tunnel]:
    host, port = target
    async with start(module, "--target", f"{host}:{port}", "--processes", str(processes), *arguments) as child:
        first = await child.ask(None, START_TIMEOUT)
        yield ChildTunnel((first["host"], first["port"]), child)


def parser(description: str | None) -> argparse.ArgumentParser:
    """The arguments that every peer has."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--target", type=_address, metavar="HOST:PORT", help="where the exit dials")
    arguments.add_argument("--processes", type=int, choices=(1, 2), default=1, help="both ends in one, or one each")
    arguments.add_argument("--only-exit", action="store_true", help=argparse.SUPPRESS)
    return arguments


async def serve(
    module: str, only_exit: bool, processes: int, entry: Callable[[], Entry], exit: Callable[[], Exit]
) -> None:
    """A peer's main: connects the ends, prints the first line, answers questions until stdin closes."""
    stdin = asyncio.StreamReader(limit=LINE_LIMIT_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    async with contextlib.AsyncExitStack() as stack:

        async def own_cpu_seconds() -> float:
            return time.process_time()

        if only_exit:
            there = exit()
            stack.push_async_callback(there.close)
            _print({"answer": await there.answer(json.loads(await stdin.readline())["offer"])})
            await _answer_questions(stdin, own_cpu_seconds)
            return

        here = entry()
        stack.push_async_callback(here.close)
        offer = await here.offer()
        if processes == 2:
            child = await stack.enter_async_context(start(module, *sys.argv[1:], "--only-exit"))
            answer = (await child.ask({"offer": offer}, START_TIMEOUT))["answer"]

            async def cpu_seconds() -> float:
                return time.process_time() + await child.cpu_seconds()
        else:
            there = exit()
            stack.push_async_callback(there.close)
            answer = await there.answer(offer)
            cpu_seconds = own_cpu_seconds
        _print(await here.accept(answer))
        await _answer_questions(stdin, cpu_seconds)


async def _answer_questions(stdin: asyncio.StreamReader, cpu_seconds: Callable[[], Awaitable[float]]) -> None:
    while line := await stdin.readline():
        if json.loads(line) == {"ask": "cpu"}:
            _print({"cpu_seconds": await cpu_seconds()})


def _print(line: Line) -> None:
    print(json.dumps(line), flush=True)


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)
