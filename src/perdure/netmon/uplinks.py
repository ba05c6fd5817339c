"""Which interfaces a socket may choose among, whatever the routes prefer. Pure.

1. An uplink is an interface whose addresses count (`state`). Where there is one alone, there is nothing to choose.
2. Where a tunnel carries a default route there are none: nothing is to go past a VPN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.netmon.state import is_tunnel

if TYPE_CHECKING:
    from perdure.netmon.state import Snapshot


def uplinks(snapshot: Snapshot) -> tuple[str, ...]:
    """Their names, in order."""
    names = sorted({address.interface for address in snapshot.bindable})
    if len(names) < 2:
        return ()
    is_vpn = any(it.name in snapshot.default_interfaces and is_tunnel(it) for it in snapshot.interfaces)
    return () if is_vpn else tuple(names)


def uplink_of(snapshot: Snapshot, ip: str) -> str | None:
    """The one that has the address; `None`: none has it, or another interface has it too."""
    holding = [it.name for it in snapshot.interfaces if any(address.ip == ip for address in it.addresses)]
    return holding[0] if len(holding) == 1 and holding[0] in uplinks(snapshot) else None


def may_have_uplinks(snapshot: Snapshot) -> bool:
    """Whether there are several interfaces whose addresses would count, with an address now or not."""
    return sum(map(snapshot.counts, snapshot.interfaces)) > 1
