"""A rendezvous that reads, edits, repeats, reorders, mixes and invents envelopes: nothing of that is ever delivered."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.signaling.client_peer import ClientSignaling
from perdure.signaling.envelope import (
    VERSION,
    AnsweringGateway,
    EnvelopeRefusal,
    EnvelopeType,
    Knock,
    KnockingClient,
    Refusal,
    RefusalReason,
    Welcome,
)
from perdure.signaling.messages import Answer, Candidate, Message, Offer
from perdure.signaling.noise import public_bytes
from perdure.signaling.reliable_channel import Body, encode_body
from perdure.ticket_store import TicketStore
from support.hostile_edits import ADDRESS, AFTER_THE_TEXT, EDITS, FINGERPRINT
from support.hostile_rendezvous import HostileRendezvous, Recorded, faithfully, hostile_server
from support.recorder import TIMEOUT
from support.signaling import Listener, Opened, Sessions, eventually, gateway_and_client, tickets, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.signaling.base import SignalingChannel
    from perdure.ticket import Ticket

EDITED, FORGED_ROUNDS, REORDERED, CLAIMED = 1700, 25, 40, 60
"""Of each kind of exchange; a round of forgery has a dozen."""

EVIL = "e" * 32
"""The peer id under which the rendezvous speaks for itself."""


def retagged(answer: bytes, knock: bytes) -> bytes:
    """An answer to another knock, as one to `knock`."""
    return answer[:1] + hashlib.sha256(knock).digest()[:4] + answer[5:]


class Honest:
    """A client, what it says and what it hears."""

    def __init__(self, number: int, ticket: Ticket, evil: HostileRendezvous, random: Random) -> None:
        self.session_id = random.randbytes(16)
        self.ticket = ticket
        self.listener = Listener()
        self.said: list[Message] = []
        self.was_told: list[Message] = []
        self.peer_id = ""
        self.signaling = ClientSignaling(
            ticket,
            self.session_id,
            key=X25519PrivateKey.from_private_bytes(bytes([number]) * 32),
            token_bytes=random.randbytes,
            open_socket=evil.open,
        )
        self.signaling.attach(self.listener)


class Siege:
    """Two honest clients and their gateway, around a rendezvous that attacks them. It holds a ticket of its own."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.evil = HostileRendezvous()
        self.store = TicketStore()
        for name in ("one", "two", "evil"):
            self.store.create(name, now=0.0)
        self.clients = [
            Honest(number, self.store.ticket(name, "ws://127.0.0.1:1"), self.evil, self.random)
            for number, name in enumerate(("one", "two"), start=1)
        ]
        self.sessions: Sessions
        self.exchanges = 0
        self.reasons: Counter[EnvelopeRefusal] = Counter()
        self._messages = 0
        self._knocks = 0
        self._key = X25519PrivateKey.from_private_bytes(self.random.randbytes(32))

    def new_gateway(self) -> Sessions:
        self.sessions = Sessions(self.store, 1, open_socket=self.evil.open, token_bytes=self.random.randbytes)
        for client in self.clients:
            client.said.clear()  # what the gateway before has heard, another does not
        return self.sessions

    async def until(self, condition: Callable[[], bool]) -> None:
        """As `eventually`, without a pause."""
        async with asyncio.timeout(TIMEOUT):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def begin(self) -> None:
        """Each client comes, one after the other, and gets its session at the gateway of now."""
        for client in self.clients:
            if not client.peer_id:
                client.signaling.start()
                await within(client.signaling.wait_available())
                client.peer_id = [each.sender for each in self.evil.recording if each.kind is EnvelopeType.KNOCK][-1]
            await self.until(lambda client=client: self._has_session(client))  # type: ignore[misc]
            await within(client.signaling.wait_available())

    def _has_session(self, client: Honest) -> bool:
        return any(each.session_id == client.session_id for each in self.sessions.opened)

    def session(self, client: Honest) -> Opened:
        return next(each for each in self.sessions.opened if each.session_id == client.session_id)

    def speak(self, client: Honest, *, to_gateway: bool) -> None:
        """One of the two says something new to the other."""
        self._messages += 1
        number = self._messages
        sdp = f"v=0 o={number} a=fingerprint:sha-256 {FINGERPRINT}"
        candidate = f"candidate:{number} 1 udp 1 {ADDRESS}"
        messages: list[Message] = [Offer(1, sdp), Answer(1, sdp), Candidate(1, candidate)]
        message = self.random.choice(messages)
        channel: SignalingChannel = client.signaling if to_gateway else self.session(client).channel
        (client.said if to_gateway else client.was_told).append(message)
        channel.send(message)

    async def all_is_heard(self) -> None:
        """Until each has heard what the other has said: that, and nothing else."""
        for client in self.clients:
            await self.evil.say_present(client.peer_id, self.evil.gateway)  # so that it sends again what is missing
            await self.evil.say_present(self.evil.gateway, client.peer_id)
        for client in self.clients:
            heard = self.session(client).listener
            await eventually(lambda heard=heard, client=client: len(heard.messages) >= len(client.said))  # type: ignore[misc]
            await client.listener.until(lambda messages, client=client: len(messages) >= len(client.was_told))  # type: ignore[misc]
        self.nothing_else_is_heard()

    def nothing_else_is_heard(self) -> None:
        for client in self.clients:
            heard = self.session(client).listener.messages
            assert heard == client.said[: len(heard)]
            heard = client.listener.messages
            assert heard == client.was_told[: len(heard)]
        assert len(self.sessions.opened) == len(self.clients)

    def refused_at(self, peer_id: str) -> Counter[EnvelopeRefusal]:
        if peer_id == self.evil.gateway:
            return self.sessions.signaling.refused
        return next(client.signaling.refused for client in self.clients if client.peer_id == peer_id)

    async def try_it(self, to: str, envelope: bytes, *, sender: str) -> EnvelopeRefusal:
        """One exchange: `envelope` is delivered, and refused for one reason, which is counted."""
        before = Counter(self.refused_at(to))
        await self.evil.deliver(to, envelope, sender=sender)
        await self.until(lambda: self.refused_at(to) != before)  # a knock waits for its turn
        (reason,) = (self.refused_at(to) - before).elements()
        self.exchanges += 1
        self.reasons[reason] += 1
        return reason

    # What it tries.

    async def edit(self) -> None:
        """An envelope of the past, edited or not, to anybody as from anybody."""
        recorded = self.random.choice(self.evil.recording)
        envelope = self.random.choice(EDITS)(self.random, recorded, self.evil.recording)
        ends = [self.evil.gateway, *(client.peer_id for client in self.clients)]
        receiver = self.random.choice([*ends, *[end for end in ends if end == recorded.receiver] * 3])
        sender = self.random.choice([*ends, recorded.sender, recorded.sender, EVIL])
        reason = await self.try_it(receiver, envelope, sender=sender)
        if envelope[0] >> 4 != VERSION:
            assert reason is EnvelopeRefusal.MALFORMED

    async def forge(self) -> None:
        """The gateway seems to have come back, so that a client knocks. The rendezvous answers in its place."""
        client = self.random.choice(self.clients)
        own_answers = await self._answers_to_own_knocks(client)
        count = len(self.evil.recording)
        held = self._hold(lambda each: (each.receiver, each.kind) == (client.peer_id, EnvelopeType.WELCOME))
        await self.evil.say_present(client.peer_id, self.evil.gateway, present=False)
        await self.evil.say_present(client.peer_id, self.random.randbytes(16).hex())
        await self.until(lambda: bool(held))
        knock = next(each.envelope for each in self.evil.recording[count:] if each.kind is EnvelopeType.KNOCK)
        earlier = [each for each in self.evil.recording[:count] if each.kind is EnvelopeType.WELCOME]
        for answer in (*self._answers_as_a_gateway(client), *own_answers, self.random.choice(earlier).envelope):
            await self.try_it(client.peer_id, retagged(answer, knock), sender=self.evil.gateway)
        await self.try_it(client.peer_id, knock, sender=self.evil.gateway)
        assert not client.signaling.available
        self.evil.tamper = faithfully
        for each in held:
            await self.evil.deliver(each.receiver, each.envelope, sender=each.sender)
        await within(client.signaling.wait_available())

    def _answers_as_a_gateway(self, client: Honest) -> list[bytes]:
        """Of a gateway with another key: it knows its own ticket's secret, even the client's."""
        answers = []
        for secret in (bytes(32), self.store.ticket("evil", client.ticket.rendezvous_url).secret, client.ticket.secret):
            asked = AnsweringGateway(self._key, self._knock(public_bytes(self._key), secret, self.random.randbytes(16)))
            answers.append(
                asked.welcome(secret, Welcome(self.random.randbytes(16), True), ephemeral=self._new_key())[0]
            )
        asked = AnsweringGateway(self._key, self._knock(public_bytes(self._key), secret, self.random.randbytes(16)))
        return [*answers, asked.refuse(Refusal(RefusalReason.REVOKED), ephemeral=self._new_key())]

    async def _answers_to_own_knocks(self, client: Honest) -> list[bytes]:
        """What the true gateway answers to somebody who holds a ticket of its own, or the client's, or none."""
        answers: list[bytes] = []
        for secret in (self.store.ticket("evil", client.ticket.rendezvous_url).secret, client.ticket.secret, bytes(32)):
            knock = self._knock(client.ticket.gateway, secret, self.random.randbytes(16))
            count = len(self.evil.recording)
            await self.evil.deliver(self.evil.gateway, knock, sender=EVIL)
            await self.until(lambda count=count: any(each.receiver == EVIL for each in self.evil.recording[count:]))  # type: ignore[misc]
            answers += [each.envelope for each in self.evil.recording[count:] if each.receiver == EVIL]
        return answers

    async def claim(self) -> None:
        """A holder of a ticket knocks for the session of another client, whose id it has found out."""
        client = self.random.choice(self.clients)
        secret = self.random.choice([self.store.ticket("evil", "ws://127.0.0.1:1").secret, client.ticket.secret])
        knock = self._knock(client.ticket.gateway, secret, client.session_id)
        reason = await self.try_it(self.evil.gateway, knock, sender=self.random.choice([EVIL, client.peer_id]))
        assert reason is EnvelopeRefusal.WRONG_SESSION

    def _knock(self, gateway: bytes, secret: bytes, session_id: bytes) -> bytes:
        self._knocks += 1
        ticket_id = hashlib.sha256(b"").digest()[:16]
        for each in self.store:
            if each.secret == secret:
                ticket_id = each.ticket_id
        knock = Knock(session_id, ticket_id, 2**40 + self._knocks)
        return KnockingClient(self._key, gateway, secret, knock, ephemeral=self._new_key()).envelope

    def _new_key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.random.randbytes(32))

    async def reorder(self) -> None:
        """What one says in a row is held back, and delivered from the last to the first."""
        client = self.random.choice(self.clients)
        to_gateway = self.random.random() < 0.5
        ends = (client.peer_id, self.evil.gateway)
        sender, receiver = ends if to_gateway else ends[::-1]
        held = self._hold(lambda each: (each.sender, each.receiver) == (sender, receiver))
        for _ in range(3):
            self.speak(client, to_gateway=to_gateway)
        await self.until(lambda: len(held) >= 3)
        *earlier, last = held
        self.evil.tamper = faithfully
        await self.evil.deliver(receiver, last.envelope, sender=sender)
        for each in reversed(earlier):
            reason = await self.try_it(receiver, each.envelope, sender=sender)
            # Stale where the keys changed among them, so that the last one has confirmed the new ones.
            assert reason in {EnvelopeRefusal.REPLAYED, EnvelopeRefusal.STALE}
        await self.evil.say_present(sender, receiver)  # so that it sends again what is missing

    def _hold(self, picks: Callable[[Recorded], bool]) -> list[Recorded]:
        """The envelopes that `picks` picks from now on: they are not delivered."""
        held: list[Recorded] = []

        def hold(recorded: Recorded) -> list[bytes]:
            if not picks(recorded):
                return [recorded.envelope]
            held.append(recorded)
            return []

        self.evil.tamper = hold
        return held


