"""The first thing on each carrier: HELLO and RESUME, right ones and wrong ones, and what they name. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.wire import Close, CloseCode, encode_varint
from perdure_lab.conformance import raw
from perdure_lab.conformance.case import Cases
from perdure_lab.conformance.failures import CaseFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_lab.conformance.conversation import Conversation

GREETINGS = Cases()

SHORT_MESSAGE_BYTES = 2048
"""The least that a peer must take."""


@GREETINGS.case(8)
async def unknown_parameters(c: Conversation) -> None:
    """HELLO and RESUME have parameters of a later version, which are ignored."""
    await c.next_carrier(listed=raw.parameters((63, b"later"), (70_000, b""), (raw.INITIAL_CREDIT, encode_varint(1))))
    await c.echo()


@GREETINGS.case(8)
async def hello_and_resume_apart(c: Conversation) -> None:
    """HELLO and RESUME come in two messages."""
    line = await c.opened()
    for part in c.greeting():
        line.say(part)
    await c.resumed()
    await c.echo()


@GREETINGS.case(8)
async def versions_overlap(c: Conversation) -> None:
    """This end speaks versions 1 to 9, of which the subject speaks one: that one is in use."""
    await c.next_carrier(listed=raw.parameters((raw.VERSIONS, raw.integers(1, 9))))
    await c.echo()


@GREETINGS.case(8)
async def no_common_version(c: Conversation) -> None:
    """This end speaks versions 3 to 9: CLOSE 3 names those that the subject speaks."""
    line = await c.opened()
    line.say(*c.greeting(listed=raw.parameters((raw.VERSIONS, raw.integers(3, 9)))))
    close = await c.hear(Close, "CLOSE 3 (version)")
    if close.code is not CloseCode.VERSION:
        raise CaseFailed("CLOSE 3 (version)", f"CLOSE {int(close.code)}")
    if close.parameters.highest_version >= 3:
        raise CaseFailed("versions below 3 in CLOSE", f"up to {close.parameters.highest_version}")


@GREETINGS.case(8)
async def resume_without_hello(c: Conversation) -> None:
    """A RESUME of a session of which the subject never had the key is answered by CLOSE 1."""
    line = await c.opened()
    line.say(c.resume())
    close = await c.hear(Close, "CLOSE 1 (unknown session)")
    if close.code is not CloseCode.UNKNOWN_SESSION:
        raise CaseFailed("CLOSE 1 (unknown session)", f"CLOSE {int(close.code)}")


@GREETINGS.case(8)
async def short_messages(c: Conversation) -> None:
    """RESUME says that this end takes messages of 2048 bytes: the subject sends none that is longer."""
    await c.next_carrier(listed=raw.parameters((raw.MAX_MESSAGE, encode_varint(SHORT_MESSAGE_BYTES))))
    await _gets_short_messages(c)


@GREETINGS.case(7)
async def short_messages_by_description(c: Conversation) -> None:
    """The description says so (a=max-message-size): the subject sends none that is longer."""

    def described(sdp: str) -> str:
        kept = [line for line in sdp.splitlines() if not line.startswith("a=max-message-size:")]
        return "\r\n".join([*kept, f"a=max-message-size:{SHORT_MESSAGE_BYTES}", ""])

    c.negotiation.as_described = described
    await c.next_carrier()
    await _gets_short_messages(c)


async def _gets_short_messages(c: Conversation) -> None:
    await c.echo(100_000)
    if c.line.longest_message > SHORT_MESSAGE_BYTES:
        raise CaseFailed(f"messages of {SHORT_MESSAGE_BYTES} bytes", f"one of {c.line.longest_message}")


@GREETINGS.case(8)
async def lost_before_a_word(c: Conversation) -> None:
    """The first carrier is lost when its channel has opened, before HELLO."""
    await c.opened()
    await c.still_works()


@GREETINGS.case(8)
async def lost_before_hello_was_answered(c: Conversation) -> None:
    """The first carriers are lost right behind HELLO: it is said again on each, until the subject's RESUME has come."""
    for _ in range(2):
        line = await c.opened()
        line.say(*c.greeting())
    await c.still_works()


