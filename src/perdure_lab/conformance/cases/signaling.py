"""Texts that are lost, repeated, reordered, or none at all, and what the reliable channel makes of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.signaling.messages import Bye, IceServers, Offer, RTCIceServer, UnknownMessage
from perdure_lab.conformance.case import Cases
from perdure_lab.conformance.failures import CaseFailed

if TYPE_CHECKING:
    from perdure_lab.conformance.conversation import Conversation
    from perdure_lab.conformance.signals import Text

SIGNALING = Cases()

RESEND_SECONDS = 20.0
"""The subject says again what is not acknowledged after 1 s, then 2 s, and so on."""

MAX_TEXT_BYTES = 64 * 1024


@SIGNALING.case(5)
async def texts_twice(c: Conversation) -> None:
    """Each text comes twice: each message is taken once."""
    c.signals.as_written = lambda text: [text, text]
    await c.next_carrier()
    await c.still_works()
    if len({answer.generation for answer in c.negotiation.answers}) != len(c.negotiation.answers):
        raise CaseFailed("one answer to each offer", "two answers to one")


@SIGNALING.case(5)
async def texts_in_another_order(c: Conversation) -> None:
    """A candidate's text comes before that of its offer: the subject says `missing`, and takes both in their order."""
    await c.next_carrier()
    held: list[Text] = []

    def swapped(text: Text) -> list[Text]:
        if "message" not in text:
            return [text]
        held.append(text)
        if len(held) < 2:
            return []
        c.signals.as_written = lambda text: [text]
        return [held[1], held[0]]

    c.signals.as_written = swapped
    await c.next_carrier()
    if not c.signals.missing:
        raise CaseFailed("a text with missing: true", "none")
    await c.echo()


@SIGNALING.case(5)
async def text_lost(c: Conversation) -> None:
    """The text of the offer is lost: the subject says `missing` when a candidate comes, and gets it again."""

    def without_the_first(text: Text) -> list[Text]:
        c.signals.as_written = lambda text: [text]
        return []

    await c.next_carrier()
    c.signals.as_written = without_the_first
    await c.next_carrier()
    if not c.signals.missing:
        raise CaseFailed("a text with missing: true", "none")
    await c.echo()


@SIGNALING.case(5)
async def messages_given_up(c: Conversation) -> None:
    """This end gives up seven messages: the subject goes on with the one that `first` names."""
    c.signals.give_up(3)
    await c.next_carrier()
    await c.acknowledged(c.signals.last_seq)
    c.signals.give_up(4)
    await c.still_works()


@SIGNALING.case(5)
async def nothing_acknowledged(c: Conversation) -> None:
    """What this end does not acknowledge is said again, with the number that it had."""
    c.signals.acknowledges = False
    await c.next_carrier()

    def said_again() -> bool:
        numbers = [body.seq for body in c.signals.bodies if body.seq]
        return len(set(numbers)) < len(numbers)

    await c.until(said_again, "a message again that was not acknowledged", RESEND_SECONDS)
    c.signals.acknowledges = True
    await c.still_works()


@SIGNALING.case(5)
async def messages_are_acknowledged(c: Conversation) -> None:
    """Every message is acknowledged, the last one too, where none of the subject's own follows."""
    await c.next_carrier()
    await c.acknowledged(c.signals.last_seq)


@SIGNALING.case(5)
async def unknown_types(c: Conversation) -> None:
    """A message of a later version's type is acknowledged and skipped; so is `ice-servers`, which a gateway says."""
    await c.next_carrier()
    c.signals.send(UnknownMessage("later"))
    c.signals.send(IceServers((RTCIceServer("stun:127.0.0.1:9"),)))
    await c.acknowledged(c.signals.last_seq)
    await c.still_works()


@SIGNALING.case(12)
async def unknown_fields(c: Conversation) -> None:
    """Texts have fields of a later version, which are ignored."""
    c.signals.as_written = lambda text: [text | {"later": {"a": [1, None, "x"]}, "Seq": -1}]
    await c.next_carrier()
    await c.echo()


@SIGNALING.case(5)
async def fields_spelled_out(c: Conversation) -> None:
    """Texts say what they may leave out: numbers that are 0, `missing: false`, `message: null`, and so on."""

    def spelled_out(text: Text) -> list[Text]:
        said: Text = {"seq": 0, "first": 0, "ack": 0, "missing": False, "message": None} | text
        if said["message"] is not None and said["message"]["type"] == "offer":
            said["message"] = {"restarts": 0, "cause": ""} | said["message"]
        return [said]

    c.signals.as_written = spelled_out
    await c.next_carrier()
    await c.still_works()


