"""The examples do what their pages say, run as a reader would run them, against real servers."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh
import httpcore
import httpx
import prometheus_client
import pytest
import pytest_asyncio
from examples.httpx_client import TunnelBackend, TunnelTransport
from examples.metrics import TubeCollector
from prometheus_client.parser import text_string_to_metric_families

import perdure
from support.certificates import certificate
from support.processes import running_gateway, running_python, running_rendezvous
from support.targets import echo, reset, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.processes import Program

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> str:
    return str(EXAMPLES / f"{name}.py")


@pytest_asyncio.fixture
async def ticket() -> AsyncIterator[str]:
    """Of a gateway that dials 127.0.0.1."""
    async with running_rendezvous() as (_, url), running_gateway(url) as (_, ticket):
        yield ticket


@pytest_asyncio.fixture
async def tunnel(ticket: str) -> AsyncIterator[perdure.Tunnel]:
    async with perdure.connect(ticket, loopback=True) as tunnel:
        yield tunnel


async def test_the_first_program_speaks_to_a_service_and_prints_the_path(ticket: str) -> None:
    async with serving(echo) as target, running_python(example("first"), ticket, *target.split(":")) as program:
        assert await program.ended() == 0, program.said
    assert program.stdout.seen[0] == "hello"
    assert program.stdout.seen[1].startswith("Path(is_relayed=False, protocol='udp', ")


@pytest.mark.parametrize("name", ["first", "fastapi_client", "httpx_client", "metrics", "ssh"])
async def test_a_program_without_its_arguments_says_how_it_is_called(name: str) -> None:
    async with running_python(example(name)) as program:
        assert await program.ended() == 1
    assert any(f"python examples/{name}.py " in line for line in program.stderr.seen)
    assert "Traceback" not in program.said


async def test_two_processes_talk_through_an_ice_restart_and_part_with_a_reason() -> None:
    async with running_python(example("two_processes")) as program:
        assert await program.ended() == 0, program.said
    assert program.stdout.seen == [
        "before",
        "during",
        "after",
        "ICE restarts: 1",
        "the other process: the other end closed the tube (all is said)",
    ]


async def test_ssh_runs_a_command_without_a_local_port(ticket: str, tmp_path: Path) -> None:
    async def shout(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write(f"{process.command} by {process.get_extra_info('username')}\n")
        process.stderr.write("and a warning\n")
        process.exit(7)

    host_key, user_key = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    directory = tmp_path / ".ssh"
    directory.mkdir(mode=0o700)
    user_key.write_private_key(directory / "id_ed25519")
    user_key.write_public_key(directory / "authorized_keys")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=str(directory / "authorized_keys"),
        process_factory=shout,
    )
    async with server:
        port = server.get_port()
        known = f"[127.0.0.1]:{port} {host_key.export_public_key().decode()}"
        (directory / "known_hosts").write_text(known)
        arguments = [example("ssh"), ticket, "127.0.0.1", str(port), "uname", "-a"]
        async with running_python(*arguments, HOME=str(tmp_path)) as program:
            assert await program.ended() == 7, program.said
    assert program.stdout.seen == [f"uname -a by {getpass.getuser()}"]
    assert program.stderr.seen == ["and a warning"]


# HTTP


class HttpServer:
    """As much HTTP as httpx needs. `/close` closes behind its answer without saying so; `/never` is not answered."""

    def __init__(self) -> None:
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while head := await reader.readuntil(b"\r\n\r\n"):
            method, path, _ = head.decode().split(" ", 2)
            length = re.search(r"content-length: (\d+)", head.decode(), re.IGNORECASE)
            body = await reader.readexactly(int(length[1])) if length else b""
            if path == "/never":
                await asyncio.Event().wait()
            answer = f"{method} {path} ".encode() + body
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))
            await writer.drain()
            if path == "/close":
                break


@pytest_asyncio.fixture
async def http_server() -> HttpServer:
    return HttpServer()


@pytest_asyncio.fixture
async def client(tunnel: perdure.Tunnel) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=TunnelTransport(tunnel)) as client:
        yield client


async def test_httpx_as_a_program_prints_what_a_server_beside_the_gateway_says(
    ticket: str, http_server: HttpServer
) -> None:
    async with (
        serving(http_server) as target,
        running_python(example("httpx_client"), ticket, f"http://{target}/page") as program,
    ):
        assert await program.ended() == 0, program.said
    assert program.stdout.seen == ["200 GET /page "]


async def test_http_requests_share_a_connection_until_the_server_closes_it(
    tunnel: perdure.Tunnel, http_server: HttpServer
) -> None:
    body = bytes(range(256)) * 4096
    async with (
        serving(http_server) as target,
        httpcore.AsyncConnectionPool(network_backend=TunnelBackend(tunnel)) as pool,
    ):
        assert (await pool.request("POST", f"http://{target}/large", content=body)).content == b"POST /large " + body
        assert (await pool.request("GET", f"http://{target}/close")).content == b"GET /close "
        assert http_server.connections == 1
        while pool.connections and not pool.connections[0].has_expired():  # noqa: ASYNC110  # its end is under way
            await asyncio.sleep(0.01)
        assert (await pool.request("GET", f"http://{target}/again")).content == b"GET /again "
        assert http_server.connections == 2


async def test_https_is_between_the_client_and_the_server(
    tunnel: perdure.Tunnel, http_server: HttpServer, tmp_path: Path
) -> None:
    server_context, trusting = certificate(tmp_path)
    body = bytes(range(256)) * 1024
    async with serving(http_server, ssl=server_context) as target:
        async with httpx.AsyncClient(transport=TunnelTransport(tunnel, trusting)) as client:
            assert (await client.post(f"https://{target}/secret", content=body)).content == b"POST /secret " + body
        async with httpx.AsyncClient(transport=TunnelTransport(tunnel)) as client:
            with pytest.raises(httpx.ConnectError, match="self-signed certificate"):
                await client.get(f"https://{target}/secret")


async def test_httpx_raises_its_own_exceptions_for_what_fails(
    client: httpx.AsyncClient, http_server: HttpServer
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reset(writer)

    async with serving(http_server) as target:
        with pytest.raises(httpx.ReadTimeout):
            await client.get(f"http://{target}/never", timeout=httpx.Timeout(None, read=0.1))
        with pytest.raises(httpx.ConnectTimeout):
            await client.get(f"http://{target}/", timeout=httpx.Timeout(None, connect=0.0))
    with pytest.raises(httpx.ConnectError, match="the target refused the connection"):
        await client.get(f"http://{target}/")
    with pytest.raises(httpx.ConnectError, match="not in its allow list"):
        await client.get("http://127.0.0.2/")
    async with serving(hang_up) as target:
        with pytest.raises(httpx.ReadError, match="broke the connection off"):
            await client.get(f"http://{target}/")


# FastAPI


class Proxy:
    """Between the client's WebSocket and the server: cuts it, and leads to another server."""

    def __init__(self, port: int) -> None:
        self.server_port = port
        self._ends: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        self._ends.append((writer, server_writer))
        try:
            await asyncio.gather(self._pass(reader, server_writer), self._pass(server_reader, writer, ends=True))
        finally:
            server_writer.transport.abort()

    def cut(self, *, server_notices: bool) -> None:
        for client, server in self._ends:
            client.transport.abort()
            if server_notices:
                server.transport.abort()

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, ends: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        if ends:
            writer.close()
        else:
            await asyncio.Event().wait()


