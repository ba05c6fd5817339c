"""Whether a TCP port is listened on in the network namespace of a process, which is not disturbed by the question."""

from __future__ import annotations

import contextlib
from pathlib import Path

_LISTEN = "0A"
"""The kernel's number of TCP's state LISTEN (include/net/tcp_states.h), as /proc writes it."""


def listens(pid: int, port: int) -> bool:
    """Not where the process has gone."""
    lines: list[str] = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            lines += Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]
    sockets = (line.split() for line in lines)
    return any(each[1].endswith(f":{port:04X}") and each[3] == _LISTEN for each in sockets)
