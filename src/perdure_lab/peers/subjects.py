"""The peers that `perdure lab run --peer` knows by name: their command lines."""

from __future__ import annotations

from collections.abc import Mapping

from perdure_lab.lab.subject import RENDEZVOUS_PORT, Subject
from perdure_lab.peers.exchange import SOCKET as READY_FILE

_RELAY_WORDS = (
    "--stun",
    "{stun}",
    "--turn",
    "{turn}",
    "--turn-user",
    "{turn_user}",
    "--turn-password",
    "{turn_password}",
)


def _peer(name: str, module: str, *options: str, rendezvous: tuple[str, ...] = (), ready: str = READY_FILE) -> Subject:
    """A program of this package; all have the same words."""
    program = ("{python}", "-m", f"perdure_lab.peers.{module}")
    return Subject(
        name=name,
        gateway=(*program, "gateway", "{directory}", "{target}", *options),
        client=(*program, "client", "{directory}", "{port}", *options),
        rendezvous=rendezvous,
        ready_file=ready and f"{{directory}}/{ready}",
        relay_options=_RELAY_WORDS,
    )


_MAILBOX = ("{python}", "-m", "perdure_lab.peers.mailbox", "{directory}", str(RENDEZVOUS_PORT))

PEERS: Mapping[str, Subject] = {
    subject.name: subject
    for subject in (
        _peer("keeper", "keeper"),
        _peer("wrtc", "bare_wrtc"),
        _peer("fowl", "dilated", "--mailbox", "ws://{rendezvous}/v1", rendezvous=_MAILBOX, ready=""),
        _peer("ssh", "openssh"),
        _peer("iroh", "iroh_streams"),
        _peer("mptcp", "multipath_tcp"),
        _peer("wireguard", "wireguard"),
    )
}
"""What `--peer` knows by name. What was done for each is told in benchmarks/README.md."""
