"""A gateway's sessions: each a tube of a client that holds a ticket, for as long as that ticket admits it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from perdure.core.state import Reason
from perdure.eventlog import log_event
from perdure.streams.allow import NOTHING, AllowList, parse_allow
from perdure.streams.descriptors import are_left_for_a_tube
from perdure.tube import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.admission import Holder
    from perdure.core.actions import StateChanged
    from perdure.managed_tube import ManagedTube
    from perdure.registry import TubeRegistry
    from perdure.signaling.base import SignalingChannel
    from perdure.ticket_store import TicketStore

log = logging.getLogger("perdure.gateway")


class GatewaySessions:
    """The sessions of the holders of `tickets`, each a tube of `tubes`.

    Args:
        now: Unix seconds.
    """

    def __init__(self, tickets: TicketStore, tubes: TubeRegistry, *, now: Callable[[], float] = time.time) -> None:
        self._tickets = tickets
        self._tubes = tubes
        self._now = now
        self._holders: dict[str, Holder] = {}
        """By tube id."""
        self._allowed: dict[tuple[str, ...], AllowList] = {}
        """What tickets allow, parsed; as many as there are tickets with live tubes."""
        self._unsubscribe: Callable[[], None] = lambda: None
        self.is_closing = False

    def start(self) -> None:
        self._unsubscribe = self._tickets.subscribe(self._judge_again)

    def stop(self) -> None:
        """Begin none any more."""
        self.is_closing = True
        self._unsubscribe()

    @property
    def has_room(self) -> bool:
        return not self.is_closing and self._tubes.check_capacity().has_room and are_left_for_a_tube()

    def begin(self, session_id: bytes, channel: SignalingChannel, holder: Holder) -> None:
        """A client has proved itself."""
        if self.is_closing:
            channel.close()
            return
        endpoint = Endpoint(session_id, None, channel, holder)
        try:
            manager = self._tubes.create_tube(endpoint.tube_id, endpoint=endpoint)
        except Exception as error:  # a callback of the application may raise anything
            log_event(log, logging.WARNING, "tube-refused", tube=endpoint.tube_id, why=str(error))
            channel.close()
            return
        self._holders[manager.tube_id] = holder
        self._tickets.began(holder.ticket_id, holder.client_key, now=self._now())
        manager.add_state_change_callback(lambda change: self._changed(manager.tube, change))
        log_event(log, logging.INFO, "client", tube=manager.tube_id, ticket=holder.ticket, key=holder.short_key)
        manager.start()

    def allow_of(self, tube_id: str) -> AllowList | None:
        """What the ticket of this tube's client allows; `None`: all that the gateway does. A ticket that is gone allows
        nothing."""
        holder = self._holders.get(tube_id)
        ticket = None if holder is None else self._tickets.find(holder.ticket_id)
        if ticket is None:
            return NOTHING
        if not ticket.allow:
            return None
        if ticket.allow not in self._allowed:
            self._allowed[ticket.allow] = parse_allow(ticket.allow)
        return self._allowed[ticket.allow]

    def _changed(self, tube: ManagedTube, change: StateChanged) -> None:
        holder = self._holders.get(tube.tube_id)
        if holder is None:
            return
        if change.after.is_final:
            del self._holders[tube.tube_id]
            self._tickets.ended(holder.ticket_id, holder.client_key, now=self._now())
            if not self._holders:
                self._allowed.clear()
        elif change.after.is_up:
            path = tube.driver.carriers.path
            address = None if path is None else path.remote_address
            self._tickets.came_from(holder.ticket_id, holder.client_key, address)

    def _judge_again(self) -> None:
        """A ticket has changed: who is not admitted any more is told so, and has to go."""
        for manager in list(self._tubes):
            holder = self._holders.get(manager.tube_id)
            if holder is None or not manager.is_open:
                continue
            admission = self._tickets.judge(holder.ticket_id, holder.client_key, now=self._now())
            if admission.verdict.ends_session:
                log_event(log, logging.WARNING, "client-ended", tube=manager.tube_id, why=admission.why)
                self._end(manager.tube, admission.why)

    def _end(self, tube: ManagedTube, why: str) -> None:
        try:
            tube.streams.abort_all()
            tube.begin_to_end(Reason.CLOSED_LOCALLY, why)
        except Exception as error:  # the application's, of one tube: the others end all the same
            log_event(log, logging.ERROR, "client-not-ended", error, tube=tube.tube_id)
