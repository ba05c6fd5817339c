"""What the machine's network is, what of it counts, and what a change of it means. Pure.

1. Loopback never counts, whatever it carries. Every other interface that carries a default route counts, whatever it is
   called: a container's eth0 is a veth, a machine's br0 a bridge, and through a VPN that carries the default route goes
   all that this process sends.
2. Without a default route, interfaces of containers and virtual machines do not count, nor do tunnels: what goes
   through a tunnel goes over a real interface in the end, whose changes are seen, and a tunnel may be carried by us.
3. An interface without carrier has no addresses that count.
4. An address counts unless it is link-local (it leads nowhere beyond the link), or tentative (RFC 4862 section 5.4:
   nobody may use it until it is known to be unique).
5. A deprecated or a temporary IPv6 address (RFC 4862 section 5.5.4, RFC 8981) is no news when it appears, as it
   accompanies or follows another one of its prefix; but a connection may live on it, so its loss counts.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property, lru_cache
from typing import NamedTuple

from perdure.core.decision import Trigger


class Family(Enum):
    """The value is what the log shows."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


@dataclass(frozen=True, slots=True)
class Address:
    """An address of an interface, in its canonical text, without a zone."""

    ip: str
    is_tentative: bool = False
    """Not known to be unique yet, or known not to be."""
    is_deprecated: bool = False
    is_temporary: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    name: str
    is_up: bool
    """Switched on, with carrier, and ready to carry data (a Wi-Fi is not before it is authenticated)."""
    addresses: frozenset[Address] = frozenset()
    kind: str = ""
    """The kernel's word for how it was made ("veth", "bridge", "wireguard"); empty for hardware, and where unknown."""
    is_loopback: bool = False


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """The route that the kernel would use for an address on the internet."""

    family: Family
    interface: str
    gateway: str | None = None
    """`None`: there is none (a point-to-point link), or it cannot be known."""


ON_THE_INTERNET = {
    Family.IPV4: ("192.0.2.1", "198.51.100.1", "203.0.113.1", "192.175.48.1"),
    Family.IPV6: ("2001:db8::1", "3fff::1", "2620:4f:8000::1"),
}
"""Addresses to which a default route leads; nothing is sent there. Of documentation (RFC 5737, 3849, 9637), several in
case that a test network uses one; then AS112's (RFC 7534), as lists of bogons refuse all of documentation."""


class InterfaceAddress(NamedTuple):
    """An address where it is."""

    interface: str
    ip: str


@dataclass(frozen=True)
class Snapshot:
    """The network at one moment. `defaults` has at most one route of each family."""

    interfaces: tuple[Interface, ...] = ()
    defaults: tuple[DefaultRoute, ...] = ()

    def default(self, family: Family) -> DefaultRoute | None:
        return next((route for route in self.defaults if route.family is family), None)

    @cached_property
    def default_interfaces(self) -> frozenset[str]:
        return frozenset(route.interface for route in self.defaults)

    @cached_property
    def bindable(self) -> frozenset[InterfaceAddress]:
        """Every address that counts, the deprecated and temporary ones included."""
        return frozenset(
            InterfaceAddress(interface.name, address.ip)
            for interface in self.interfaces
            if interface.is_up and self.counts(interface)
            for address in interface.addresses
            if _is_bindable(address) and _leads_somewhere(address.ip)
        )

    @cached_property
    def usable(self) -> frozenset[InterfaceAddress]:
        """The addresses that are news when they appear."""
        passing = {
            InterfaceAddress(interface.name, address.ip)
            for interface in self.interfaces
            for address in interface.addresses
            if address.is_deprecated or address.is_temporary
        }
        return self.bindable - passing

    def leads_by(self, address: str) -> bool:
        """Whether the default route of its family is on the interface that has the local `address`."""
        address = canonical(address)
        route = self.default(family_of(address)) if address in self.holders else None
        return route is not None and route.interface == self.holders[address]

    def has(self, address: str) -> bool:
        """Whether a socket may be bound to the local `address`."""
        return canonical(address) in self.holders

    @property
    def has_address(self) -> bool:
        """Whether there is an address from which something could be reached."""
        return bool(self.bindable)

    @cached_property
    def families(self) -> frozenset[Family]:
        return frozenset(family_of(address.ip) for address in self.bindable)

    @cached_property
    def holders(self) -> dict[str, str]:
        """On which interface an address is that a socket may be bound to; one that does not count only where no other
        has the address."""
        return {
            address.ip: interface.name
            for interface in sorted(self.interfaces, key=self.counts)
            if interface.is_up
            for address in interface.addresses
            if _is_bindable(address)
        }

    def counts(self, interface: Interface) -> bool:
        """Whether its addresses do, while it is up."""
        if interface.is_loopback:
            return False
        return interface.name in self.default_interfaces or not _is_virtual(interface.name, interface.kind)