def test_the_rendezvous_knows_where_fingerprint_and_address_stand() -> None:
    for message, text in (
        (Offer(1, f"a=fingerprint:sha-256 {FINGERPRINT}"), FINGERPRINT),
        (Candidate(1, f"candidate:1 1 udp 1 {ADDRESS}"), ADDRESS),
    ):
        assert encode_body(Body(1, 1, 0, message)).endswith(text.encode() + AFTER_THE_TEXT)


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_that_the_true_peer_did_not_say_is_delivered_in_two_thousand_exchanges(seed: int) -> None:
    siege = Siege(seed)
    async with contextlib.AsyncExitStack() as stack:
        for client in siege.clients:
            stack.push_async_callback(client.signaling.wait_closed)
        async with siege.new_gateway():
            await siege.begin()
            for _ in range(10):
                for client in siege.clients:
                    siege.speak(client, to_gateway=True)
                    siege.speak(client, to_gateway=False)
            await siege.all_is_heard()
        async with siege.new_gateway():
            await siege.begin()
            attacks = [siege.edit] * EDITED + [siege.forge] * FORGED_ROUNDS
            attacks += [siege.reorder] * REORDERED + [siege.claim] * CLAIMED
            siege.random.shuffle(attacks)
            for number, attack in enumerate(attacks):
                if number % 10 == 0:
                    siege.speak(siege.random.choice(siege.clients), to_gateway=siege.random.random() < 0.5)
                await attack()
                siege.nothing_else_is_heard()
            await siege.all_is_heard()
            assert [client.listener.restarts for client in siege.clients] == [1, 1], "as the gateway was another once"
    assert siege.exchanges >= 2000
    assert set(siege.reasons) == set(EnvelopeRefusal) - {EnvelopeRefusal.CROWDED}


