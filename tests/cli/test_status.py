"""`perdure status`, `reconnect` and `close`, asked of real commands."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.processes import running_python, running_rendezvous
from support.targets import connected, echo, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from support.processes import Program

TIMEOUT = 60.0


class Here:
    """A client and a gateway whose sockets are in one folder."""

    def __init__(self, folder: Path, client: Program, gateway: Program, port: int, target: str) -> None:
        self.folder = folder
        self.client = client
        self.gateway = gateway
        self.port = port
        self.target = target

    async def say(self, *arguments: str) -> tuple[int, str]:
        """`perdure` with `arguments`: its exit code, and what it said."""
        return await said(self.folder, *arguments)

    async def processes(self) -> list[dict[str, Any]]:
        """What `perdure status --json` says."""
        _, text = await self.say("status", "--json")
        told: list[dict[str, Any]] = json.loads(text)
        return told

    async def tunnel(self) -> dict[str, Any]:
        """The client's."""
        (tunnel,) = (await self.processes())[0]["tunnels"]
        assert isinstance(tunnel, dict)
        return tunnel


async def said(folder: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perdure", *arguments),
        env=os.environ | {"XDG_RUNTIME_DIR": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    assert "Traceback" not in out.decode()
    return process.returncode, out.decode()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a unix socket's has 107 bytes at most."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@asynccontextmanager
async def here(folder: Path) -> AsyncIterator[Here]:
    runtime = {"XDG_RUNTIME_DIR": str(folder)}
    common = ("--loopback", "--json-logs", "--faults")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(TIMEOUT))
        target = await stack.enter_async_context(serving(echo))
        _, url = await stack.enter_async_context(running_rendezvous())
        serve = ("serve", "--rendezvous", url, "--allow", target, "--print-ticket", *common)
        gateway = await stack.enter_async_context(running_python("-m", "perdure", *serve, **runtime))
        connect = ("connect", await gateway.says("perdure2-"), "-L", f"0:{target}", *common)
        client = await stack.enter_async_context(running_python("-m", "perdure", *connect, **runtime))
        line = await client.says("listening ")
        await client.says("ready")
        yield Here(folder, client, gateway, int(line.partition(" -> ")[0].rpartition(":")[2]), target)


async def test_each_tunnel_is_shown_with_its_path_its_streams_and_what_happened(folder: Path) -> None:
    async with here(folder) as tunnel, connected(tunnel.port) as (reader, writer):
        writer.write(bytes(1000))
        await reader.readexactly(1000)
        client, gateway = await tunnel.processes()
        assert (client["role"], gateway["role"]) == ("client", "gateway")
        assert (client["pid"], gateway["pid"]) == (tunnel.client.process.pid, tunnel.gateway.process.pid)
        assert client["forwards"][0].endswith(f" -> {tunnel.target}")
        (told,), (other,) = client["tunnels"], gateway["tunnels"]
        assert (told["name"], told["state"], told["sent_bytes"], told["received_bytes"]) == (
            *(other["name"], "connected"),
            *(1000, 1000),
        )
        assert told["path"]["kind"] == "direct"
        assert told["streams"] == [{"id": 1, "target": tunnel.target, "opened_here": True}]
        assert other["ticket"] == "default"
        assert told["changes"][-1]["reason"] == "the session began"
        code, text = await tunnel.say("status")
        assert code == 0
        shown = (f"tunnel {told['name']}: connected for ", "direct by udp", "sent 1 kB", f"stream 1 to {tunnel.target}")
        assert all(words in text for words in shown)
        await tunnel.client.inject("kill")
        await tunnel.client.recovers()
        told = await tunnel.tunnel()
        assert [change["after"] for change in told["changes"][-2:]] == ["reconnecting", "connected"]
        assert ("ICE failure", "rebuild") in [(each["trigger"], each["action"]) for each in told["decisions"]]


async def test_a_tunnel_that_does_not_work_is_told_by_the_exit_code(folder: Path) -> None:
    async with here(folder) as tunnel:
        await tunnel.gateway.kill()
        code = 0
        while code == 0:
            code, text = await tunnel.say("status")
        assert code == 4
        assert "reconnecting for" in text
        assert len(await tunnel.processes()) == 1  # what the killed one left is passed over


async def test_nothing_that_runs_is_told_too(folder: Path) -> None:
    code, text = await said(folder, "status")
    assert code == 1
    assert "no `perdure connect` or `perdure serve` runs" in text
    assert (await said(folder, "status", "--json"))[1].startswith("[]")


async def test_reconnect_moves_a_tunnel_and_keeps_what_it_carries(folder: Path) -> None:
    async with here(folder) as tunnel, connected(tunnel.port) as (reader, writer):
        writer.write(b"before")
        await reader.readexactly(6)
        since = tunnel.client.mark
        name = (await tunnel.tunnel())["name"]
        code, text = await tunnel.say("reconnect", name[:5])
        assert (code, text.startswith("asked 1 tunnel for a new connection")) == (0, True)
        await tunnel.client.recovers(since=since)
        writer.write(b"after")
        assert await reader.readexactly(5) == b"after"
        assert (await tunnel.say("reconnect"))[1].startswith("asked 2 tunnels")


async def test_close_ends_a_stream_or_the_client(folder: Path) -> None:
    async with here(folder) as tunnel:
        name = (await tunnel.tunnel())["name"]
        async with connected(tunnel.port) as (reader, writer):
            writer.write(b"x")
            await reader.readexactly(1)
            code, text = await tunnel.say("close", name, "99")
            assert (code, f"the tunnel {name} has no stream 99" in text) == (1, True)
            assert await tunnel.say("close", name, "1") == (0, "stream 1 ended\n")
            with pytest.raises(ConnectionResetError):
                await reader.read()
        assert (await tunnel.say("close", "no-such"))[0] == 2
        client_socket = folder / "perdure" / f"client-{tunnel.client.process.pid}.sock"
        assert client_socket.is_socket()
        code, _ = await tunnel.say("close", name)
        assert code == 0
        assert await tunnel.client.ended() == 0
        assert not client_socket.exists()


async def test_a_socket_answers_only_its_user_and_bears_nonsense(folder: Path) -> None:
    async with here(folder) as tunnel:
        for path in (folder / "perdure").glob("*.sock"):
            assert path.stat().st_mode & 0o777 == 0o600
            for said_ in (b"hello\n", b"{}\n", b'{"ask": "status", "ask": 1}\n', b"x" * 100_000, b"\0\n", b""):
                with socket.socket(socket.AF_UNIX) as asking:
                    asking.settimeout(TIMEOUT)
                    asking.connect(str(path))
                    try:
                        asking.sendall(said_)
                        asking.shutdown(socket.SHUT_WR)
                        answer = asking.recv(4096)
                    except OSError:
                        continue
                    assert b"refused" in answer or answer == b""
        assert (folder / "perdure").stat().st_mode & 0o777 == 0o700
        assert len(await tunnel.processes()) == 2


async def test_a_folder_that_others_can_write_to_is_not_used(folder: Path) -> None:
    (folder / "perdure").mkdir(mode=0o777)
    (folder / "perdure").chmod(0o777)
    async with here(folder) as tunnel:
        await tunnel.client.logs("control-socket", level="WARNING")
        assert (await tunnel.say("status"))[0] == 1
