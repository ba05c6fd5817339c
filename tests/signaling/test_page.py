"""What the page about the protocol says of signaling is what the code has."""

from __future__ import annotations

import re
from typing import get_args

import msgspec
import pytest

from perdure.signaling.base import MAX_WAITING_MESSAGES
from perdure.signaling.bounded import EMPTY_FRAMES_AT_ONCE, EMPTY_FRAMES_PER_SECOND, SHORT_FRAGMENT_BYTES
from perdure.signaling.client_peer import FAREWELL_TIMEOUT, KNOCK_INTERVAL
from perdure.signaling.envelope import (
    MAX_DETAIL_CHARACTERS,
    MAX_ENVELOPE_BYTES,
    PROLOGUE,
    VERSION,
    EnvelopeType,
    Knock,
    Refusal,
    RefusalReason,
    Welcome,
)
from perdure.signaling.frames import (
    MAX_NAME_CHARACTERS,
    MAX_REASON_CHARACTERS,
    MAX_VOUCHED,
    PATH,
    ClientFrame,
    Join,
    Proof,
    RefusalCode,
    ServerFrame,
)
from perdure.signaling.gate import HTTP_CONNECTIONS
from perdure.signaling.gateway_peer import MAX_SESSIONS
from perdure.signaling.knock_queue import KNOCKS_AT_ONCE, KNOCKS_PER_SECOND, MAX_OPENED_KNOCKS, MAX_WAITING_KNOCKS
from perdure.signaling.messages import ChannelMessage, RTCIceServer
from perdure.signaling.noise import PROTOCOL
from perdure.signaling.outgoing import MAX_UNWRITTEN_BYTES, MAX_UNWRITTEN_FRAMES
from perdure.signaling.reliable_channel import (
    ACK_DELAY,
    MAX_OWED_ACKS,
    RESEND_AFTER,
    RESEND_AFTER_AT_MOST,
    RESENT_AT_ONCE,
    WINDOW,
    Body,
)
from perdure.signaling.rendezvous_sockets import PING_INTERVAL, PING_TIMEOUT
from perdure.signaling.replacement import SHORTEST_DOUBT_INTERVAL
from perdure.signaling.retry_wait import BACKOFF_BASE, BACKOFF_MAX
from perdure.signaling.rooms import RendezvousLimits
from perdure.signaling.session_places import MAX_ENDED_SESSIONS
from perdure.signaling.websocket import CONNECT_TIMEOUT
from support.pages import Page, cells

PAGE = Page("protocol.md")
KIB = 1024


