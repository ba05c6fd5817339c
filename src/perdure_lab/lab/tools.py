"""What the lab needs of the system, and plain words where it is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable

from perdure.errors import PerdureError

_PACKAGES = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "nft": "nftables",
    "conntrack": "conntrack",
    "turnserver": "coturn",
}
"""Debian's package of each program."""

_ALWAYS = ("unshare", "nsenter", "mount", "ip", "nft")

_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin")
"""Where Debian keeps network tools, and where a user's PATH does not look."""

_CHECK_TIMEOUT = 20.0


class LabError(PerdureError):
    """The lab cannot run here; the text says why and what to do."""


def search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])


def isolated(*command: str) -> list[str]:
    """`command` in private namespaces of its own, which end with it: network, mounts and processes.

    Whoever is not root becomes root of a private user namespace, and of nothing else.
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    private = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [_found("unshare"), *user, *private, "--", *command]


def check_platform() -> None:
    """Whether this is Linux; before anything is imported that is not there elsewhere.

    Raises:
        LabError: it is not.
    """
    if sys.platform != "linux":
        raise LabError("the lab is made of Linux' network namespaces; it does not run on this system")


def check(needs: Iterable[str] = (), *, tun: bool = False) -> None:
    """Whether the lab can run here.

    Args:
        needs: programs beside those that every run needs.
        tun: a scenario delays or drops packets.

    Raises:
        LabError: something is missing.
    """
    check_programs((*_ALWAYS, *needs))
    if tun and not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise LabError(
            "this scenario delays or drops packets, for which the lab must open /dev/net/tun, and it may not: "
            "run it as root, or let this user read and write that device"
        )
    _check_namespaces()


def check_programs(names: Iterable[str]) -> None:
    """Whether they are installed.

    Raises:
        LabError: one is missing.
    """
    missing = [name for name in dict.fromkeys(names) if shutil.which(name, path=search_path()) is None]
    if missing:
        packages = " ".join(dict.fromkeys(_PACKAGES.get(name, name) for name in missing))
        raise LabError(f"the lab needs {', '.join(missing)}; on Debian and Ubuntu: apt install {packages}")


def _check_namespaces() -> None:
    try:
        tried = subprocess.run(isolated("true"), capture_output=True, text=True, timeout=_CHECK_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"the lab cannot make namespaces: {error}") from error
    if tried.returncode == 0:
        return
    said = tried.stderr.strip().splitlines()
    if os.geteuid() == 0:
        hint = "in a container, give it the capability SYS_ADMIN (docker run --privileged)"
    else:
        hint = (
            "run it as root, or permit user namespaces: sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns=0"
        )
    raise LabError(f"the lab may not make namespaces here ({said[-1] if said else 'no reason given'}): {hint}")


def _found(name: str) -> str:
    return shutil.which(name, path=search_path()) or name
