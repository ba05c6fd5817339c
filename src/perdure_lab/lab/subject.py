"""What is run in the lab: perdure, a peer (`perdure_lab.peers`) or a user's own program, each as command lines.

A command line is a list of words, in which these are filled in:

    {python}       this Python
    {directory}    a folder that both sides and the rendezvous see: how they get to know each other out of band
    {target}       HOST:PORT beside the gateway that the tunnel must lead to; {target_port} alone
    {port}         the port of 127.0.0.1 at the client that the tunnel must listen on
    {rendezvous}   HOST:PORT beside the relay in the internet, where a rendezvous may listen
    {stun} {turn}  the URLs `stun:HOST:PORT` and `turn:HOST:PORT` of the relay, whose {turn_user} and {turn_password}
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from perdure import tomlfile
from perdure.fields import shown
from perdure_lab.lab.topology import SERVICES_NAME
from perdure_lab.scenario.reading import Table

RENDEZVOUS_PORT = 8765
RELAY_PORT = 3478
RELAY_USER, RELAY_PASSWORD = "lab", "lab"
"""Of a relay that exists for a few seconds in a network of its own."""

CLIENT_PORT = 7000
"""In the client's own namespace, where nothing else listens."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Two programs that make a TCP tunnel, and a third that introduces them to each other where they need one."""

    name: str
    gateway: tuple[str, ...]
    client: tuple[str, ...]
    rendezvous: tuple[str, ...] = ()
    ready_file: str = ""
    """A file, usually in {directory}, that must be there before the client is started."""
    relay_options: tuple[str, ...] = ()
    """Words after the gateway's and the client's own in scenarios with a relay."""
    setting_options: tuple[str, ...] = ()
    """Words after the gateway's and the client's own for each setting: {name} and {value}. Without, settings are not
    passed on."""
    logs_events: bool = False
    """Standard error is perdure's log in JSON."""


PERDURE = Subject(
    name="perdure",
    rendezvous=("{python}", "-m", "perdure", "rendezvous", "--listen", "{rendezvous}", "--json-logs"),
    gateway=(
        *("{python}", "-m", "perdure", "serve", "--rendezvous", "ws://{rendezvous}", "--allow", "{target}"),
        *("--state-dir", "{directory}/state", "--ticket-file", "{directory}/ticket"),
        *("--json-logs", "--log-level", "debug"),
    ),
    client=(
        *("{python}", "-m", "perdure", "connect", "@{directory}/ticket", "-L", "{port}:{target}"),
        *("--json-logs", "--log-level", "debug"),
    ),
    ready_file="{directory}/ticket",
    relay_options=("--ice-server", "{stun}", "--ice-server", "turn:{turn_user}:{turn_password}@{turn_host}"),
    setting_options=("--set", "{name}={value}"),
    logs_events=True,
)


@dataclass(frozen=True, slots=True)
class _File:
    """A subject's TOML file; command lines as a shell would split them."""

    gateway: str
    client: str
    name: str | None = None
    rendezvous: str = ""
    ready_file: str = ""
    relay_options: str = ""


def read_subject(path: Path) -> Subject:
    """A user's own program, out of a TOML file.

    Raises:
        ValueError: with the file and the reason.
    """
    text = tomlfile.read_text(path)
    read = _File(**Table(str(path), text, (), tomlfile.parse(text, str(path))).read(_File))
    try:
        subject = Subject(
            name=_file_name(path.stem if read.name is None else read.name),
            gateway=tuple(shlex.split(read.gateway)),
            client=tuple(shlex.split(read.client)),
            rendezvous=tuple(shlex.split(read.rendezvous)),
            ready_file=read.ready_file,
            relay_options=tuple(shlex.split(read.relay_options)),
        )
        for words in (subject.gateway, subject.client, subject.rendezvous, subject.relay_options):
            filled(words, directory="", target_port=1)
    except KeyError as error:
        raise ValueError(f"{path}: there is no {{{error.args[0]}}} to fill in; {_KNOWN}") from error
    # A quote that is not closed, or braces as {}, {target.x} or {target[x]}.
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return subject


def _file_name(name: str) -> str:
    """`name`, which is part of its log files' names.

    Raises:
        ValueError: no file can be called so.
    """
    if name in ("", ".", "..") or not {"/", "\0"}.isdisjoint(name):
        raise ValueError(f"the name {shown(name)} cannot be that of a file, as its logs need it")
    return name


def filled(words: tuple[str, ...], *, directory: str, target_port: int, **further: str) -> list[str]:
    """The command line with everything filled in.

    Raises:
        KeyError: it asks for something that there is not.
    """
    values = {
        "python": sys.executable,
        "directory": directory,
        "target": f"127.0.0.1:{target_port}",
        "target_port": str(target_port),
        "port": str(CLIENT_PORT),
        "rendezvous": f"{SERVICES_NAME}:{RENDEZVOUS_PORT}",
        "stun": f"stun:{SERVICES_NAME}:{RELAY_PORT}",
        "turn": f"turn:{SERVICES_NAME}:{RELAY_PORT}",
        "turn_host": f"{SERVICES_NAME}:{RELAY_PORT}",
        "turn_user": RELAY_USER,
        "turn_password": RELAY_PASSWORD,
        **further,
    }
    return [word.format_map(values) for word in words]


_KNOWN = (
    "there are python, directory, target, target_port, port, rendezvous, stun, turn, turn_host, turn_user and "
    "turn_password"
)
