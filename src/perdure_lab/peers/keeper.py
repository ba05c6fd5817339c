"""PyPI `keeper-pam-webrtc-rs` (Rust, webrtc-rs) as it is meant to be used, with its own ICE restart.

    python -m perdure_lab.peers.keeper gateway FOLDER HOST:PORT
    python -m perdure_lab.peers.keeper client FOLDER PORT

It has its own TCP listener and its own dial. What its users' program, Keeper Commander, does with its signals is done
here, at once instead of through a router: candidates are carried over whenever there are some, a request to restart is
granted, the offer of a restart is brought to the other end, whose answer is brought back. It restarts only with
trickle ICE, so that is on.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from functools import partial
from typing import Any

from perdure_lab.peers import exchange, words
from perdure_lab.peers.exchange import Exchange, Message
from perdure_lab.peers.gate import Gate
from perdure_lab.peers.words import Words

MODULE = "keeper_pam_webrtc_rs"

READY_TIMEOUT = 30.0
"""Seconds for a tunnel to be ready; it takes a fifth of one."""

SHORTEST_WAIT = {"KEEPER_GATEWAY_ICE_DISCONNECTED_WAIT_SECS": "0"}
"""Seconds that it waits before it restarts. Its other settings limit how long it tries, and stay as they are."""

NO_ROUTER = {"callback_token": "TEST_MODE_CALLBACK_TOKEN", "ksm_config": "TEST_MODE_KSM_CONFIG"}
"""The literals with which it does without its vendor's servers. It has host candidates only then, whatever STUN and
TURN servers its environment names."""

_READY_POLL_INTERVAL = 0.01

Signal = dict[str, str]


class End:
    """One end's tube, and what is carried between it and the other one."""

    def __init__(self, conversation_id: str, settings: Signal, joined: Exchange) -> None:
        package: Any = importlib.import_module(MODULE)  # untyped, and optional
        package.initialize_logger("keeper", verbose=False, level=logging.WARNING)
        self._registry: Any = package.PyTubeRegistry()
        self._conversation_id = conversation_id
        self._settings = {"conversationType": "tunnel"} | settings
        self._joined = joined
        self._loop = asyncio.get_running_loop()
        self._tube_id = ""

    async def create(self, offer: str | None = None) -> str:
        """The offer, or the answer to `offer`: SDP in base64."""
        create = partial(
            self._registry.create_tube,
            self._conversation_id,
            self._settings,
            trickle_ice=True,
            krelay_server="relay.invalid",
            client_version="ms16.5.0",
            offer=offer,
            signal_callback=lambda signal: self._loop.call_soon_threadsafe(self._signalled, signal),
            enable_multi_channel=False,
            **NO_ROUTER,
        )
        tube = await asyncio.to_thread(create)
        self._tube_id = tube["tube_id"]
        return str(tube["offer" if offer is None else "answer"])

    async def ready(self) -> None:
        """It has a signal for "connected", and none for this."""
        async with asyncio.timeout(READY_TIMEOUT):
            while self._registry.get_tube_status(self._tube_id) != "ready":  # noqa: ASYNC110
                await asyncio.sleep(_READY_POLL_INTERVAL)

    async def heard(self, message: Message) -> None:
        """What the other end said. It may refuse, and go on as it is."""
        try:
            await asyncio.to_thread(self._hear, message)
        except RuntimeError as error:
            words.complain(f"{message['kind']} refused: {error}")

    def _hear(self, message: Message) -> None:
        match message["kind"]:
            case "candidate":
                self._registry.add_ice_candidate(self._tube_id, message["data"])
            case "answer":
                self._registry.set_remote_description(self._tube_id, message["data"], True)
            case "restart":
                # It returns the answer. Commander asks for it with `create_answer`, which this version refuses then.
                self._say("answer", self._registry.set_remote_description(self._tube_id, message["data"], False))

    def _signalled(self, signal: Signal) -> None:
        words.complain(f"signal {signal['kind']}: {signal['data'][:100]}")
        match signal["kind"]:
            case "icecandidate":
                self._joined.send(kind="candidate", data=signal["data"])
            case "ice_restart_offer":
                self._joined.send(kind="restart", data=signal["data"])
            case "ice_restart_request":
                self._loop.run_in_executor(None, self._restart)

    def _restart(self) -> None:
        self._say("restart", self._registry.restart_ice(self._tube_id))

    def _say(self, kind: str, data: str) -> None:
        self._loop.call_soon_threadsafe(partial(self._joined.send, kind=kind, data=data))


def main() -> None:
    given = words.parsed(__doc__)
    words.require(MODULE, package="keeper-pam-webrtc-rs")
    os.environ.update(SHORTEST_WAIT)
    asyncio.run(exchange.serve(given.folder, partial(_gateway, given)) if given.is_gateway else _client(given))


async def _gateway(given: Words, joined: Exchange) -> None:
    end = End("exit", {"target_host": given.host, "target_port": str(given.port)}, joined)
    async with Gate() as gate:
        async for message in joined.messages():
            match message["kind"]:
                case "offer":
                    joined.send(kind="answer", data=await end.create(message["data"]))
                case "ready":
                    await gate.open()
                case _:
                    await end.heard(message)


async def _client(given: Words) -> None:
    joined = await exchange.join(given.folder)
    end = End("entry", {"local_listen_addr": f"{given.host}:{given.port}"}, joined)
    async with Gate(refused_port=given.port) as gate:
        joined.send(kind="offer", data=await end.create())
        carrying = asyncio.create_task(_carry(end, joined))
        await end.ready()
        joined.send(kind="ready")
        await gate.open()
        await carrying
        await asyncio.Event().wait()  # what is there may go on without the other end's exchange


async def _carry(end: End, joined: Exchange) -> None:
    async for message in joined.messages():
        await end.heard(message)


if __name__ == "__main__":
    main()