@dataclass(frozen=True, slots=True)
class Change:
    """What is different between two snapshots; every boolean is about what counts."""

    before: Snapshot
    after: Snapshot
    default_interface_changed: bool = False
    """A family's default route is on another interface, is gone, or has appeared."""
    default_gateway_changed: bool = False
    """It is on the same interface and leads to another gateway."""
    address_added: bool = False
    address_lost: bool = False
    all_addresses_lost: bool = False
    first_address: bool = False
    family_gained: bool = False
    family_lost: bool = False
    reasons: tuple[str, ...] = ()
    """What happened, in a few words each, for the log."""
    trigger: Trigger | None = None
    """What a tube is told; `None`: this does not matter to it."""

    @property
    def is_nothing(self) -> bool:
        return not self.reasons

    @property
    def is_half(self) -> bool:
        """Whether addresses came and a default route is still missing: it usually follows within milliseconds."""
        return self.address_added and not self.address_lost and not self.after.defaults

    def invalidates(self, address: str) -> bool:
        """Whether a connection bound to the local `address` can no longer be trusted after this change.

        So it is when the address is gone (with this change or an earlier one, as the new network often comes later than
        the old one goes), its interface is down, or its interface no longer has the default route of its family that it
        had, or has it through another IPv4 gateway, behind which is another NAT.
        """
        address = canonical(address)
        now_on = self.after.holders.get(address)
        if now_on is None:
            return _is_address(address)
        interface = self.before.holders.get(address)
        if interface is None:
            return False  # it has come: this change took nothing from it
        family = family_of(address)
        before, after = self.before.default(family), self.after.default(family)
        if before is None or before.interface != interface:
            return False
        if after is None or after.interface != now_on:
            return True
        return family is Family.IPV4 and _is_another_gateway(before, after)

    def returns(self, address: str) -> bool:
        """Whether the local `address`, which a path had, was away and has come back with this change."""
        address = canonical(address)
        return address in self.after.holders and address not in self.before.holders


def diff(before: Snapshot, after: Snapshot) -> Change:
    """What changed, by name, with reasons."""
    routes = [_RouteChange(family, before.default(family), after.default(family)) for family in Family]
    added = after.usable - before.bindable
    lost = before.bindable - after.bindable
    interfaces_before, interfaces_after = _names(before.bindable), _names(after.bindable)
    came, went = interfaces_after - interfaces_before, interfaces_before - interfaces_after

    is_elsewhere = any(route.is_moved and not route.joins(before.default_interfaces) for route in routes)
    # An IPv6 gateway that changed alone does not matter: several routers may take turns on one link, and another
    # network would have another prefix.
    is_other_network = any(route.has_other_gateway and route.family is Family.IPV4 for route in routes)
    trigger = None
    if is_elsewhere or is_other_network or came or went:
        trigger = Trigger.INTERFACE_CHANGE
    elif added or lost or any(route.is_moved for route in routes):
        trigger = Trigger.IP_ADDRESS_CHANGE

    return Change(
        before=before,
        after=after,
        default_interface_changed=any(route.is_moved for route in routes),
        default_gateway_changed=any(route.has_other_gateway for route in routes),
        address_added=bool(added),
        address_lost=bool(lost),
        all_addresses_lost=before.has_address and not after.has_address,
        first_address=after.has_address and not before.has_address,
        family_gained=bool(after.families - before.families),
        family_lost=bool(before.families - after.families),
        reasons=(
            *(route.reason for route in routes if route.reason),
            *(f"{name} went" for name in sorted(went)),
            *(f"{name} came" for name in sorted(came)),
            *(f"{address.ip} lost from {address.interface}" for address in sorted(lost)),
            *(f"{address.ip} new on {address.interface}" for address in sorted(added)),
        ),
        trigger=trigger,
    )


def detailed(shown: Snapshot, known: Snapshot) -> Snapshot:
    """What a source shows that tells no kinds of interfaces and no flags of addresses, with those `known` before.

    So the two can be compared. But no address is tentative, as nobody would hear that it no longer is.
    """
    kinds = {interface.name: interface.kind for interface in known.interfaces}
    addresses = {
        InterfaceAddress(interface.name, address.ip): replace(address, is_tentative=False)
        for interface in known.interfaces
        for address in interface.addresses
    }
    interfaces = (
        replace(
            interface,
            kind=kinds.get(interface.name, interface.kind),
            addresses=frozenset(
                addresses.get(InterfaceAddress(interface.name, it.ip), it) for it in interface.addresses
            ),
        )
        for interface in shown.interfaces
    )
    return Snapshot(tuple(interfaces), shown.defaults)


