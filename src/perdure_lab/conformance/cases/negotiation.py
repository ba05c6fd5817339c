"""Offers, answers, candidates and ICE restarts that come at the wrong time, or are unusual. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.signaling.messages import Answer, Candidate, Offer
from perdure.wire import Resume
from perdure_lab.conformance.case import Cases
from perdure_lab.conformance.failures import CaseFailed, NotApplicable

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_lab.conformance.conversation import Conversation

NEGOTIATION = Cases()

OUT_OF_REACH = "candidate:1 1 udp 2113937151 192.0.2.1 9 typ host"
"""Nobody answers there (RFC 5737)."""


@NEGOTIATION.case(6)
async def generation_jumps_ahead(c: Conversation) -> None:
    """The first offer has generation 1001, and the next one 2,000,001: they count, and RESUME names them."""
    await c.next_carrier(1001)
    await c.echo()
    await c.next_carrier(2_000_001)
    await c.echo()


@NEGOTIATION.case(6)
async def offers_in_a_row(c: Conversation) -> None:
    """Three offers come at once, each before the one before it was answered: the last one counts."""
    for _ in range(2):
        c.offer()
    await c.next_carrier()
    await c.echo()


@NEGOTIATION.case(6)
async def older_offer(c: Conversation) -> None:
    """An offer of an older generation, and one of the present one, are ignored: the carrier goes on."""
    await c.next_carrier()
    line = await c.next_carrier()
    await _is_ignored(c, [Offer(3, c.line.sdp), Offer(line.generation, c.line.sdp)])


@NEGOTIATION.case(6)
async def offer_of_the_acceptors_parity(c: Conversation) -> None:
    """An offer of an even generation, which is the subject's to use, is ignored: the carrier goes on."""
    line = await c.next_carrier()
    await _is_ignored(c, [Offer(line.generation + 3, c.line.sdp)])


async def _is_ignored(c: Conversation, offers: list[Offer]) -> None:
    line, before = c.line, len(c.negotiation.answers)
    stream = c.open(2000)
    await c.pour(stream, 1000)
    for offer in offers:
        await c.acknowledged(c.signals.send(offer))
    await c.waiting.quiet()
    if len(c.negotiation.answers) > before or line.lost:
        raise CaseFailed("no answer to it, and the carrier to go on", c.waiting.last_events)
    await c.finish(stream)


@NEGOTIATION.case(6)
async def restart_of_a_carrier_that_is_gone(c: Conversation) -> None:
    """An offer restarts the ICE of a carrier of before: the subject offers a new one, of the next generation."""
    old = await c.next_carrier()
    line = await c.next_carrier()
    stream = c.open(2000)
    await c.pour(stream, 1000)
    generation = c.negotiation.next_generation()
    c.signals.send(Offer(generation, line.sdp, old.generation))
    offer = await c.until(lambda: next(iter(c.offers()), None), "the offer of a new carrier")
    if offer.restarts or offer.generation <= generation or offer.generation % 2:
        raise CaseFailed(f"an offer of an even generation above {generation}", c.waiting.last_events)
    new = c.answer(offer)
    await c.is_open(new)
    new.say(*c.greeting())
    await c.resumed()
    await c.finish(stream)


@NEGOTIATION.case(6)
async def ice_restart(c: Conversation) -> None:
    """This end restarts ICE: the carrier goes on, under new credentials and without another RESUME."""
    line = await c.next_carrier()
    stream = c.open(4000)
    await c.pour(stream, 1000)
    before = ufrag(line.sdp)
    line.negotiation = c.negotiation.next_generation()
    line.is_awaiting_answer = True
    line.carrier.restart(line.negotiation)
    await c.until(lambda: not line.is_awaiting_answer or c.offers(), "an answer to the ICE restart")
    if c.offers() or ufrag(line.sdp) == before:
        raise NotApplicable("it refuses ICE restarts")
    await c.round_trip()
    await c.finish(stream)
    if any(isinstance(frame, Resume) for frame in line.frames):
        raise CaseFailed("no RESUME behind an ICE restart", "RESUME")


@NEGOTIATION.case(6)
async def ice_restart_with_another_certificate(c: Conversation) -> None:
    """An ICE restart names another certificate: the subject drops the carrier, and the session goes on."""
    line = await c.next_carrier()
    c.negotiation.as_described = other_certificate
    line.negotiation = c.negotiation.next_generation()
    line.is_awaiting_answer = True
    line.carrier.restart(line.negotiation)
    await c.is_cut("an ICE restart with another certificate")
    c.negotiation.as_described = str
    await c.still_works()


