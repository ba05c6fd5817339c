"""Keys that have been in use for an hour are replaced, and nothing is lost over it. The loop's clock leaps."""

from __future__ import annotations

import asyncio

from perdure.signaling.client_peer import REKEY_AFTER
from perdure.signaling.envelope import EnvelopeType
from perdure.signaling.messages import Answer, Offer
from support.hostile_rendezvous import hostile_server
from support.signaling import eventually, gateway_and_client


class LeapingLoop(asyncio.SelectorEventLoop):
    """A loop whose time can be put forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def test_keys_are_replaced_after_an_hour_while_messages_go_both_ways() -> None:
    loop = LeapingLoop()

    async def scenario() -> None:
        async with hostile_server() as (rendezvous, port), gateway_and_client(port) as (sessions, client, heard):
            session = await sessions.first()
            session.channel.send(Answer(1, "v=0"))
            await heard.until(lambda messages: len(messages) == 1)
            (me,) = rendezvous.clients
            loop.ahead += REKEY_AFTER
            for number in range(2, 12):
                client.send(Offer(1, f"v={number}"))
                session.channel.send(Answer(1, f"v={number}"))
                await heard.until(lambda messages, number=number: len(messages) == number)  # type: ignore[misc]
            await session.listener.until(lambda messages: len(messages) == 10)
            await eventually(lambda: len(rendezvous.envelopes(me, EnvelopeType.KNOCK)) == 2)
            await eventually(lambda: len(rendezvous.envelopes(rendezvous.gateway, EnvelopeType.WELCOME)) == 2)
            tags = {envelope[1:5] for envelope in rendezvous.envelopes(me, EnvelopeType.DATA)}
            client.send(Offer(1, "under the new keys"))
            await session.listener.until(lambda messages: len(messages) == 11)
            tags |= {envelope[1:5] for envelope in rendezvous.envelopes(me, EnvelopeType.DATA)}
            assert len(tags) == 2
            assert False not in heard.availability
            assert heard.restarts == 0
            assert len(sessions.opened) == 1

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(scenario())
