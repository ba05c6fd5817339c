"""Knocks on the event loop: each is opened in its turn, whatever becomes of the one before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.signaling.envelope import AnsweringGateway, EnvelopeRefusal, EnvelopeRefusedError, Knock, KnockingClient
from perdure.signaling.knock_queue import MAX_KNOCK_BYTES
from perdure.signaling.knock_turns import KnockTurns
from perdure.signaling.noise import public_bytes
from support.signaling import KEY, eventually

GATEWAY = X25519PrivateKey.from_private_bytes(b"g" * 32)


def knock(number: int) -> bytes:
    made = Knock(bytes(16), bytes(16), number)
    ephemeral = X25519PrivateKey.generate()
    return KnockingClient(KEY, public_bytes(GATEWAY), bytes(32), made, ephemeral=ephemeral).envelope


async def test_where_the_answer_to_a_knock_fails_the_next_one_is_answered_all_the_same() -> None:
    answered: list[int] = []
    failures: list[Any] = []

    def answer(sender: str, asked: AnsweringGateway) -> None:
        answered.append(asked.knock.number)
        if asked.knock.number == 1:
            raise RuntimeError("a mistake")

    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    turns = KnockTurns(lambda: GATEWAY, answer=answer, refused=lambda refusal: None)
    for number in (1, 2):
        turns.add(f"{number}", knock(number), is_proved=False)
    await eventually(lambda: answered == [1, 2])
    assert [str(error) for error in failures] == ["a mistake"]


async def test_a_knock_that_opens_nothing_is_refused_and_the_next_one_is_answered() -> None:
    answered: list[int] = []
    refused: list[EnvelopeRefusal] = []
    turns = KnockTurns(
        lambda: GATEWAY, answer=lambda _, asked: answered.append(asked.knock.number), refused=refused.append
    )
    turns.add("1", b"\x21" + bytes(180), is_proved=False)
    turns.add("2", knock(2), is_proved=False)
    await eventually(lambda: answered == [2])
    assert len(refused) == 1


async def test_of_copies_that_wait_as_from_several_peers_one_is_answered() -> None:
    answered: list[str] = []
    refused: list[EnvelopeRefusal] = []
    turns = KnockTurns(lambda: GATEWAY, answer=lambda sender, _: answered.append(sender), refused=refused.append)
    copy = knock(1)
    for sender in ("first", "second", "third"):
        turns.add(sender, copy, is_proved=False)
    await eventually(lambda: len(refused) == 2)
    assert answered == ["first"]
    assert set(refused) == {EnvelopeRefusal.REPLAYED}


def test_what_is_longer_than_any_knock_does_not_wait() -> None:
    turns = KnockTurns(lambda: GATEWAY, answer=lambda sender, asked: None, refused=lambda refusal: None)
    with pytest.raises(EnvelopeRefusedError, match="malformed"):
        turns.add("1", b"\x21" + bytes(MAX_KNOCK_BYTES), is_proved=False)
    assert len(knock(1)) < MAX_KNOCK_BYTES // 2
