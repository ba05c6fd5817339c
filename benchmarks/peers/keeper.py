"""PyPI `keeper-pam-webrtc-rs` (Rust, webrtc-rs) as a peer: its own TCP listener, its own dial, nothing of ours between.

    python -m benchmarks.peers.keeper --target 127.0.0.1:9000 --processes 2

Configured to be fair: logging at errors only (pyo3-log would otherwise take the GIL for every record), no relay, no
trickle (on one machine gathering takes 15 ms), multi-channel off as by default (`--multi-channel` measures the same),
and its own default of tokio workers (KEEPER_TOKIO_WORKER_THREADS is passed on: 1 helped two processes and hurt one).
It gathers no loopback candidates and cannot be told to, so its UDP runs between two sockets on the machine's own
address; the kernel carries that over `lo` all the same. A machine without any address but 127.0.0.1 and ::1 cannot
run it.

Count bytes at the sink, do not wait for its end of file: when a client half-closes right behind 100 KB or more, every
byte arrives, the target sees the end, but the target's own close is not told to the client (silent for 20 s at least).
"""

import asyncio
import importlib
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

from benchmarks.peers import child

MODULE = "benchmarks.peers.keeper"
READY_TIMEOUT = 20.0
READY_POLL_INTERVAL = 0.002  # it has a signal for "connected", none for "ready"

# The literals with which it skips its router: host candidates only, no STUN, no state posted.
TEST_MODE = {"callback_token": "TEST_MODE_CALLBACK_TOKEN", "ksm_config": "TEST_MODE_KSM_CONFIG"}


def tunnel(target: child.Address, *, processes: int = 1) -> AbstractAsyncContextManager[child.Tunnel]:
    """Forwards a port of 127.0.0.1 to `target`, with both ends in one child process or in two."""
    child.require("keeper_pam_webrtc_rs")
    return child.tunnel(MODULE, target, processes)


class Registry(Protocol):
    """What is used of `PyTubeRegistry`; the package has no types."""

    def create_tube(
        self,
        conversation_id: str,
        settings: dict[str, str],
        *,
        trickle_ice: bool,
        callback_token: str,
        krelay_server: str,
        client_version: str,
        ksm_config: str,
        offer: str | None,
        signal_callback: Callable[[dict[str, str]], None],
        enable_multi_channel: bool,
    ) -> dict[str, str]:
        """Returns `tube_id`, and `offer` and `actual_local_listen_addr`, or `answer`; SDP in base64."""

    def set_remote_description(self, tube_id: str, sdp: str, is_answer: bool) -> None: ...

    def get_tube_status(self, tube_id: str) -> str: ...

    def cleanup_all(self) -> None: ...


class End:
    """One tube, either end."""

    def __init__(self, settings: dict[str, str], multi_channel: bool) -> None:
        package: Any = importlib.import_module("keeper_pam_webrtc_rs")  # not an import statement: untyped, and optional
        package.initialize_logger("keeper", verbose=False, level=logging.ERROR)
        self._registry = cast(Registry, package.PyTubeRegistry())
        self._settings = {"conversationType": "tunnel"} | settings
        self._multi_channel = multi_channel
        self._tube: dict[str, str] = {}

    async def offer(self) -> str:
        self._create("entry", None)
        return self._tube["offer"]

    async def answer(self, offer: str) -> str:
        self._create("exit", offer)
        return self._tube["answer"]

    async def accept(self, answer: str) -> child.Line:
        self._registry.set_remote_description(self._tube["tube_id"], answer, True)
        async with asyncio.timeout(READY_TIMEOUT):
            while self._registry.get_tube_status(self._tube["tube_id"]) != "ready":  # noqa: ASYNC110
                await asyncio.sleep(READY_POLL_INTERVAL)
        host, _, port = self._tube["actual_local_listen_addr"].rpartition(":")
        return {"host": host, "port": int(port)}

    async def close(self) -> None:
        self._registry.cleanup_all()

    def _create(self, conversation_id: str, offer: str | None) -> None:
        self._tube = self._registry.create_tube(
            conversation_id,
            self._settings,
            trickle_ice=False,
            krelay_server="relay.invalid",
            client_version="ms16.5.0",
            offer=offer,
            signal_callback=lambda _: None,  # without one it logs an error for each signal
            enable_multi_channel=self._multi_channel,
            **TEST_MODE,
        )


def main() -> None:
    parser = child.parser(__doc__)
    parser.add_argument("--multi-channel", action="store_true", help="its fragmentation over several channels")
    options = parser.parse_args()
    host, port = options.target
    asyncio.run(child.serve(
        MODULE, options.only_exit, options.processes,
        lambda: End({"local_listen_addr": "127.0.0.1:0"}, options.multi_channel),
        lambda: End({"target_host": host, "target_port": str(port)}, options.multi_channel),
    ))  # fmt: skip


if __name__ == "__main__":
    main()
