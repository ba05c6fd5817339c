"""What the page about the protocol says of tickets, negotiation, carriers and sessions is what the code has."""

from __future__ import annotations

import re

import pytest

from perdure.config import ResourceLimits, RestartPolicy
from perdure.core.carriers import ANSWERER_PATIENCE
from perdure.core.closing import FAREWELL_SECONDS, GOODBYE_TIMEOUT
from perdure.core.conditions import GLARE_DELAY, MAX_RESTARTS_OF_CARRIER, SHORT_LIFE_SECONDS, SHORT_LIVES_FORGIVEN
from perdure.core.keepalive import LOST_AFTER
from perdure.core.negotiation import Negotiation
from perdure.core.peer_offers import MAX_CANDIDATES_OF_CARRIER
from perdure.core.recovery import FIRST_OFFER_TIMEOUT
from perdure.session.linger import LINGER_TIMEOUT
from perdure.session.outbox import ACK_EVERY_BYTES, MAX_REPLIES
from perdure.session.receiver import MAX_EARLY_FRAMES, MAX_USELESS_FRAMES, USELESS_FRAMES_A_STREAM
from perdure.signaling.in_band import (
    DESCRIPTION_COST,
    HEARD_A_SECOND,
    HEARD_AT_ONCE,
    SAID_A_SECOND,
    SAID_AT_ONCE,
)
from perdure.signaling.messages import MAX_CANDIDATE_BYTES, MAX_SDP_BYTES, MAX_WORD_BYTES
from perdure.signaling.reliable_channel import MISSING_INTERVAL
from perdure.ticket import MAX_TICKET_CHARACTERS, PREFIX
from perdure.transport.reach import MAX_ADDRESSES, MAX_CANDIDATE_CHARACTERS, MAX_ENDPOINTS, MAX_NAMES
from perdure.wire import MAX_MESSAGE_FRAMES, MAX_REASON_BYTES, MAX_STREAMS, MAX_TARGET_BYTES, CloseCode, ResetCode
from perdure.wire.frames import (
    DEFAULT_PARAMETERS,
    FIRST_SKIPPABLE_TYPE,
    MAX_ACK_DELAY_MS,
    MAX_MESSAGE_BYTES,
    MAX_PARAMETERS_BYTES,
    MAX_SIGNAL_BYTES,
    MIN_MESSAGE_BYTES,
    OUR_PARAMETERS,
    FrameType,
    ParameterId,
)
from support.pages import Page, cells

PAGE = Page("protocol.md")
POLICY = RestartPolicy()
LIMITS = ResourceLimits()
KIB = 1024


def test_each_frame_has_its_row_and_no_other() -> None:
    told = re.findall(r"^\| 0x(\w\w) \| ([A-Z]+) \|", PAGE.text, re.MULTILINE)
    assert told == [(f"{kind:02X}", kind.name) for kind in FrameType]
    PAGE.check(
        f"| 0x{max(FrameType) + 1:02X} to 0xFF |",
        f"A type from 0x{FIRST_SKIPPABLE_TYPE:02X} on is followed by a length",
    )


def test_each_parameter_has_its_default() -> None:
    ours = DEFAULT_PARAMETERS
    defaults = {
        ParameterId.VERSIONS: f"{ours.lowest_version}, {ours.highest_version}",
        ParameterId.INITIAL_CREDIT: f"{ours.initial_credit_bytes}",
        ParameterId.MAX_MESSAGE: f"{ours.max_message_bytes}",
        ParameterId.MAX_ACK_DELAY: f"{ours.max_ack_delay_ms}",
        ParameterId.CARRIERS: f"{ours.carriers}",
    }
    assert {int(cells(row)[0]): cells(row)[3] for row in PAGE.rows("| id | parameter |")} == defaults
    PAGE.check_rows({"longest message": f"at least {MIN_MESSAGE_BYTES};"})
    PAGE.check_rows({"longest delay of an ACK": f"at most {MAX_ACK_DELAY_MS} |"})
    PAGE.check_rows(
        {"carriers": f"perdure has {OUR_PARAMETERS.carriers}: the present one, a spare, and the one before"}
    )


def test_each_code_of_reset_and_close_is_told_and_no_other() -> None:
    rows = [cells(row) for row in PAGE.rows("| RESET code |")]
    assert [each[0] for each in rows] == [f"{code} {code.name.lower().replace('_', ' ')}" for code in ResetCode]
    closes = [each[2] for each in rows if each[2]]
    assert closes == [f"{code} {code.name.lower().replace('_', ' ')}" for code in CloseCode]


def test_the_first_offer_has_the_generation_of_the_page() -> None:
    first = Negotiation(initiator=True).next_offer()
    PAGE.check(f"the initiator's first offer has generation {first}", f"Send an offer of generation {first}")


