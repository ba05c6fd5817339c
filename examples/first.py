"""Speak to a TCP service at the other end of a tunnel: `python examples/first.py @home.ticket 127.0.0.1 8000`."""

import asyncio
import sys

import perdure


async def main(ticket: str, host: str, port: int) -> None:
    async with perdure.connect(ticket, loopback=True) as tunnel:  # loopback: for two ends on one machine
        reader, writer = await tunnel.open_connection(host, port)
        writer.write(b"hello\n")
        print((await reader.readline()).decode(), end="")
        writer.close()
        print(tunnel.path)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
