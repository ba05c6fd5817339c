"""A network of a program's own."""

from __future__ import annotations

import subprocess

import pytest


def network_namespace() -> list[str]:
    """How to begin a program with one, which goes with it. The test is skipped where this user may have none."""
    for command in (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]):
        try:
            tried = subprocess.run(
                [*command, "ip", "link", "add", "eth0", "type", "veth"], capture_output=True, check=False, timeout=10
            )
        except OSError:
            break
        if tried.returncode == 0:
            return command
    pytest.skip("no network namespace: it takes Linux, unshare, ip, and root or user namespaces")
