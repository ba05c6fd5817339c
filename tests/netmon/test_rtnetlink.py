"""rtnetlink's messages against pyroute2's of the same: it knows every attribute; and against garbage."""

from __future__ import annotations

import struct
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.netmon import rtnetlink
from perdure.netmon.rtnetlink import Link, NextHop, Route, UnreadableMessage
from perdure.netmon.state import Address, Family

if not sys.platform.startswith("linux"):
    pytest.skip("pyroute2 is Linux'", allow_module_level=True)

from pyroute2.netlink import rtnl
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

AF_INET, AF_INET6 = 2, 10
AF_DECNET, AF_PHONET, AF_MCTP = 12, 35, 45

IFA_LOCAL = 2

UP, RUNNING, LOWER_UP, LOOPBACK = 0x1, 0x40, 0x10000, 0x8
WORKS = UP | RUNNING | LOWER_UP


def body(message: Any, attributes: dict[str, object], **fields: object) -> bytes:
    """What pyroute2 makes of it, without the header."""
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes.items())
    message.encode()
    [split] = rtnetlink.split(bytes(message.data))
    return split.body


def decoded(message: Any, question: bytes) -> Any:
    read = message(question)
    read.decode()
    return read


def test_questions_are_as_pyroute2_reads_them() -> None:
    links = decoded(ifinfmsg, rtnetlink.all_links())
    assert links["header"]["type"] == rtnl.RTM_GETLINK
    assert links["header"]["flags"] == 0x301
    assert links.get_attr("IFLA_EXT_MASK") == 8
    link = decoded(ifinfmsg, rtnetlink.one_link(7))
    assert (link["header"]["type"], link["header"]["flags"], link["index"]) == (rtnl.RTM_GETLINK, 0x1, 7)
    assert link.get_attr("IFLA_EXT_MASK") == 8
    assert decoded(ifaddrmsg, rtnetlink.all_addresses())["header"]["type"] == rtnl.RTM_GETADDR
    for family, number, bits, destination in (
        (Family.IPV4, AF_INET, 32, "192.0.2.1"),
        (Family.IPV6, AF_INET6, 128, "2001:db8::1"),
    ):
        route = decoded(rtmsg, rtnetlink.route_to(family, destination))
        assert (route["header"]["type"], route["header"]["flags"]) == (rtnl.RTM_GETROUTE, 0x1)
        assert (route["family"], route["dst_len"]) == (number, bits)
        assert route.get_attr("RTA_DST") == destination


def test_the_groups_are_pyroute2s() -> None:
    names = ("LINK", "IPV4_IFADDR", "IPV6_IFADDR", "IPV4_ROUTE", "IPV6_ROUTE", "IPV4_RULE", "IPV6_RULE")
    assert sum(getattr(rtnl, f"RTMGRP_{name}") for name in names) == rtnetlink.GROUPS


@pytest.mark.parametrize(
    ("flags", "is_up", "is_loopback", "may_be_late"),
    [
        (WORKS, True, False, False),
        (WORKS | LOOPBACK, True, True, False),
        (UP | LOWER_UP, False, False, True),
        (UP | RUNNING, False, False, False),
        (LOWER_UP, False, False, False),
        (0, False, False, False),
    ],
)
def test_a_link(flags: int, is_up: bool, is_loopback: bool, may_be_late: bool) -> None:
    message = body(
        ifinfmsg(),
        {"IFLA_MTU": 1500, "IFLA_IFNAME": "veth7", "IFLA_LINKINFO": {"attrs": [("IFLA_INFO_KIND", "veth")]}},
        index=7,
        flags=flags,
    )
    assert rtnetlink.read_link(message) == Link(7, "veth7", "veth", is_up, is_loopback, may_be_late)


def test_a_link_of_hardware_has_no_kind() -> None:
    assert rtnetlink.read_link(body(ifinfmsg(), {"IFLA_IFNAME": "eth0"}, index=2)).kind == ""


@pytest.mark.parametrize(
    ("flags", "address"),
    [
        (0x80, Address("2001:db8::2")),
        (0x40, Address("2001:db8::2", is_tentative=True)),
        (0x44, Address("2001:db8::2")),
        (0x08, Address("2001:db8::2", is_tentative=True)),
        (0x20, Address("2001:db8::2", is_deprecated=True)),
        (0x101, Address("2001:db8::2", is_temporary=True)),
    ],
    ids=["permanent", "tentative", "optimistic", "not unique", "deprecated", "temporary"],
)
def test_an_ipv6_address(flags: int, address: Address) -> None:
    attributes: dict[str, object] = {"IFA_ADDRESS": "2001:db8::2", "IFA_FLAGS": flags}
    assert rtnetlink.read_address(body(ifaddrmsg(), attributes, family=AF_INET6, index=3)) == (3, address)