@NEGOTIATION.case(6)
async def answers_that_do_not_count(c: Conversation) -> None:
    """Answers to offers that nobody made, or to one of this end, are ignored: the carrier goes on."""
    line = await c.next_carrier()
    for generation in (2, line.generation, line.generation + 1, 1000):
        await c.acknowledged(c.signals.send(Answer(generation, line.sdp)))
    await c.round_trip()
    await c.echo()


@NEGOTIATION.case(6)
async def answer_twice(c: Conversation) -> None:
    """The subject's offer is answered twice: the second answer is ignored."""
    await c.next_carrier()
    c.line.close()
    offer = await c.until(lambda: next(iter(c.offers()), None), "the offer of a new carrier")
    line = c.answer(offer)
    await c.is_open(line)
    line.say(*c.greeting())
    await c.resumed()
    await c.acknowledged(c.signals.send(Answer(offer.generation, offer.sdp)))
    await c.round_trip()
    await c.echo()


@NEGOTIATION.case(6)
async def candidates_that_do_not_count(c: Conversation) -> None:
    """Candidates come before their description, of other generations, and unreadable ones: all are dropped."""
    for generation in (3, 5, 1001):
        c.signals.send(Candidate(generation, OUT_OF_REACH, "0", 0))
    line = await c.next_carrier()
    for generation, candidate in (
        (1, OUT_OF_REACH),
        (line.generation + 2, OUT_OF_REACH),
        (line.generation, "nonsense"),
    ):
        await c.acknowledged(c.signals.send(Candidate(generation, candidate, "0", 0)))
    await c.round_trip()
    await c.echo()
    await c.still_works()


@NEGOTIATION.case(7)
async def candidates_out_of_reach(c: Conversation) -> None:
    """Candidates for TCP, of names that nobody has, and of ports that nobody reads are no obstacle to those behind
    them."""

    def described(sdp: str) -> str:
        others = [
            OUT_OF_REACH,
            "candidate:2 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
            "candidate:3 1 udp 2113937151 host.invalid 9 typ host",
            "candidate:4 1 udp 2113937151 01234567-89ab-cdef-0123-456789abcdef.local 9 typ host",
        ]
        return sdp + "".join(f"a={each}\r\n" for each in others)

    c.negotiation.as_described = described
    c.negotiation.takes_candidates = False
    await c.next_carrier()
    await c.echo()


@NEGOTIATION.case(7)
async def candidates_within_the_description(c: Conversation) -> None:
    """This end trickles nothing: its candidate stands in the description."""
    c.negotiation.trickles = c.negotiation.takes_candidates = False
    await c.next_carrier()
    await c.echo()


@NEGOTIATION.case(7)
async def unusual_description(c: Conversation) -> None:
    """The description has lines that are not known, and a fingerprint of another hash function."""
    sha512 = ":".join(["AB"] * 64)
    c.negotiation.as_described = lambda sdp: (
        f"{sdp}a=later:x\r\na=fingerprint:sha-512 {sha512}\r\na=end-of-candidates\r\n"
    )
    await c.next_carrier()
    await c.echo()


def other_certificate(sdp: str) -> str:
    """The description, of a certificate that nobody has."""
    return _with_fingerprints(sdp, ["AB"])


def _with_fingerprints(sdp: str, bytes_of_each: list[str]) -> str:
    kept = [line for line in sdp.splitlines() if not line.lower().startswith("a=fingerprint:")]
    return "\r\n".join([*kept, *(f"a=fingerprint:sha-256 {':'.join([each] * 32)}" for each in bytes_of_each), ""])


def ufrag(sdp: str) -> str:
    """The ICE user name fragment of a description; empty where it has none."""
    found = [line for line in sdp.splitlines() if line.startswith("a=ice-ufrag:")]
    return found[0].partition(":")[2] if found else ""


def _refused(name: str, plays: str, described: Callable[[str], str]) -> None:
    """A case of an offer that the subject refuses without a word; the next one works."""

    async def play(c: Conversation) -> None:
        c.negotiation.as_described = described
        line = c.offer()
        await c.until(lambda: c.signals.last_seq, "this end's offer")
        await c.acknowledged(1)
        await c.waiting.quiet()
        if c.negotiation.answers or line.channel is not None:
            raise CaseFailed("no answer to such an offer", c.waiting.last_events)
        c.negotiation.as_described = str
        await c.still_works()

    NEGOTIATION.add(name, plays, 7, play)


_refused(
    "no-fingerprint",
    "An offer without a fingerprint is refused; the next one works.",
    lambda s: _with_fingerprints(s, []),
)
_refused(
    "two-fingerprints",
    "An offer with two fingerprints that differ is refused; the next one works.",
    lambda s: _with_fingerprints(s, ["AB", "CD"]),
)