@asynccontextmanager
async def running_server() -> AsyncIterator[tuple[Program, int]]:
    """The FastAPI application, and its port."""
    arguments = ["-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0", "fastapi_server:app"]
    async with running_python(*arguments) as program:
        line = await program.warns("running on")
        port = re.search(r":(\d+) ", line)
        assert port is not None
        yield program, int(port[1])
        await program.stop()


def test_an_application_with_its_own_signaling_has_at_most_40_lines_an_end() -> None:
    for name in "fastapi_server", "fastapi_client":
        assert len(Path(example(name)).read_text().splitlines()) <= 40


@pytest.mark.parametrize("server_notices", [True, False])
async def test_a_stream_outlives_the_websocket_that_signals_for_it(server_notices: bool) -> None:
    async with (
        running_server() as (server, port),
        serving(proxy := Proxy(port)) as address,
        running_python(example("fastapi_client"), f"ws://{address}/tubes/home") as client,
    ):
        await client.says("LINE 3")
        since = server.mark
        proxy.cut(server_notices=server_notices)
        await server.warns("connection open", since=since)
        await client.says(f"LINE {len(client.stdout.seen) + 3}")
        await client.kill()
    assert client.stdout.seen == [f"LINE {number + 1}" for number in range(len(client.stdout.seen))]


async def test_a_tube_whose_server_was_restarted_is_begun_again() -> None:
    async with (
        running_server() as (server, port),
        serving(proxy := Proxy(port)) as address,
        running_python(example("fastapi_client"), f"ws://{address}/tubes/home") as client,
    ):
        await client.says("LINE 3")
        await server.stop()
        said = len(client.stdout.seen)
        async with running_server() as (_, proxy.server_port):
            await client.stdout.find(lambda line: line == "LINE 1", since=said, timeout=20)
            await client.kill()


async def test_a_client_that_was_killed_and_started_again_gets_a_new_tube_under_its_name() -> None:
    async with running_server() as (_, port):
        for _ in range(2):
            async with running_python(example("fastapi_client"), f"ws://127.0.0.1:{port}/tubes/home") as client:
                await client.says("LINE 3")
                await client.kill()


# Prometheus


async def test_prometheus_reads_the_figures_of_a_tunnel(ticket: str) -> None:
    async with running_python(example("metrics"), ticket, "0") as program, httpx.AsyncClient() as client:
        page = (await client.get(await program.says("http://"))).text
        await program.kill()
    figures = read_figures(page)
    assert figures["perdure_tube_state", "connected"] == 1
    assert figures["perdure_tube_state", "failed"] == 0
    assert 0 < figures["perdure_tube_quality", ""] <= 1
    assert figures["perdure_tube_restarts_total", "ice"] == 0


async def test_prometheus_counts_the_bytes_of_streams(tunnel: perdure.Tunnel) -> None:
    registry = prometheus_client.CollectorRegistry(auto_describe=True)  # as the global one
    registry.register(TubeCollector(tunnel.tubes))
    async with serving(echo) as target:
        host, _, port = target.partition(":")
        reader, writer = await tunnel.open_connection(host, int(port))
        writer.write(bytes(1000))
        await reader.readexactly(1000)
        page = await asyncio.to_thread(prometheus_client.generate_latest, registry)
        writer.close()
    figures = read_figures(page.decode())
    assert figures["perdure_tube_bytes_total", "sent"] == figures["perdure_tube_bytes_total", "received"] == 1000
    assert figures["perdure_tube_streams", ""] == 1
    assert figures["perdure_tube_rtt_seconds", ""] > 0


def read_figures(page: str) -> dict[tuple[str, str], float]:
    """By the sample's name, and the value of its label beside `tube`, if any."""
    return {
        (sample.name, next((value for label, value in sample.labels.items() if label != "tube"), "")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
