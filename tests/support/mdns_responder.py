"""Whoever answers mDNS questions on this machine's loopback interface, as a browser does for its names on a network."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Self

import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from perdure.transport.mdns import GROUPS, PORT

if TYPE_CHECKING:
    from types import TracebackType

GROUP = GROUPS[4]
HERE = "127.0.0.1"

IP_MULTICAST_ALL = 49
"""Linux: 0 leaves out what came by other interfaces."""

REPLACES = 0x8001
"""The class of a record that replaces what is cached (RFC 6762 §10.2)."""


def response(
    name: str, address: str | bytes, *, kind: str = "", record_class: int = REPLACES, ttl: int = 120, flags: int = 0
) -> dns.message.Message:
    """An answer of one record. `kind`: by default as `address` is; `flags`: besides those of a response."""
    data = address if isinstance(address, bytes) else ipaddress.ip_address(address).packed
    rdtype = dns.rdatatype.from_text(kind or ("A" if len(data) == 4 else "AAAA"))
    message = dns.message.QueryMessage(id=0)
    message.flags = dns.flags.Flag(dns.flags.QR | dns.flags.AA | flags)
    record = dns.rdata.GenericRdata(dns.rdataclass.RdataClass.make(record_class), rdtype, data)
    message.answer.append(dns.rrset.from_rdata(dns.name.from_text(name), ttl, record))
    return message


class Responder(asyncio.DatagramProtocol):
    """Answers for the names in `addresses`, to the group and no other way, as Chromium does."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        """Of each name, in lower case."""
        self.questions: list[tuple[str, str]] = []
        """Name and type of each that came."""
        self.before: list[bytes] = []
        """What is said before each answer."""
        self.unheard = 0
        """Questions that are not answered yet."""
        self._transport: asyncio.DatagramTransport

    async def __aenter__(self) -> Self:
        here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        here.setblocking(False)
        here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        here.bind((GROUP, PORT))
        here.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
        here.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton(HERE))
        here.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(HERE))
        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=here)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    def say(self, datagram: bytes) -> None:
        """To the group."""
        self._transport.sendto(datagram, (GROUP, PORT))

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        message = dns.message.from_wire(data)
        if message.flags & dns.flags.QR:
            return
        (question,) = message.question
        name = question.name.to_text(omit_final_dot=True)
        self.questions.append((name, dns.rdatatype.to_text(question.rdtype)))
        found = self.addresses.get(name.lower())
        if found is None or question.rdtype != (dns.rdatatype.AAAA if ":" in found else dns.rdatatype.A):
            return
        if self.unheard:
            self.unheard -= 1
            return
        for datagram in self.before:
            self.say(datagram)
        self.say(response(name, found).to_wire())
