"""Faults on request, for `perdure demo`, the tests and the benchmarks: how a carrier is broken from inside.

A process started with `--faults` reads one word a line from standard input: `kill` tears the peer connections down,
`blackhole` lets the kernel drop every packet that reaches their sockets from now on (Linux), `rebuild` asks for new
carriers, `interface` says that the network's interface changed. Each is answered by a log line `fault`. The end of
standard input ends the process, so that it never outlives the program that drives it.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING

from perdure.core.decision import Trigger
from perdure.eventlog import log_event

if TYPE_CHECKING:
    from perdure.manager import TunnelConnectionManager

log = logging.getLogger(__name__)

_SO_ATTACH_FILTER = 26
"""Linux, asm-generic/socket.h; the `socket` module does not name it."""

_BPF_RET_K = 0x06
"""Classic BPF: return the constant k, the number of bytes to keep; 0 drops the packet."""


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


async def run_driven(
    work: Coroutine[object, object, None],
    tubes: Callable[[], Iterable[TunnelConnectionManager]] = tuple,
    *,
    driven: bool,
) -> None:
    """Run `work`; where it is `driven`, obey standard input meanwhile, and the end of either ends both."""
    if not driven:
        await work
        return
    working = asyncio.ensure_future(work)
    reading = asyncio.ensure_future(_read_faults(tubes))
    try:
        await asyncio.wait({working, reading}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        reading.cancel()
        await asyncio.gather(working, reading, return_exceptions=True)


async def _read_faults(tubes: Callable[[], Iterable[TunnelConnectionManager]]) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while line := await reader.readline():
            fault = line.decode("ascii", "replace").strip()
            log_event(log, logging.INFO, "fault", fault=fault, sockets=_inject(fault, tubes()))
    finally:
        pipe.close()


def _inject(fault: str, tubes: Iterable[TunnelConnectionManager]) -> int:
    match fault:
        case "kill":
            for manager in list(tubes):
                manager.tube.kill_carrier()
        case "rebuild":
            for manager in list(tubes):
                manager.rebuild()
        case "interface":
            for manager in list(tubes):
                manager.report_network_change(Trigger.INTERFACE_CHANGE)
        case "blackhole":
            return _mute_udp_sockets()
    return 0


def _mute_udp_sockets() -> int:
    """Drop in the kernel whatever arrives at this process' UDP sockets, which are its carriers' alone; how many."""
    drop = _Instruction(_BPF_RET_K, 0, 0, 0)
    program = _Program(1, ctypes.pointer(drop))
    muted = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as found:
                if found.family in {socket.AF_INET, socket.AF_INET6} and found.type == socket.SOCK_DGRAM:
                    found.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))
                    muted += 1
        except OSError:
            continue
    return muted