async def test_over_real_sockets_a_hundred_edited_envelopes_are_refused_and_counted() -> None:
    random, store = Random(14), tickets()
    async with (
        hostile_server() as (rendezvous, port),
        gateway_and_client(port, store) as (sessions, client, heard),
    ):
        session = await sessions.first()
        offers = [Offer(1, f"v={number} a=fingerprint:sha-256 {FINGERPRINT}") for number in range(10)]
        answers = [Answer(1, offer.sdp) for offer in offers]
        for offer, answer in zip(offers, answers, strict=True):
            client.send(offer)
            session.channel.send(answer)
        await session.listener.until(lambda messages: messages == offers)
        await heard.until(lambda messages: messages == answers)
        (me,) = rendezvous.clients
        ends = [(rendezvous.gateway, me), (me, rendezvous.gateway)]
        recording = list(rendezvous.recording)
        for _ in range(100):
            receiver, sender = random.choice(ends)
            edited = random.choice(EDITS)(random, random.choice(recording), recording)
            await rendezvous.deliver(receiver, edited, sender=sender)
        await eventually(lambda: sessions.signaling.refused.total() + client.refused.total() == 100)
        client.send(Offer(1, "v=last"))
        session.channel.send(Answer(1, "v=last"))
        await session.listener.until(lambda messages: messages == [*offers, Offer(1, "v=last")])
        await heard.until(lambda messages: messages == [*answers, Answer(1, "v=last")])
        assert len(sessions.opened) == 1