def family_of(address: str) -> Family:
    return Family.IPV6 if ":" in address else Family.IPV4


def canonical(address: str) -> str:
    """The one text of an address: compressed, lower case, without a zone. What is no address stays as it is."""
    address_only = address.partition("%")[0]
    return str(ipaddress.ip_address(address_only)) if _is_address(address_only) else address


def _is_address(text: str) -> bool:
    """Not a name, as mDNS gives one in an address's place."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class _RouteChange(NamedTuple):
    family: Family
    before: DefaultRoute | None
    after: DefaultRoute | None

    @property
    def is_moved(self) -> bool:
        return (self.before and self.before.interface) != (self.after and self.after.interface)

    @property
    def has_other_gateway(self) -> bool:
        return not self.is_moved and _is_another_gateway(self.before, self.after)

    def joins(self, defaults: frozenset[str]) -> bool:
        """Whether it appeared where the other family's already was."""
        return self.before is None and self.after is not None and self.after.interface in defaults

    @property
    def reason(self) -> str:
        what = f"{self.family.value} default route"
        match self.before, self.after:
            case None, DefaultRoute(interface=interface):
                return f"{what} appeared on {interface}"
            case DefaultRoute(interface=interface), None:
                return f"{what} lost from {interface}"
            case DefaultRoute(interface=old), DefaultRoute(interface=new) if old != new:
                return f"{what} moved {old} -> {new}"
            case DefaultRoute(gateway=old), DefaultRoute(gateway=new, interface=interface) if self.has_other_gateway:
                return f"{self.family.value} gateway on {interface} changed {old} -> {new}"
        return ""


def _is_another_gateway(before: DefaultRoute | None, after: DefaultRoute | None) -> bool:
    """Only gateways that are known can differ."""
    if before is None or after is None or before.gateway is None or after.gateway is None:
        return False
    return before.gateway != after.gateway


def _names(addresses: frozenset[InterfaceAddress]) -> frozenset[str]:
    return frozenset(address.interface for address in addresses)


def _is_bindable(address: Address) -> bool:
    return not address.is_tentative


@lru_cache(maxsize=4096)  # parsing an address costs 3 µs, and a look at 200 interfaces meets hundreds of known ones
def _leads_somewhere(ip: str) -> bool:
    parsed = ipaddress.ip_address(ip)
    return not (parsed.is_link_local or parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast)


def _is_virtual(name: str, kind: str) -> bool:
    return kind in _VIRTUAL_KINDS or name.lower().startswith(_VIRTUAL_NAMES)


def is_tunnel(interface: Interface) -> bool:
    return interface.kind in _TUNNEL_KINDS or interface.name.lower().startswith(_TUNNELS)


_TUNNEL_KINDS = (
    "erspan",
    "gre",
    "gretap",
    "ip6gre",
    "ip6tnl",
    "ipip",
    "sit",
    "tun",
    "vti",
    "vti6",
    "wireguard",
    "xfrm",
)
_OVERLAY_KINDS = ("bridge", "geneve", "vrf", "vxlan")
_PSEUDO_KINDS = ("dummy", "ifb", "nlmon", "vcan")
_VIRTUAL_KINDS = frozenset((*_TUNNEL_KINDS, *_OVERLAY_KINDS, *_PSEUDO_KINDS))
"""Linux' words. Not veth, macvlan and ipvlan: they are a container's own interfaces; nor ppp, which is as often a modem
as a tunnel."""

_CONTAINERS = ("docker", "br-", "veth", "cni", "flannel", "cali", "cilium", "lxc", "lxd", "incus", "podman", "kube")
_VIRTUAL_MACHINES = (
    "virbr",
    "vnet",
    "vmnet",
    "vnic",
    "vboxnet",
    "vmenet",
    "vethernet",
    "vmware",
    "virtualbox",
    "tap",
    "bridge1",
)
_TUNNELS = ("tun", "utun", "wg", "tailscale", "zt", "feth", "ipsec", "nordlynx", "proton", "gif", "stf")
_APPLES_OWN = ("awdl", "llw", "anpi", "ap1")
_PSEUDO = ("dummy", "ifb", "npcap", "loopback", "teredo", "isatap")
_VIRTUAL_NAMES = (*_CONTAINERS, *_VIRTUAL_MACHINES, *_TUNNELS, *_APPLES_OWN, *_PSEUDO)
"""How names of such interfaces begin on Linux, macOS and Windows, in lower case."""