@SIGNALING.case(6)
async def candidates_without_a_line(c: Conversation) -> None:
    """Candidates have neither `sdpMid` nor `sdpMLineIndex`, or `null` there."""

    def without(text: Text) -> list[Text]:
        message = text.get("message")
        if message is None or message["type"] != "candidate":
            return [text]
        bare = {name: value for name, value in message.items() if not name.startswith("sdp")}
        nulls: Text = {"sdpMid": None, "sdpMLineIndex": None}
        return [text | {"message": bare | (nulls if text["seq"] % 2 else {})}]

    c.signals.as_written = without
    c.negotiation.takes_candidates = False
    await c.next_carrier()
    await c.echo()


@SIGNALING.case(12)
async def no_text_of_the_protocol(c: Conversation) -> None:
    """Lines that are no texts, or cannot be, are dropped."""
    signals = c.signals
    nonsense = [
        "",
        "nonsense",
        "null",
        "[]",
        "{}",
        '{"session": "00"}',
        "[" * 5000,
        '{"message": {"type": "bye", "reason": ""}}',
    ]
    wrong: list[dict[str, object]] = [
        {"seq": 1, "first": 1, "message": {"type": "hint"}},
        {"seq": 1, "first": 1, "message": {"type": "offer", "generation": 0, "sdp": ""}},
        {"seq": 1, "first": 1, "message": {"type": "offer", "generation": 3}},
        {"seq": 1, "first": 2, "message": {"type": "bye", "reason": ""}},
        {"seq": 2**53, "first": 1, "message": {"type": "bye", "reason": ""}},
        {"message": {"type": "bye", "reason": ""}},
        {"seq": 1},
        {"ack": 1_000_000},
        {"seq": 1, "first": 1, "message": {"type": "bye", "reason": "x" * 201}},
        {"seq": 1, "first": 1, "message": {"type": "bye", "reason": ""}, "padding": "x" * MAX_TEXT_BYTES},
    ]
    for line in nonsense:
        signals.write(line)
    for fields in wrong:
        signals.say(**fields)
    await c.next_carrier()
    for line in nonsense:
        signals.write(line)
    await c.round_trip()
    await c.still_works()


@SIGNALING.case(12)
async def another_receiver(c: Conversation) -> None:
    """In texts for another `receiver` the acknowledgement, of what was never sent, is ignored; the message is taken."""
    c.signals.as_written = lambda text: [text | {"receiver": "0" * 32, "ack": 1_000_000, "missing": True}]
    await c.next_carrier()
    await c.echo()


@SIGNALING.case(12)
async def new_sender(c: Conversation) -> None:
    """This end's `sender` is another one: it was restarted and has lost the session, which the subject ends."""
    line = await c.next_carrier()
    c.signals.restart(c.dice.randbytes(16))
    c.signals.send(Offer(line.generation + 2, line.sdp))
    await c.has_ended("another sender in the same session")


@SIGNALING.case(12)
async def text_of_another_session(c: Conversation) -> None:
    """A `bye` of another session is ignored."""
    await c.next_carrier()
    message = {"type": "bye", "reason": "of another session"}
    c.signals.say(session="0" * 32, sender="1" * 32, seq=1, first=1, message=message)
    await c.round_trip()
    await c.still_works()


@SIGNALING.case(12)
async def offer_of_another_session(c: Conversation) -> None:
    """An offer of another session means that the initiator was restarted: the subject ends its own."""
    await c.next_carrier()
    sdp = c.line.sdp.replace("a=setup:active", "a=setup:actpass")
    message = {"type": "offer", "generation": 3, "sdp": sdp}
    c.signals.say(session="0" * 32, sender="1" * 32, seq=1, first=1, message=message)
    await c.has_ended("the offer of another session")


@SIGNALING.case(6)
async def bye(c: Conversation) -> None:
    """`bye` ends the session: the subject drops the carrier, and offers no other."""
    await c.next_carrier()
    stream = c.open(10)
    await c.pour(stream)
    c.signals.send(Bye("the case is over"))
    await c.has_ended("bye")
