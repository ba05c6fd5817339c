"""A command over SSH, through a tunnel, without a local port:

    python examples/ssh.py @home.ticket 127.0.0.1 22 uname -a

asyncssh opens its connection with `tunnel.create_connection`; keys, `known_hosts` and `~/.ssh/config` are as ever.
"""

import asyncio
import sys

import asyncssh

import perdure


async def main(ticket: str, host: str, port: int, command: str) -> int:
    async with (
        perdure.connect(ticket, loopback=True) as tunnel,  # loopback: for two ends on one machine
        asyncssh.connect(host, port, tunnel=tunnel) as ssh,
    ):
        done = await ssh.run(command)
        print(done.stdout, end="")
        print(done.stderr, end="", file=sys.stderr)
        return done.exit_status or 0


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), " ".join(sys.argv[4:]))))
