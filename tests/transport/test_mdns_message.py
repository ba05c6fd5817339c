"""Which addresses an mDNS message tells, and what a hostile one does not."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.transport.mdns_message import MAX_ANSWER_BYTES, answers, question
from support.mdns_responder import response

if TYPE_CHECKING:
    from perdure.addresses import Address

NAME = "1f4712db-ea17-4bcf-a596-105139dfd8bf.local"
OTHER = "00000000-0000-4000-8000-000000000000.local"
GOOD = response(NAME, "192.0.2.7").to_wire()
HEADER_BYTES = 12
NAME_AT = HEADER_BYTES
TYPE_AT = len(GOOD) - 4 - 10
"""Where the record's type stands: its class, TTL and length follow, and then four bytes of address."""


def told(datagram: bytes) -> list[tuple[str, Address]]:
    return list(answers(datagram))


@pytest.mark.parametrize(
    ("datagram", "address"),
    [
        (GOOD, "192.0.2.7"),
        (response(NAME, "2001:db8::7").to_wire(), "2001:db8::7"),
        (response(NAME, "192.0.2.7", record_class=1).to_wire(), "192.0.2.7"),
        (response(NAME.upper(), "192.0.2.7").to_wire(), "192.0.2.7"),
        (b"\x12\x34" + GOOD[2:], "192.0.2.7"),
        (GOOD + b"what is behind the answers", "192.0.2.7"),
    ],
)
def test_an_answer_tells_the_names_address(datagram: bytes, address: str) -> None:
    assert told(datagram) == [(NAME, ipaddress.ip_address(address))]


CHROMIUM = [
    (
        "0000840000000001000000012434343162306362362d313636312d346666322d613164372d626464366363373736393136056c6f63616c"
        "0000018001000000780004c00002022434343162306362362d313636312d346666322d613164372d626464366363373736393136056c6f"
        "63616c00002f8001000000780005c046000140",
        "441b0cb6-1661-4ff2-a1d7-bdd6cc776916.local",
        "192.0.2.2",
    ),
    (
        "0000840000000001000000012465353632313462392d396362362d343434352d396662632d366364616365353233326632056c6f63616c"
        "00001c8001000000780010fd0000000000000000000000000000022465353632313462392d396362362d343434352d396662632d366364"
        "616365353233326632056c6f63616c00002f8001000000780008c052000400000008",
        "e56214b9-9cb6-4445-9fbc-6cdace5232f2.local",
        "fd00::2",
    ),
]
"""What Chromium 150 answered on a network of the documentation's addresses. Each has an additional NSEC record."""


@pytest.mark.parametrize(("datagram", "name", "address"), CHROMIUM)
def test_chromiums_answers_are_understood(datagram: str, name: str, address: str) -> None:
    # Found by trying: dnspython refuses the compressed name in the NSEC record, and with it the message.
    assert told(bytes.fromhex(datagram)) == [(name, ipaddress.ip_address(address))]


def several() -> bytes:
    message = response(NAME, "192.0.2.7")
    message.answer += [*response(OTHER, "2001:db8::8").answer, *response(NAME, b"\1x", kind="TXT").answer]
    return message.to_wire()


def test_of_several_records_each_address_is_told() -> None:
    assert told(several()) == [
        (NAME, ipaddress.ip_address("192.0.2.7")),
        (OTHER, ipaddress.ip_address("2001:db8::8")),
    ]


def only_additional() -> bytes:
    message = response(NAME, "192.0.2.7")
    message.additional, message.answer = message.answer, []
    return message.to_wire()


def replaced(at: int, what: bytes) -> bytes:
    return GOOD[:at] + what + GOOD[at + len(what) :]


def with_name(name: bytes) -> bytes:
    """`GOOD` with other bytes in its name's place."""
    return GOOD[:NAME_AT] + name + GOOD[TYPE_AT:]


def too_long() -> bytes:
    message = response(NAME, "192.0.2.7")
    message.answer += [record for number in range(40) for record in response(f"{number}{NAME}", "192.0.2.8").answer]
    assert len(message.to_wire()) > MAX_ANSWER_BYTES
    return message.to_wire()


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(GOOD[:HEADER_BYTES], id="a header that promises more"),
        pytest.param(GOOD[:-1], id="cut off"),
        pytest.param(GOOD[: HEADER_BYTES - 1], id="half a header"),
        pytest.param(question(NAME, 4), id="a question"),
        pytest.param(replaced(2, b"\x00\x00"), id="a question with an answer"),
        pytest.param(replaced(2, b"\xac\x00"), id="an update's response"),
        pytest.param(replaced(2, b"\x84\x03"), id="no such name"),
        pytest.param(replaced(6, b"\x00\x02"), id="two answers are promised"),
        pytest.param(replaced(6, b"\xff\xff"), id="65535 answers are promised"),
        pytest.param(replaced(TYPE_AT, b"\x00\x10"), id="TXT"),
        pytest.param(replaced(TYPE_AT, b"\x00\x05"), id="CNAME"),
        pytest.param(replaced(TYPE_AT + 2, b"\x00\x03"), id="another class"),
        pytest.param(replaced(TYPE_AT + 8, b"\x00\x05"), id="a record longer than the message"),
        pytest.param(replaced(TYPE_AT + 8, b"\x00\x03"), id="a record shorter than an address"),
        pytest.param(response(NAME, "192.0.2.7", ttl=0).to_wire(), id="a goodbye"),
        pytest.param(response(NAME, b"\x7f\0\0\1\0", kind="A").to_wire(), id="five bytes of address"),
        pytest.param(response(NAME, b"", kind="A", record_class=1).to_wire(), id="no address"),
        pytest.param(response(NAME, b"\x7f\0\0\1", kind="AAAA").to_wire(), id="an IPv6 address of four bytes"),
        pytest.param(with_name(b"\xc0\x0c"), id="a name that points at itself"),
        pytest.param(with_name(b"\x01a\xc0\x0c"), id="a name that goes round"),
        pytest.param(with_name(b"\xc0\x10\xc0\x0c"), id="names that point at each other"),
        pytest.param(with_name(b"\xc0\xff"), id="a name that points past the end"),
        pytest.param(with_name(b"\x40" + b"a" * 64 + b"\0"), id="a label that is too long"),
        pytest.param(with_name(b"\x3f" + b"a" * 63 + (b"\x3f" + b"a" * 63) * 4 + b"\0"), id="a name that is too long"),
        pytest.param(only_additional(), id="nothing but an additional record"),
        pytest.param(too_long(), id="longer than a frame"),
        pytest.param(b"\0" * 1500, id="zeros"),
    ],
)
def test_what_is_no_answer_tells_nothing(datagram: bytes) -> None:
    assert told(datagram) == []


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(noise: bytes) -> None:
    told(noise)
    told(GOOD[:4] + noise)


@given(st.sampled_from([GOOD, several()]), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8))
def test_an_answer_with_any_bytes_changed_is_read_without_an_error(good: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(good)
    for at, value in changes:
        changed[at % len(changed)] = value
    told(bytes(changed))


@pytest.mark.parametrize(("family", "kind"), [(4, "A"), (6, "AAAA")])
def test_a_question_asks_one_thing(family: int, kind: str) -> None:
    asked = dns.message.from_wire(question(NAME, 4 if family == 4 else 6))
    assert (asked.id, asked.flags, asked.opcode()) == (0, 0, 0)
    (only,) = asked.question
    assert (only.name.to_text(), dns.rdatatype.to_text(only.rdtype), only.rdclass) == (f"{NAME}.", kind, 1)
    assert not asked.answer + asked.authority + asked.additional