def test_flags_of_the_header_count_where_there_are_no_others() -> None:
    message = body(ifaddrmsg(), {"IFA_ADDRESS": "2001:db8::2"}, family=AF_INET6, index=3, flags=0x40)
    assert rtnetlink.read_address(message) == (3, Address("2001:db8::2", is_tentative=True))


def test_a_secondary_ipv4_address_is_not_temporary_and_a_tunnels_is_this_ends() -> None:
    attributes: dict[str, object] = {"IFA_ADDRESS": "10.8.0.1", "IFA_LOCAL": "10.8.0.6", "IFA_FLAGS": 0x81}
    message = body(ifaddrmsg(), attributes, family=AF_INET, index=4)
    assert rtnetlink.read_address(message) == (4, Address("10.8.0.6"))


@pytest.mark.parametrize(("family", "address"), [(AF_PHONET, b"\x6c"), (AF_DECNET, b"\x01\x04"), (AF_MCTP, b"\x08")])
def test_an_address_of_a_family_that_nobody_here_uses_is_passed_over(family: int, address: bytes) -> None:
    attribute = struct.pack("=HH4s", 4 + len(address), IFA_LOCAL, address)
    assert rtnetlink.read_address(struct.pack("=BBBBI", family, 8 * len(address), 0, 0, 5) + attribute) is None


def test_a_route() -> None:
    attributes: dict[str, object] = {"RTA_TABLE": 254, "RTA_OIF": 2, "RTA_GATEWAY": "10.0.0.1"}
    message = body(rtmsg(), attributes, family=AF_INET, dst_len=1, type=1)
    assert rtnetlink.read_route(message) == Route(rtnetlink.RTN_UNICAST, 1, NextHop(2, "10.0.0.1"))


def test_a_route_without_a_gateway_and_one_of_the_other_family() -> None:
    assert rtnetlink.read_route(body(rtmsg(), {"RTA_OIF": 2}, family=AF_INET, type=1)).hop == NextHop(2, None)
    via = {"family": AF_INET6, "addr": "fe80::1"}
    message = body(rtmsg(), {"RTA_OIF": 2, "RTA_VIA": via}, family=AF_INET, type=1)
    assert rtnetlink.read_route(message).hop == NextHop(2, "fe80::1")


@pytest.mark.parametrize(("flags", "index"), [((0, 0), 2), ((1, 0), 3), ((16, 0), 3), ((1, 16), 2)])
def test_of_several_next_hops_the_first_living_one_counts(flags: tuple[int, int], index: int) -> None:
    hops = [
        {"flags": flag, "hops": 0, "oif": oif, "attrs": [("RTA_GATEWAY", f"10.0.{oif}.1")]}
        for flag, oif in zip(flags, (2, 3), strict=True)
    ]
    message = body(rtmsg(), {"RTA_MULTIPATH": hops}, family=AF_INET, type=1)
    assert rtnetlink.read_route(message).hop == NextHop(index, f"10.0.{index}.1")


@given(st.binary(max_size=120))
def test_garbage_is_refused_as_what_it_is_and_ends(data: bytes) -> None:
    for read in (rtnetlink.read_link, rtnetlink.read_address, rtnetlink.read_route, rtnetlink.error_number):
        with suppress(UnreadableMessage):
            read(data)
    with suppress(UnreadableMessage):
        assert sum(len(message.body) for message in rtnetlink.split(data)) <= len(data)


@given(st.data())
def test_a_message_that_is_cut_short_is_refused_or_read(data: st.DataObject) -> None:
    hops = [{"flags": 0, "hops": 0, "oif": 2, "attrs": [("RTA_GATEWAY", "10.0.2.1")]}]
    whole = body(rtmsg(), {"RTA_MULTIPATH": hops}, family=AF_INET, type=1)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with suppress(UnreadableMessage):
        assert rtnetlink.read_route(cut).hop in (NextHop(0, None), NextHop(2, "10.0.2.1"))