def names(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


@pytest.mark.parametrize("frame", [*get_args(ClientFrame), *get_args(ServerFrame)], ids=lambda frame: frame.__name__)
def test_each_frame_has_its_row_with_its_fields(frame: type[msgspec.Struct]) -> None:
    tag = frame.__struct_config__.tag
    fields = names(frame) | (names(Proof) if frame is Join else set())
    others = {f"`{tag}`", '`""`', "`true`", "`false`", "`gateway`", "`client`"}
    assert {f"`{name}`" for name in quoted(PAGE.row(f"`{tag}`"))} - others == {f"`{name}`" for name in fields} - others


def test_each_code_of_a_refusal_is_told_and_no_other() -> None:
    first_cells = " ".join(cells(row)[0] for row in PAGE.rows("| `code` |"))
    assert quoted(first_cells) == {code.value for code in RefusalCode}


@pytest.mark.parametrize("kind", list(EnvelopeType))
def test_each_type_of_envelope_has_its_first_byte(kind: EnvelopeType) -> None:
    assert f"| {kind.name} | 0x{VERSION << 4 | kind:02x} |" in PAGE.text


@pytest.mark.parametrize("inside", [Knock, Welcome, Refusal], ids=lambda inside: inside.__name__)
def test_what_is_inside_a_handshake_is_told(inside: type[msgspec.Struct]) -> None:
    (row,) = (row for row in PAGE.rows("| inside |") if cells(row)[0] == inside.__name__.upper())
    expected = names(inside)
    if inside is Welcome:
        expected |= names(RTCIceServer)
    if inside is Refusal:
        expected |= {reason.value for reason in RefusalReason}
    assert quoted(row) == expected


def test_each_field_of_a_body_and_of_a_message_is_told() -> None:
    for name in names(Body):
        assert PAGE.row(f"`{name}`")
    told = PAGE.row("`message`")
    for message in get_args(ChannelMessage):
        assert f"`{message.__struct_config__.tag}`" in told
        assert names(message) <= quoted(told)


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    limits = RendezvousLimits()
    rows = {
        "connections that have joined": f"{limits.max_connections},",
        "connections that have not joined, besides": f"| {HTTP_CONNECTIONS},",
        "connections of one IPv4 address, or one /64 of IPv6": f"{limits.max_connections_of_one_address};",
        "rooms with a gateway; of gateways of one address, counted likewise": f"{limits.max_rooms}; "
        f"{limits.max_rooms_of_one_address} ",
        "clients of a room that its gateway does not vouch for": f"| {limits.max_strangers_per_room} |",
        "a body": f"{limits.max_message_bytes // KIB} KiB (peers: {MAX_ENVELOPE_BYTES // KIB} KiB)",
        "frames from a connection": f"{limits.frames_per_second:g} a second, {limits.frame_burst} at once",
        "bytes of a client's frames": f"{limits.client_bytes_per_second / KIB:g} KiB a second, "
        f"{limits.client_byte_burst // KIB**2} MiB at once",
        "frames not yet written to a connection, by the rendezvous": f"{limits.max_outgoing_frames}, "
        f"{limits.max_outgoing_bytes // KIB**2} MiB",
        "time to join": f"{limits.join_timeout:g} s",
        "silence": f"every {limits.ping_interval:g} s, {limits.ping_timeout:g} s for the pong "
        f"(links: {PING_INTERVAL:g} s, {PING_TIMEOUT:g} s)",
        "what a link has not yet written": f"{MAX_UNWRITTEN_FRAMES} frames, {MAX_UNWRITTEN_BYTES // KIB**2} MiB",
        "a channel's messages that wait or are not acknowledged; those not yet heard": f"{MAX_WAITING_MESSAGES}; "
        f"{MAX_WAITING_MESSAGES}",
        "peer ids that a gateway vouches for": f"| {MAX_VOUCHED} |",
        "KNOCKs that a gateway opens": f"{KNOCKS_PER_SECOND:g} a second, {KNOCKS_AT_ONCE} after a pause. One waits for "
        f"each peer id: of {MAX_WAITING_KNOCKS} peers",
        "KNOCKs that a gateway remembers, so as not to open them again": f"| {MAX_OPENED_KNOCKS} |",
        "WebSocket frames that say nothing, at both ends: pings, pongs that nobody asked for, fragments of less than "
        f"{SHORT_FRAGMENT_BYTES} bytes that are not the last": f"{EMPTY_FRAMES_PER_SECOND:g} a second, "
        f"{EMPTY_FRAMES_AT_ONCE} at once (links: {1 / SHORTEST_DOUBT_INTERVAL:g} pings a second",
        "a gateway's sessions": f"| {MAX_SESSIONS} |",
        "ended sessions that a gateway remembers": f"| {MAX_ENDED_SESSIONS} |",
    }
    PAGE.check_rows(rows)
    PAGE.check(
        f"`{PATH}` is the WebSocket",
        f"`{PROTOCOL.decode()}`",
        f"The prologue is `{PROLOGUE.decode()}`",
        f"at most {MAX_NAME_CHARACTERS} characters",
        f"at most {MAX_REASON_CHARACTERS} characters",
        f"`detail`, at most {MAX_DETAIL_CHARACTERS} characters",
        f"At most {MAX_ENVELOPE_BYTES // KIB} KiB",
        f"at most {WINDOW} under way (`WINDOW`)",
        f"after {RESEND_AFTER:g} s without progress (`RESEND_AFTER`)",
        f"{RESEND_AFTER_AT_MOST:g} s (`RESEND_AFTER_AT_MOST`), only the oldest {RESENT_AT_ONCE} (`RESENT_AT_ONCE`)",
        f"at most {ACK_DELAY * 1000:g} ms (`ACK_DELAY`), or {MAX_OWED_ACKS} messages (`MAX_OWED_ACKS`)",
        f"said `bye` waits {FAREWELL_TIMEOUT:g} s at most for that",
        f"Again, {KNOCK_INTERVAL:g} s after a knock without an answer",
        f"up to {BACKOFF_BASE:g} s, {2 * BACKOFF_BASE:g} s … {BACKOFF_MAX:g} s. An attempt has {CONNECT_TIMEOUT:g} s",
    )
