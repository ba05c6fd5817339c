"""What a gateway may dial."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.addresses import inner_address, is_special, literal, unmapped
from perdure.streams.allow import NOTHING, AllowList, host_name, parse_allow
from perdure.streams.target import Target, UnixSocket

if TYPE_CHECKING:
    from perdure.addresses import Address


def passes(allow: AllowList, host: str, port: int, comes_to: str) -> bool:
    """Whether `host` is dialled, where the system or a hostile name server says that it is at `comes_to`."""
    target = Target(host, port)
    address: Address = literal(host) or ipaddress.ip_address(comes_to)
    return allow.may_be_allowed(target) and allow.permits(target, address)


@pytest.mark.parametrize(
    ("entry", "host", "port", "comes_to"),
    [
        ("localhost:22", "localhost", 22, "127.0.0.1"),
        ("localhost:22", "LocalHost", 22, "::1"),
        ("localhost:22", "localhost.", 22, "127.0.0.1"),
        ("db.:*", "db", 1, "10.0.0.5"),
        ("db:*", "DB", 65535, "10.0.0.5"),
        ("bücher.example:80", "BÜCHER.example", 80, "192.0.2.1"),
        ("bücher.example:80", "xn--bcher-kva.example", 80, "192.0.2.1"),
        ("_x-y.example:80", "_x-y.example", 80, "192.0.2.1"),
        ("127.0.0.1:22", "127.0.0.1", 22, ""),
        ("127.0.0.1:22", "::ffff:127.0.0.1", 22, ""),
        ("[::ffff:127.0.0.1]:22", "127.0.0.1", 22, ""),
        ("127.0.0.1:22", "any.example", 22, "127.0.0.1"),
        ("[::1]:80", "::1", 80, ""),
        ("[::1]:80", "0:0:0:0:0:0:0:1", 80, ""),
        ("10.0.0.0/8:22", "10.255.0.1", 22, ""),
        ("10.0.0.0/8:22", "db.example", 22, "10.1.2.3"),
        ("[2001:db8::/32]:443", "2001:db8:1::1", 443, ""),
        ("host:80,443,8000-8100", "host", 443, "192.0.2.1"),
        ("host:80,443,8000-8100", "host", 8000, "192.0.2.1"),
        ("host:80,443,8000-8100", "host", 8100, "192.0.2.1"),
        ("169.254.169.254:80", "169.254.169.254", 80, ""),
        ("[64:ff9b::/96]:80", "64:ff9b::203.0.113.5", 80, ""),
        ("host:80", "host", 80, "64:ff9b::203.0.113.5"),
        ("[2002::/16]:80", "2002:cb00:7105:1::5", 80, ""),
    ],
)
def test_what_an_entry_names_is_dialled(entry: str, host: str, port: int, comes_to: str) -> None:
    assert passes(parse_allow([entry]), host, port, comes_to)


@pytest.mark.parametrize(
    ("entry", "host", "port", "comes_to"),
    [
        ("localhost:22", "localhost", 23, "127.0.0.1"),
        ("localhost:22", "127.0.0.1", 22, ""),
        ("localhost:22", "localhost.example", 22, "127.0.0.1"),
        ("localhost:22", "xlocalhost", 22, "127.0.0.1"),
        ("db:*", "db.example", 1, "10.0.0.5"),
        ("10.0.0.0/8:22", "11.0.0.1", 22, ""),
        ("10.0.0.0/8:22", "10.0.0.1", 23, ""),
        ("10.0.0.0/8:22", "db.example", 22, "11.1.2.3"),
        ("10.0.0.0/8:22", "db.example", 22, "::ffff:11.1.2.3"),
        ("host:80,443,8000-8100", "host", 81, "192.0.2.1"),
        ("host:80,443,8000-8100", "host", 7999, "192.0.2.1"),
        ("host:80,443,8000-8100", "host", 8101, "192.0.2.1"),
        ("metadata:80", "metadata", 80, "169.254.169.254"),
        ("metadata:80", "metadata", 80, "fd00:ec2::254"),
        ("metadata:80", "metadata", 80, "100.100.100.200"),
        ("metadata:80", "metadata", 80, "0.0.0.0"),
        ("metadata:80", "metadata", 80, "::"),
        ("metadata:80", "metadata", 80, "64:ff9b::169.254.169.254"),
        ("169.254.0.0/16:80", "169.254.169.254", 80, ""),
        ("0.0.0.0/0:*", "169.254.169.254", 80, ""),
        ("[::/0]:*", "fe80::1", 80, ""),
        ("[::/0]:*", "127.0.0.1", 80, ""),
        ("[::/0]:*", "::ffff:127.0.0.1", 80, ""),
        ("10.0.0.0/8:80", "64:ff9b::10.0.0.1", 80, ""),
        ("203.0.113.0/24:80", "2002:cb00:7105:1::5", 80, ""),
        ("203.0.113.0/24:80", "64:ff9b:1:a9fe:a9:fe00:cb00:7105", 80, ""),
        ("[::/0]:*", "64:ff9b:1:a9fe:a9:fe00:cb00:7105", 80, ""),
        ("[::/0]:*", "64:ff9b::169.254.169.254", 80, ""),
        ("[::/0]:*", "2002:a9fe:a9fe::1", 80, ""),
        ("[::/0]:*", "fd00:ec2::23", 80, ""),
        ("host:80", "host", 80, "fd20:ce::254"),
    ],
)
def test_what_no_entry_names_is_not(entry: str, host: str, port: int, comes_to: str) -> None:
    assert not passes(parse_allow([entry]), host, port, comes_to)


@pytest.mark.parametrize(
    ("deny", "host", "comes_to"),
    [
        ("10.0.0.1:*", "10.0.0.1", ""),
        ("10.0.0.1:22", "::ffff:10.0.0.1", ""),
        ("10.0.0.0/24:20-30", "10.0.0.77", ""),
        ("10.0.0.1:22", "db.example", "10.0.0.1"),
        ("10.0.0.1:22", "db.example", "64:ff9b::10.0.0.1"),
        ("10.0.0.1:22", "db.example", "2002:a00:1::1"),
        ("db.example:22", "DB.Example.", "10.0.0.9"),
    ],
)
def test_what_is_denied_is_not_dialled_though_it_is_allowed(deny: str, host: str, comes_to: str) -> None:
    allowed = ["10.0.0.0/8:*", "db.example:*"]
    assert passes(parse_allow(allowed), host, 22, comes_to)
    assert not passes(parse_allow(allowed, [deny]), host, 22, comes_to)
    assert passes(parse_allow(allowed, [deny]), "10.9.9.9", 22, "")


SPELLINGS = {
    "127.0.0.1": """
        127.0.0.1 127.1 127.0.1 0177.0.0.1 0x7f.0.0.1 0x7f.1 0x7f000001 0X7F000001 2130706433 017700000001
        127.0.0.1. 127.000.000.001 127.0.0.01 1２7.0.0.1 ①②⑦.⓪.⓪.① 127。0。0。1 127．0．0．1 ::ffff:127.0.0.1
        ::ffff:7f00:1 0:0:0:0:0:ffff:7f00:1 ::127.0.0.1 ::7f00:1 64:ff9b::127.0.0.1 64:ff9b::7f00:1
        64:ff9b:1::7f00:1 2002:7f00:1::1 ::ffff:0:127.0.0.1 2001:0:7f00:1::80ff:fffe 2001::80ff:fffe localhost
        LOCALHOST localhost. ip6-localhost 127.0.0.1.nip.io 7f000001.example rebind.example 127.0.0.1%lo
        ::ffff:127.0.0.1%lo 0x7f.0.1
    """,
    "::1": """
        ::1 0:0:0:0:0:0:0:1 0000::0001 ::0001 ::1%lo ::1%1 0::1 ::0:1 ip6-loopback
    """,
    "0.0.0.0": """
        0 0.0.0.0 0x0 00000000 0.0 0.0.0 :: 0:0:0:0:0:0:0:0 ::ffff:0.0.0.0 ::ffff:0:0 0. 0x00000000
        64:ff9b::0.0.0.0 0.0.0.1 ::0.0.0.0
    """,
    "169.254.169.254": """
        169.254.169.254 169.254.43518 169.16689662 2852039166 0xa9fea9fe 0xa9.0xfe.0xa9.0xfe
        0251.0376.0251.0376 025177524776 ::ffff:169.254.169.254 ::ffff:a9fe:a9fe 64:ff9b::a9fe:a9fe
        2002:a9fe:a9fe::1 ::169.254.169.254 169.254.169.254. metadata.google.internal METADATA
        169.254.169.254.nip.io １６９.254.169.254 169。254。169。254 64:ff9b:1::a9fe:a9fe instance-data
    """,
    "fe80::1": """
        fe80::1 fe80::1%eth0 fe80::1%2 FE80::1 fe80:0:0:0:0:0:0:1 fe80::0.0.0.1 router.local
    """,
    "10.2.0.1": """
        10.2.0.1 10.131073 10.2.1 167903233 0xa020001 0xa.2.0.1 012.2.0.1 ::ffff:10.2.0.1 ::ffff:a02:1
        64:ff9b::a02:1 2002:a02:1:: ::10.2.0.1 internal internal.example. 10.2.0.1.
    """,
}
LISTS = [
    ["example.internal:80"],
    ["10.1.0.0/16:*", "203.0.113.0/24:80"],
    ["[2001:db8::/32]:*", "app:80,443"],
]
EVASIONS = [
    (entries, host, comes_to) for entries in LISTS for comes_to, hosts in SPELLINGS.items() for host in hosts.split()
]


def test_there_are_more_than_200_of_them() -> None:
    assert len(EVASIONS) > 300


@pytest.mark.parametrize(("entries", "host", "comes_to"), EVASIONS)
def test_no_spelling_leads_around_the_list(entries: list[str], host: str, comes_to: str) -> None:
    assert not passes(parse_allow(entries), host, 80, comes_to)


@pytest.mark.parametrize(
    "host", [host for hosts in SPELLINGS.values() for host in hosts.split() if literal(host) is None]
)
def test_a_name_that_an_entry_names_does_not_lead_to_a_special_address(host: str) -> None:
    name = host_name(host)
    if name is None:
        with pytest.raises(ValueError, match=r"."):
            parse_allow([f"{host}:80"])
    else:
        allow = parse_allow([f"{host}:80"])
        assert not passes(allow, host, 80, "169.254.169.254")
        assert not passes(allow, host, 80, "::ffff:0.0.0.0")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "*",
            "*:*:*",
            ":*",
            "[::1:*",
            "localhost",
            "two words:*",
            "bell\a:*",
            "*:80",
            "host:",
            "host:0",
            "host:65536",
        ),
        *(
            "host:1-",
            "host:-1",
            "host:9-8",
            "host:80,",
            "host:a",
            "10.0.0.1/8:80",
            "10.0.0.0/33:80",
            "127.1:80",
            "0x7f.1:80",
        ),
        *("a..b:80", "::1:80", "[::ffff:10.0.0.0/104]:80", "[fe80::1%eth0]:80", f"{'a' * 64}:80", "host:１２"),
    ],
)
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_allow([text])


def test_a_star_for_every_host_is_refused_rather_than_taken_for_a_name() -> None:
    with pytest.raises(ValueError, match=r"'\*:80' must name a host"):
        parse_allow(["*:80"])


def test_nothing_is_allowed_unless_it_is_named() -> None:
    assert not passes(AllowList(), "localhost", 22, "127.0.0.1")
    assert not passes(AllowList(), "127.0.0.1", 22, "")
    assert not passes(parse_allow([], ["other:1"]), "localhost", 22, "127.0.0.1")


def test_a_list_is_shown_as_it_is_written() -> None:
    allow = parse_allow(["LOCALHOST:22", "[::1]:80,90-99", "db:*", "10.0.0.0/8:1"], ["10.0.0.1:*"])
    assert str(allow) == "10.0.0.0/8:1, [::1]:80,90-99, db:*, localhost:22; not 10.0.0.1:*"


def test_for_a_handler_without_a_list_everything_is_allowed_but_what_is_denied() -> None:
    allow = parse_allow([], ["10.0.0.0/8:*", "db:22"])
    named = [
        host for host in ("db", "web", "10.0.0.1", "::ffff:10.0.0.1", "192.0.2.1") if allow.names(Target(host, 22))
    ]
    assert named == ["web", "192.0.2.1"]


@pytest.mark.parametrize("allowed", [[], ["[::/0]:*"]])
@pytest.mark.parametrize(
    "host",
    ["64:ff9b::7f00:1", "::ffff:127.0.0.1", "::127.0.0.1", "2002:7f00:1::1", "0x7f.1", "127.1", "2130706433", "::1%lo"],
)
def test_for_a_handler_no_spelling_of_a_denied_address_passes(host: str, allowed: list[str]) -> None:
    allow = parse_allow(allowed, ["127.0.0.0/8:22", "[::1]:22"])
    assert not allow.names(Target(host, 22))
    assert parse_allow([]).names(Target(host, 22))


def test_for_a_handler_what_is_no_host_is_denied_at_denied_ports_only() -> None:
    allow = parse_allow([], ["127.0.0.0/8:22"])
    assert [port for port in (22, 23) if allow.names(Target("0x7f.1", port))] == [23]


def test_for_a_handler_a_name_counts_as_it_is_said() -> None:
    allow = parse_allow(["db:22", "10.0.0.0/8:22"], ["10.0.0.1:22"])
    named = [host for host in ("db", "DB.", "10.0.0.2", "10.0.0.1", "other", "0x0a.2") if allow.names(Target(host, 22))]
    assert named == ["db", "DB.", "10.0.0.2"]


@given(st.ip_addresses(v=6))
def test_every_address_is_judged_by_all_that_packets_to_it_reach(address: ipaddress.IPv6Address) -> None:
    allow = parse_allow(["[::/0]:*"])
    reached = [each for each in (unmapped(address), inner_address(address)) if each is not None]
    expected = unmapped(address).version == 6 and not any(map(is_special, reached))
    assert allow.permits(Target(str(address), 1), address) is expected


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0", "::", "127.0.0.1", "255.255.255.255", "2001:db8::1"])
def test_nothing_is_allowed_by_nothing(host: str) -> None:
    assert not any(passes(NOTHING, host, port, "0.0.0.0") for port in (1, 22, 80, 65535))


def test_a_unix_socket_needs_an_entry_that_is_its_path() -> None:
    allow = parse_allow(["/run/db", "/run/secret", "127.0.0.1:*"], ["/run/secret"])
    passed = [path for path in ("/run/db", "/run/secret", "/run/db2", "/run") if allow.may_be_allowed(UnixSocket(path))]
    assert passed == ["/run/db"]
    assert [path for path in ("/run/db", "/run/secret") if allow.names(UnixSocket(path))] == ["/run/db"]
    assert str(allow) == "/run/db, /run/secret, 127.0.0.1:*; not /run/secret"


def test_no_list_allows_a_unix_socket_that_it_does_not_name() -> None:
    for allow in (parse_allow([]), parse_allow([], ["127.0.0.1:*"]), parse_allow(["0.0.0.0/0:*"]), NOTHING):
        assert not allow.names(UnixSocket("/run/db"))
        assert not allow.may_be_allowed(UnixSocket("/run/db"))


@pytest.mark.parametrize("entry", ["/run/../db", "/run/db/", "//run/db", "/" + "x" * 200, "/run/\a"])
def test_a_path_that_is_spelled_otherwise_is_no_entry(entry: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_allow([entry])


@pytest.mark.parametrize(
    ("entry", "meant"),
    [
        ("10.0.0.1/8:22", "did you mean 10.0.0.0/8, or 10.0.0.1 alone?"),
        ("[2001:db8::1/32]:22", "did you mean 2001:db8::/32, or 2001:db8::1 alone?"),
    ],
)
def test_an_address_with_a_networks_length_is_asked_which_is_meant(entry: str, meant: str) -> None:
    with pytest.raises(ValueError, match=re.escape(meant)):
        parse_allow([entry])
