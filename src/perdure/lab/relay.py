"""coturn beside the rendezvous: a STUN server and TURN relay for one run."""

from __future__ import annotations

from perdure.lab.children import Child
from perdure.lab.subject import RELAY_PASSWORD, RELAY_PORT, RELAY_USER
from perdure.lab.topology import SERVICES, SERVICES_V4, SERVICES_V6


def relay() -> Child:
    """Not yet started."""
    return Child(
        "relay",
        SERVICES,
        [
            "turnserver",
            "-n",  # no configuration file
            *("--listening-ip", SERVICES_V4, "--listening-ip", SERVICES_V6),
            *("--relay-ip", SERVICES_V4, "--relay-ip", SERVICES_V6),
            *("--listening-port", str(RELAY_PORT), "--min-port", "50000", "--max-port", "50999"),
            *("--lt-cred-mech", "--user", f"{RELAY_USER}:{RELAY_PASSWORD}", "--realm", "lab"),
            *("--no-cli", "--no-tls", "--no-dtls", "--no-stdout-log", "--log-file", "/dev/null"),
            *("--pidfile", "/run/turnserver.pid", "--userdb", "/run/turnserver.db"),
        ],
    )
