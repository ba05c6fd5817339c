"""HTTP and HTTPS through a tunnel, without a local port: httpx, whose connections are the tunnel's streams.

    python examples/httpx_client.py @home.ticket http://127.0.0.1:8000/

TLS is between httpx and the server: the gateway sees no content.
"""

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpcore
import httpx

import perdure


@contextlib.asynccontextmanager
async def mapped(timeout: float | None, late: type[Exception], failed: type[Exception]) -> AsyncIterator[None]:
    """Let at most `timeout` seconds pass, and raise what httpcore's users expect."""
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError as error:  # ours, or the target did not answer the gateway in time
        raise late(str(error)) from error
    except (OSError, perdure.PerdureError) as error:  # ssl.SSLError is an OSError
        raise failed(str(error)) from error


class TunnelStream(httpcore.AsyncNetworkStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        async with mapped(timeout, httpcore.ReadTimeout, httpcore.ReadError):
            return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        async with mapped(timeout, httpcore.WriteTimeout, httpcore.WriteError):
            self._writer.write(buffer)
            await self._writer.drain()

    async def aclose(self) -> None:
        self._writer.close()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with mapped(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except BaseException:
            self._writer.transport.abort()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "is_readable":  # asked of a connection that is to be used again: is it at its end?
                return self._reader.at_eof() or self._reader.exception() is not None
            case "server_addr":
                return self._writer.get_extra_info("peername")
            case _:
                return self._writer.get_extra_info(info)


class TunnelBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, tunnel: perdure.Tunnel) -> None:
        self._tunnel = tunnel

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        async with mapped(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
            return TunnelStream(*await self._tunnel.open_connection(host, port))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class TunnelTransport(httpx.AsyncHTTPTransport):
    """For `httpx.AsyncClient(transport=TunnelTransport(tunnel))`."""

    def __init__(self, tunnel: perdure.Tunnel, ssl_context: ssl.SSLContext | None = None) -> None:
        self._pool = httpcore.AsyncConnectionPool(  # httpx itself hands no backend on
            ssl_context=ssl_context or httpx.create_ssl_context(), network_backend=TunnelBackend(tunnel)
        )


async def main(ticket: str, url: str) -> None:
    async with (
        perdure.connect(ticket, loopback=True) as tunnel,  # loopback: for two ends on one machine
        httpx.AsyncClient(transport=TunnelTransport(tunnel)) as client,
    ):
        response = await client.get(url)
        print(response.status_code, response.text)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], sys.argv[2]))
