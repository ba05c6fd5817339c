"""One question and its answers in mDNS (RFC 6762): which address has this name? Pure.

dnspython builds and parses the messages: what answers here is anybody on the link. It refuses names that point at
themselves or forwards, and lengths that lie.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Literal

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure.addresses import Address

MAX_ANSWER_BYTES = 1500
"""An Ethernet frame. Browsers answer with some 100 bytes; only what does not fit into one packet may be longer
(RFC 6762 §17), and an address does."""

_HEADER_BYTES = 12
"""The last four count the records behind the answers (RFC 1035 §4.1.1)."""

_CLASS = 0x7FFF
"""The bits of a record's class; the one above it says that the record replaces what is cached (RFC 6762 §10.2)."""

_LENGTHS = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 16}


def question(name: str, family: Literal[4, 6]) -> bytes:
    """Ask for the IPv4, or the IPv6, address of `name`. One question, as Chromium reads no more of a message."""
    message = dns.message.make_query(name, "A" if family == 4 else "AAAA", id=0)
    message.flags = dns.flags.Flag(0)
    return message.to_wire()


def answers(datagram: bytes) -> Iterator[tuple[str, Address]]:
    """The names, in lower case, and addresses that a response tells; nothing where it is none, or breaks a rule.

    Its id says nothing (RFC 6762 §18.1): who answers shows that it heard the question by the name. What stands behind
    the answers is not read: Chromium adds an NSEC record there, with its name compressed, as mDNS allows (§18.14) and
    DNS, and so dnspython, does not.
    """
    if len(datagram) > MAX_ANSWER_BYTES:
        return
    try:
        message = dns.message.from_wire(datagram[:8] + bytes(4) + datagram[_HEADER_BYTES:], ignore_trailing=True)
    except dns.exception.DNSException:
        return
    is_response = isinstance(message, dns.message.QueryMessage) and message.flags & dns.flags.QR
    if not is_response or message.rcode() != dns.rcode.NOERROR:
        return
    for records in message.answer:
        length = _LENGTHS.get(records.rdtype)
        if records.rdclass & _CLASS != dns.rdataclass.IN or not records.ttl:  # no time to live: a goodbye
            continue
        name = records.name.to_text(omit_final_dot=True).lower()
        for record in records:
            if len(data := record.to_generic().data) == length:
                yield name, ipaddress.ip_address(data)
