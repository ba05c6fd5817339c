"""The command line that every peer's program has: `gateway FOLDER HOST:PORT` or `client FOLDER PORT`, and servers."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn


@dataclass(frozen=True, slots=True)
class Words:
    """A gateway's `host` and `port` are the target; a client listens on them."""

    is_gateway: bool
    folder: Path
    host: str
    port: int
    stun: str
    turn: str
    turn_user: str
    turn_password: str
    mailbox: str


def parsed(description: str | None) -> Words:
    """Of this process."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=("gateway", "client"))
    parser.add_argument("folder", type=Path, help="which both sides see")
    parser.add_argument("address", help="HOST:PORT to dial, or PORT of 127.0.0.1 to listen on")
    for name in ("--stun", "--turn", "--turn-user", "--turn-password", "--mailbox"):
        parser.add_argument(name, default="")
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    return Words(
        is_gateway=options.side == "gateway",
        folder=options.folder,
        host=host or "127.0.0.1",
        port=int(port),
        stun=options.stun,
        turn=options.turn,
        turn_user=options.turn_user,
        turn_password=options.turn_password,
        mailbox=options.mailbox,
    )


def require(*modules: str, package: str) -> None:
    """End where one of the modules, which come with `package` and what it needs, is not there."""
    if any(importlib.util.find_spec(name) is None for name in modules):
        refuse(f"{package} is not installed: pip install 'perdure[benchmark]'")


def require_programs(peer: str, packages: Mapping[str, str]) -> None:
    """End where one of the programs is not there, and name Debian's package of it."""
    for program, package in packages.items():
        if shutil.which(program) is None:
            refuse(f"the peer {peer} needs {program}; on Debian and Ubuntu: apt install {package}")


def refuse(reason: str) -> NoReturn:
    """End with the reason as the last words, which the lab shows."""
    sys.exit(reason)


def complain(text: str) -> None:
    """A line for `perdure lab run --logs`."""
    sys.stderr.write(f"{text}\n")