@GREETINGS.case(8)
async def hello_again(c: Conversation) -> None:
    """HELLO is said again, behind RESUME and on another carrier, and changes nothing."""
    line = await c.next_carrier()
    line.say(raw.hello(c.session_id, c.key, raw.NO_PARAMETERS))
    await c.echo()
    c.knows_us = False
    await c.still_works()


def _refused(
    name: str, plays: str, said: Callable[[Conversation], bytes], section: int = 8, *, first: bool = False
) -> None:
    """A case in which the subject drops a carrier for what is said first on it; the session, and a stream, go on.

    Args:
        first: whether it is the session's first carrier.
    """

    async def play(c: Conversation) -> None:
        stream = None
        if not first:
            await c.next_carrier()
            stream = c.open(2000)
            await c.pour(stream, 1000)
        line = await c.opened()
        line.say(said(c))
        await c.is_cut(plays.rstrip("."))
        await c.next_carrier()
        await (c.echo() if stream is None else c.finish(stream))

    GREETINGS.add(name, plays, section, play)


def _hello(c: Conversation) -> bytes:
    return raw.hello(c.session_id, c.key, raw.NO_PARAMETERS)


def _with(*said: tuple[int, bytes]) -> Callable[[Conversation], bytes]:
    """HELLO and a RESUME with these parameters."""
    return lambda c: _hello(c) + c.resume(listed=raw.parameters(*said))


_refused(
    "first-proof-is-wrong",
    "The first RESUME, behind HELLO, has a proof by another key.",
    lambda c: _hello(c) + c.resume(key=bytes(32)),
    first=True,
)
_refused("proof-is-wrong", "RESUME has a proof by another key.", lambda c: c.resume(key=bytes(32)))
_refused(
    "proof-is-the-acceptors",
    "RESUME has the proof that the subject itself would give.",
    lambda c: c.resume(by_initiator=False),
)
_refused(
    "resume-names-another-generation",
    "RESUME names another generation than its carrier's.",
    lambda c: c.resume(generation=3),
)
_refused("resume-names-another-session", "RESUME names another session.", lambda c: c.resume(session_id=bytes(16)))
_refused(
    "hello-has-another-key",
    "HELLO, on a later carrier, has another key than the session's, and RESUME is proved by that.",
    lambda c: raw.hello(c.session_id, bytes(32), raw.NO_PARAMETERS) + c.resume(key=bytes(32)),
    section=11,
)
_refused(
    "hello-names-another-session",
    "HELLO names another session.",
    lambda c: raw.hello(bytes(16), c.key, raw.NO_PARAMETERS) + c.resume(),
    section=11,
)
_refused("a-frame-before-resume", "OPEN comes before RESUME.", lambda c: raw.open_frame(99) + c.resume(), section=11)
_refused("close-before-resume", "CLOSE comes from an initiator that has proved nothing.", lambda c: b"\x0c\0\0\0")
_refused(
    "parameter-said-twice",
    "RESUME says a parameter twice.",
    _with((raw.MAX_ACK_DELAY, b"\x01"), (raw.MAX_ACK_DELAY, b"\x01")),
    section=11,
    first=True,
)
_refused(
    "longest-message-too-short",
    "RESUME says that this end takes messages of 2047 bytes.",
    _with((raw.MAX_MESSAGE, encode_varint(2047))),
    section=11,
    first=True,
)
_refused(
    "ack-delay-too-long",
    "RESUME says that ACKs take 1001 ms.",
    _with((raw.MAX_ACK_DELAY, encode_varint(1001))),
    section=11,
    first=True,
)
_refused(
    "no-carriers",
    "RESUME says that this end has 0 carriers at a time.",
    _with((raw.CARRIERS, encode_varint(0))),
    section=11,
    first=True,
)


@GREETINGS.case(8)
async def resume_is_replayed(c: Conversation) -> None:
    """The RESUME of an earlier carrier is said again on another one: the subject drops that one."""
    await c.next_carrier()
    old = c.resume()
    line = await c.opened()
    line.say(old)
    await c.is_cut("the RESUME of an earlier carrier")
    await c.still_works()