@pytest.mark.parametrize("initiator", [True, False], ids=["initiator", "acceptor"])
@pytest.mark.parametrize("current", range(2, 12))
def test_the_next_generation_is_as_the_page_computes_it(initiator: bool, current: int) -> None:
    negotiation = Negotiation(initiator=initiator)
    if not negotiation.take_offer(current):  # of this end's own parity
        while negotiation.current < current:
            negotiation.next_offer()
    assert negotiation.current == current
    assert negotiation.next_offer() == 2 * (current // 2 + 1) + initiator


def test_the_timers_of_the_page_are_those_of_the_code() -> None:
    answerers = POLICY.ice_restart_timeout + ANSWERER_PATIENCE
    silent = "PONG for a PING, ACK for OPEN, DATA and FIN, an answer to RESET, while nothing at all is heard"
    idle = "PONG for a PING on an idle path"
    restart = f"{POLICY.ice_restart_timeout:g}; {answerers:g} at the end that answers"
    rows = {
        silent: f"as {POLICY.silence_floor:g} at least; {POLICY.timeout_threshold:g} at most",
        idle: f"| {POLICY.timeout_threshold:g} |",
        "an ACK of anything, while later PINGs are answered": f"| {POLICY.stall_timeout:g} |",
        "from an offer to both RESUMEs": f"| {POLICY.attempt_timeout:g} |",
        "from a restart's offer to a sign of life": f"| {restart} |",
        "the acceptor's wait for the first offer": f"| {FIRST_OFFER_TIMEOUT:g} |",
        "without a carrier that works": f"| {POLICY.abandon_after:g} |",
        "credit for a stream that was reset": f"| {LINGER_TIMEOUT:g} |",
        "acknowledgement of all that is held, behind a decision to close": f"| {GOODBYE_TIMEOUT:g} |",
        "the acceptor's offer after a loss": f"| {GLARE_DELAY:g} |",
    }
    PAGE.check_rows(rows)
    PAGE.check_rows({idle: f"asked each {POLICY.ice_keepalive_interval:g} s"})
    assert LOST_AFTER == 3, "the page says three times"
    waits = [min(POLICY.restart_backoff_max, POLICY.restart_backoff_base * 2**failures) for failures in range(3)]
    longest = POLICY.restart_backoff_max
    PAGE.check(
        f"waits {', '.join(f'{wait:g}' for wait in waits)} … {longest:g} s after failed attempts",
        f"The acceptor\n   waits {GLARE_DELAY:g} s for the initiator's offer",
        f"ends the session after {FIRST_OFFER_TIMEOUT:g} s",
        f"a RESUME {POLICY.attempt_timeout:g} s after its offer",
        f"open for {FAREWELL_SECONDS:g} s, because SCTP has no flush",
        f"waits {GOODBYE_TIMEOUT:g} s at most",
        f"at most once in {MISSING_INTERVAL:g} s",
        f"after {SHORT_LIVES_FORGIVEN} carriers in a row that lived less than {SHORT_LIFE_SECONDS:g} s",
    )


def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    addresses = f"{MAX_ADDRESSES}; {MAX_ENDPOINTS}; {MAX_NAMES} |"
    window, buffer = LIMITS.stream_window_bytes // KIB**2, LIMITS.session_buffer_bytes // KIB**2
    rows = {
        "streams a session": f"{LIMITS.max_streams},",
        "frames in a message": f"| {MAX_MESSAGE_FRAMES} |",
        "credit a stream; all streams": f"{window} MiB; an equal share of {buffer} MiB each",
        "unacknowledged bytes: a stream; a session": f"{LIMITS.stream_buffer_bytes // KIB**2} MiB; {buffer} MiB",
        "a target; a reason": f"{MAX_TARGET_BYTES}; {MAX_REASON_BYTES} bytes",
        "streams that a RESUME lists": f"| {2 * MAX_STREAMS} |",
        "replies (PONG, GONE) that wait": f"| {MAX_REPLIES} |",
        "a SIGNAL": f"| {MAX_SIGNAL_BYTES // KIB} KiB |",
        f"SIGNALs of a session, an offer or an answer counted as {DESCRIPTION_COST}": (
            f"{HEARD_AT_ONCE} at once, {HEARD_A_SECOND} a second (sent: {SAID_AT_ONCE}, {SAID_A_SECOND})"
        ),
        "the peer's candidates for a carrier, all restarts together, each copy counted": (
            f"| {MAX_CANDIDATES_OF_CARRIER} |"
        ),
        "their addresses; pairs of address and port; `.local` names": addresses,
        "ICE restarts of a carrier": f"| {MAX_RESTARTS_OF_CARRIER} |",
    }
    PAGE.check_rows(rows)
    PAGE.check(
        f"{MAX_MESSAGE_BYTES // KIB} KiB at most, or less where the peer's description",
        f"({MAX_PARAMETERS_BYTES} at most)",
        f"at once behind {ACK_EVERY_BYTES // KIB} KiB",
        f"is taken {MAX_USELESS_FRAMES} times on a carrier, and {USELESS_FRAMES_A_STREAM} times more for each stream",
        f"{MAX_EARLY_FRAMES} frames of each such stream",
        f"{MAX_CANDIDATE_BYTES} bytes; perdure's carriers read {MAX_CANDIDATE_CHARACTERS}",
        f"| `sdp` | {MAX_SDP_BYTES // KIB} KiB |",
        f"| `cause` | {MAX_WORD_BYTES} bytes |",
        f"A message is at most {MAX_SIGNAL_BYTES // KIB} KiB",
        f"most {SAID_AT_ONCE} at once and {SAID_A_SECOND} a second; an offer or an answer counts as {DESCRIPTION_COST}",
        f"at least {HEARD_AT_ONCE} at once and {HEARD_A_SECOND} a second",
    )


def test_the_ticket_of_the_page_is_that_of_the_code() -> None:
    told = PAGE.section("2. The ticket")
    assert f"`{PREFIX}` and base64url" in told
    assert f"At most {MAX_TICKET_CHARACTERS} characters" in told
    assert [cells(row)[0] for row in PAGE.rows("| bytes |")] == ["4", "8", "32", "32", "the rest"]
