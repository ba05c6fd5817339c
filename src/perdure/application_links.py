"""The links over which an application carries a tube's signaling: one at a time, each lost and renewed as it may be."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TYPE_CHECKING

from perdure.core.events import PeerRestarted
from perdure.errors import ProtocolError
from perdure.eventlog import MAX_ERROR_LENGTH, log_event
from perdure.signaling.application import SENDER_BYTES, read_text, write_text
from perdure.signaling.channel import PeerChannel
from perdure.signaling.messages import Message, Offer
from perdure.tube.log import log

if TYPE_CHECKING:
    from perdure.signaling.application import ApplicationChannel
    from perdure.signaling.reliable_channel import Body
    from perdure.tube import Driver

SendText = Callable[[str], Awaitable[object]]
"""Sends one text to the other end."""

MAX_UNSENT_TEXTS = 256
"""For an application that does not send; beyond it the oldest goes, as an offer that old is of no use."""

LAST_WORD_SECONDS = 1.0
"""How long the good-bye of a tube that has ended may take; a link that hangs holds nobody longer."""


class ApplicationLinks:
    """One tube's. What it says is numbered, and sent again over the next link until the other end has it."""

    def __init__(self, driver: Driver, channel: ApplicationChannel) -> None:
        self._driver = driver
        self._channel = channel
        self._numbered = PeerChannel(transmit=self._queue, on_close=lambda: None)
        self._numbered.attach(self)
        self._sender = os.urandom(SENDER_BYTES)
        """Names this end in its texts."""
        self._peer = b""
        """The other end's `sender`; empty until it was heard."""
        self._outgoing: asyncio.Queue[Body | None] | None = None
        """What the link is to send, while there is one. `None` ends it."""
        self._sending: asyncio.Task[None]
        """Sends that."""

    @property
    def has_link(self) -> bool:
        return self._outgoing is not None

    def send(self, message: Message) -> None:
        """Send `message` over this link or the next."""
        self._numbered.send(message)

    def end(self) -> None:
        """The tube has ended: the link may end behind its last word."""
        self._numbered.end()
        if self._outgoing is not None:
            self._queue(None)
            asyncio.get_running_loop().call_later(LAST_WORD_SECONDS, self._sending.cancel)

    async def run(self, send: SendText, messages: AsyncIterable[str | bytes], *, begin: Callable[[], None]) -> None:
        """See `ApplicationSignaling.run`. `begin` is called once there is a link."""
        if self._outgoing is not None:
            self._sending.cancel()  # which ends the earlier call
        outgoing = self._outgoing = asyncio.Queue(MAX_UNSENT_TEXTS)
        sending = self._sending = asyncio.ensure_future(self._send_all(outgoing, send))
        receiving = asyncio.ensure_future(self._receive(messages))
        tasks = {sending, receiving}
        try:
            self._numbered.peer_reachable()
            self._channel.set_available(True)
            begin()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._outgoing is outgoing:
                self._outgoing = None
                self._channel.set_available(False)
                self._numbered.peer_unreachable()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            if not task.cancelled():
                task.result()

    def _queue(self, body: Body | None) -> None:
        """For the link that there is; beyond its room the oldest goes."""
        if (outgoing := self._outgoing) is not None:
            if body is not None and not self._session_id:
                return  # this end never heard of the other
            if outgoing.full():
                outgoing.get_nowait()
            outgoing.put_nowait(body)

    async def _send_all(self, outgoing: asyncio.Queue[Body | None], send: SendText) -> None:
        while (body := await outgoing.get()) is not None:
            sending = send(write_text(self._session_id, self._sender, body, receiver=self._peer))
            if not isinstance(sending, Awaitable):
                raise TypeError(f"send is an async function; what it returned is {type(sending).__name__}")
            await sending

    async def _receive(self, messages: AsyncIterable[str | bytes]) -> None:
        async for text in messages:
            try:
                self._take_text(text)
            except ProtocolError as error:
                about = {"tube": self._driver.tube_id, "why": str(error)[:MAX_ERROR_LENGTH]}
                log_event(log, logging.WARNING, "signaling-text-refused", **about)
            await asyncio.sleep(0)  # a link that always has a text lets the loop go round

    def _take_text(self, text: str | bytes) -> None:
        session_id, sender, body = read_text(text, receiver=self._sender)
        if session_id != self._session_id:
            if self._driver.carriers.session.is_initiator or not isinstance(body.message, Offer):
                raise ProtocolError("this message belongs to another session")
            if self._session_id:
                self._driver.feed(PeerRestarted())
                return
            self._driver.carriers.session.learn_id(session_id)
        if self._peer not in (b"", sender):
            self._sender = os.urandom(SENDER_BYTES)  # the numbers begin anew: towards a peer that did not restart, too
            self._numbered.restart()
        self._peer = sender
        self._numbered.handle_body(body)

    @property
    def _session_id(self) -> bytes:
        return self._driver.carriers.session.session_id

    # What the other end says. Whether it can be reached, the application's channel says itself.

    def signaling_message(self, message: Message) -> None:
        self._driver.signaling_message(message)

    def signaling_available(self, available: bool) -> None:
        pass

    def signaling_peer_restarted(self) -> None:
        self._driver.feed(PeerRestarted())
